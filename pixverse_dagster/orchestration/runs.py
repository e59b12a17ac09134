"""What an op does with a session: submit rows, or see them through to their clips, and report each."""

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from typing import Any

from pixverse_dagster.core.lifecycle import UNDER_WAY, TaskState
from pixverse_dagster.core.redaction import redact_text
from pixverse_dagster.core.task import Task
from pixverse_dagster.orchestration.events.clips import report_clip
from pixverse_dagster.orchestration.events.failures import problem_events
from pixverse_dagster.orchestration.events.log import TaskEvents
from pixverse_dagster.orchestration.events.prompts import report_worlds
from pixverse_dagster.orchestration.events.status import report_status
from pixverse_dagster.orchestration.events.tasks import ended_event, judge_outcomes, task_event
from pixverse_dagster.orchestration.io_managers.base import ClipIOManager
from pixverse_dagster.orchestration.spec import PipelineSpec
from pixverse_dagster.stages.collect import collect_tasks
from pixverse_dagster.stages.generate import GenerateRun
from pixverse_dagster.stages.resolve import resolve_rows
from pixverse_dagster.stages.session import Session
from pixverse_dagster.stages.submission import Submission
from pixverse_dagster.stages.submit import submit_rows


def submit_reported(
    session: Session, keys: Sequence[str], report: Callable[[Any], None], *, adopted: bool = True
) -> Generator[Submission]:
    """Submit rows, each reported as an event of `tasks`; close the iterator to stop.

    Without `adopted`, only what was sent or found in the store now is: the run that sent the others has told of them.
    """
    with closing(submit_rows(session, keys)) as submissions:
        for submission in submissions:
            task = submission.task
            if task and not (submission.problem or submission.waits or submission.skipped):
                if submission.sent or submission.found or adopted:
                    report(task_event(task, sent=submission.sent))
            elif task and task.state is not TaskState.CLAIMED and not submission.skipped:
                waits = f"row {task.row!r} waits for its turn: {submission.waits}" if submission.waits else ""
                report(ended_event(task, session.commands, submission.problem or waits))
            yield submission


def submit_only(session: Session, keys: Sequence[str], context: Any) -> dict[str, str]:
    """Submit rows and leave the rest to the poll sensor; returns what is wrong, by row."""
    report_worlds(session, context.instance, context.log_event)
    problems: dict[str, str] = {}
    never_sent: dict[str, str] = {}
    waits: list[str] = []
    skipped: list[str] = []
    found: list[Task] = []
    for submission in submit_reported(session, keys, context.log_event):
        if submission.found and submission.task:
            found.append(submission.task)
        elif found:
            # They come first: their clips are told of before anything is sent.
            problems |= report_found(session, found, context)
            found = []
        if submission.problem:
            problems[submission.row] = submission.problem
            if submission.task is None:
                never_sent[submission.row] = submission.problem
        waits += [submission.waits] if submission.waits else []
        skipped += [submission.skipped] if submission.skipped else []
    problems |= report_found(session, found, context)
    for event in problem_events(session.pipeline.name, "tasks", never_sent):
        context.log_event(event)
    if waits:
        context.log.info(
            "%d of %d rows wait for their turn; the sensor goes on: %s", len(waits), len(keys), redact_text(waits[0])
        )
    if skipped:
        why = redact_text(skipped[0])
        context.log.info("%d of %d rows have nothing to submit any more: %s", len(skipped), len(keys), why)
    report_unknown(session, context.log_event)
    report_status(session, context.log_event)
    return problems


def resolve_reported(session: Session, keys: Sequence[str], report: Callable[[Any], None]) -> None:
    """Find out about the open submits of these rows; what the provider has, and what needs a person, is reported."""
    with closing(resolve_rows(session, keys)) as found:
        for task in found:
            if task.state is TaskState.SUBMITTED:
                report(task_event(task, sent=True))
            elif task.state not in UNDER_WAY and not task.resolves_itself:
                report(ended_event(task, session.commands))
    report_unknown(session, report)
    report_status(session, report)


def report_found(session: Session, tasks: Sequence[Task], context: Any) -> dict[str, str]:
    """Report the clips of tasks that were found in the store: each row's materialisation. What is wrong, by row."""
    if not tasks or session.open_store is None:
        return {}
    problems: dict[str, str] = {}
    store, events = session.open_store(), TaskEvents(context.instance, session.pipeline.name)
    for collected in collect_tasks(session, store, tasks):
        problem = collected.problem
        if collected.manifest is not None:
            problem = report_clip(context, session, store, collected, events)
        problems |= {collected.task.row: problem} if problem else {}
    return problems


def report_unknown(session: Session, report: Callable[[Any], None]) -> None:
    """Evaluate the check on outcomes as they are now."""
    report(judge_outcomes(session.ledger, session.pipeline.name, session.commands, session.worlds))


def generate_clips(
    spec: PipelineSpec, context: Any, session: Session, keys: Sequence[str], *, adopted: bool
) -> dict[str, str]:
    """Submit rows and store their clips as the tasks finish; returns what is wrong, by row."""
    report_worlds(session, context.instance, context.log_event)
    io_manager: ClipIOManager = getattr(context.resources, spec.clips_key)
    store = io_manager.get_store()
    generation = GenerateRun(
        session, store, lambda rows: submit_reported(session, rows, context.log_event, adopted=adopted)
    )
    events = TaskEvents(context.instance, spec.name)
    withheld: dict[str, str] = {}
    with closing(generation.run(keys, spec.pipeline.options.deadline_seconds)) as found:
        for collected in found:
            if collected.manifest is not None:
                if problem := report_clip(context, session, store, collected, events):
                    withheld[collected.task.row] = problem
            else:
                context.log_event(ended_event(collected.task, session.commands, collected.problem))
    report_unknown(session, context.log_event)
    for event in problem_events(spec.name, "clips", generation.problems):
        context.log_event(event)
    report_status(session, context.log_event)
    return generation.problems | withheld
