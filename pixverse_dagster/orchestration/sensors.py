"""The sensors."""

import time
import warnings
from collections.abc import Iterable
from concurrent.futures import Future
from typing import Any

import dagster as dg

from pixverse_dagster.core.lifecycle import TaskState
from pixverse_dagster.core.redaction import redact_text
from pixverse_dagster.orchestration.cancellation import drop_cancelled
from pixverse_dagster.orchestration.events.prompts import report_worlds
from pixverse_dagster.orchestration.events.tasks import ended_event
from pixverse_dagster.orchestration.offers import renew_offers
from pixverse_dagster.orchestration.runs import report_unknown
from pixverse_dagster.orchestration.seen import look_at_ends, look_at_status, read_cursor, write_cursor
from pixverse_dagster.orchestration.spec import PipelineSpec
from pixverse_dagster.policy.batching import choose_collect_batch, choose_submit_batch
from pixverse_dagster.policy.plan import Verdict
from pixverse_dagster.stages.poll import PollReport, poll_due
from pixverse_dagster.stages.queue import describe_queue, find_room, leave_over_budget, queue_new_rows
from pixverse_dagster.stages.resolve import lease_replays
from pixverse_dagster.stages.retries import queue_retries
from pixverse_dagster.stages.session import Session
from pixverse_dagster.stages.waiting import Workers
from pixverse_dagster.tables import FileTable
from pixverse_dagster.tables.files import look_at
from pixverse_dagster.transport.logs import get_logger

TICK_SECONDS = 10.0
"""How long a tick asks the providers. It is killed after 60 s, and its results would be lost."""

LOOK_SECONDS = 10.0
"""How long a tick waits for what it is told of a table's file."""
_log = get_logger()


class _SensorOfJobs(dg.SensorDefinition):
    """A sensor of several jobs. Dagster copies it as it binds their resources, and warns of a parameter of its own."""

    def with_updated_jobs(self, new_jobs: Any) -> dg.SensorDefinition:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", dg.BetaWarning)
            return super().with_updated_jobs(new_jobs)


def build_poll_sensor(spec: PipelineSpec, *jobs: dg.JobDefinition) -> dg.SensorDefinition:
    """The sensor that asks the providers about tasks that are due, and asks for a collect run when clips are ready.

    It also asks for a run that replays submits of unknown outcome, where that is possible: no tick pays for anything.
    And it tells how the pipeline stands, and asks for a run that shows rows as failed that ended without a clip.
    """

    def poll(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        with spec.open(context.resources, context.instance) as session:
            events: list[Any] = []
            # What is ready comes first: it is asked for whatever becomes of the polling.
            renew_offers(session, context.instance, "collect")
            renew_offers(session, context.instance, "resolve")
            request, words = _collect_request(session)
            report_worlds(session, context.instance, events.append)
            report = _poll(session)
            if request is None:
                request, words = _collect_request(session)
            requests = [one for one in (request, _resolve_request(session, report)) if one]
            events += [
                ended_event(task, session.commands, asset=asset)
                for task in report.ended
                for asset in ("tasks", "clips")
            ]
            events += [ended_event(task, session.commands) for task in report.stalled]
            if report.stalled or report.recovered or any(task.state is TaskState.UNKNOWN for task in report.ended):
                report_unknown(session, events.append)
            failed, seen = look_at_ends(session, context.instance, read_cursor(context.cursor))
            requests += [_request(f"{spec.name}_report", failed)] if failed else []
            status, seen = look_at_status(session, seen)
            events += [status] if status else []
            cursor = write_cursor(seen)
        if not requests:
            return dg.SensorResult(skip_reason=f"{report}; {words}", asset_events=events, cursor=cursor)
        return dg.SensorResult(run_requests=requests, asset_events=events, cursor=cursor)

    return _SensorOfJobs(
        name=f"{spec.name}_poll",
        evaluation_fn=poll,
        jobs=jobs,
        minimum_interval_seconds=15,
        default_status=dg.DefaultSensorStatus.RUNNING,
        required_resource_keys=spec.resource_keys,
        description="Polls pending tasks and collects finished ones. Pays for nothing that was not submitted.",
    )


def build_continue_sensor(spec: PipelineSpec, submit_job: dg.JobDefinition) -> dg.SensorDefinition:
    """The sensor that asks for a submit run when it is the turn of rows that wait."""

    @dg.sensor(  # pyright: ignore[reportUnknownMemberType]
        name=f"{spec.name}_continue",
        job_name=submit_job.name,
        minimum_interval_seconds=15,
        default_status=dg.DefaultSensorStatus.RUNNING,
        required_resource_keys=spec.resource_keys,
        description="Goes on with rows that somebody asked to be submitted and that wait for a slot, for a provider "
        "that asked to slow down, or for their retry. Spends what was asked for; stop it to stop that.",
    )
    def go_on(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        with spec.open(context.resources, context.instance) as session:
            renew_offers(session, context.instance, "submit")
            drop_cancelled(session, context.instance)
            queue_retries(session)
            request, words = _submit_request(session, context.cursor)
        if request is None:
            return dg.SensorResult(skip_reason=words, cursor=context.cursor)
        return dg.SensorResult(run_requests=[request], cursor=str(time.time()))

    return go_on


def build_submit_sensor(spec: PipelineSpec) -> dg.SensorDefinition:
    """The sensor that asks for every new and changed row to be submitted. Off, until somebody decides to spend."""

    @dg.sensor(  # pyright: ignore[reportUnknownMemberType]
        name=f"{spec.name}_submit_new",
        asset_selection=[dg.AssetKey([spec.name, "tasks"])],
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.STOPPED,
        required_resource_keys=spec.resource_keys,
        description="Asks for every new and changed row to be submitted, within the budget. Turning it on is the "
        f"decision to spend. {spec.name}_continue submits them as slots are free.",
    )
    def submit_new(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        with spec.open(context.resources, context.instance) as session:
            looked = queue_new_rows(
                session, spec.pipeline.options.pace.collect_batch, after=_read_position(context.cursor)
            )
        wanted, plan = looked.wanted, looked.plan
        words = f"{len(wanted)} new rows asked for, {plan.cost_text}"
        over = next((line.note for line in plan.lines if line.verdict is Verdict.OVER_BUDGET), "")
        words += f"; {len(plan.lines) - len(wanted)} left: the next {over}" if over else ""
        words += "" if looked.position < 0 else "; the rest of the table is looked at next"
        return dg.SensorResult(skip_reason=words, cursor=str(looked.position))

    return submit_new


def build_table_sensor(spec: PipelineSpec, table: FileTable, look_seconds: float = LOOK_SECONDS) -> dg.SensorDefinition:
    """The sensor that reads the table again when its file has changed and two ticks saw the same. Costs nothing.

    The table of marks is watched as well, if there is one.
    """
    key = dg.AssetKey([spec.name, "prompts"])
    marks = spec.pipeline.marks

    def look() -> str | None:
        seen = table.fingerprint()
        if seen is None or marks is None or not marks.can_be_watched:
            return seen
        return f"{seen} {marks.fingerprint()}"

    workers, pending = Workers(1), list[Future[str | None]]()

    @dg.sensor(  # pyright: ignore[reportUnknownMemberType]
        name=f"{spec.name}_table",
        asset_selection=[key],
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Reads {table.describe()} again when it has changed and two ticks saw the same of it, so that it "
        "is not read while it is written. Costs nothing.",
    )
    def table_changed(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        # A share or a bucket that hangs keeps the tick for a while, and a thread until it answers.
        if not pending:
            pending.append(workers.submit(look))
        try:
            seen = pending[0].result(look_seconds)
        except TimeoutError:
            words = f"{table.describe()} has not answered for {look_seconds:.0f} s: it is waited for at the next tick"
            return dg.SensorResult(skip_reason=words, cursor=context.cursor)
        finally:
            if pending[0].done():
                pending.clear()
        found = look_at(context.cursor, seen)
        if not found.is_due:
            return dg.SensorResult(skip_reason=f"{table.describe()} {found.words}", cursor=found.cursor)
        return dg.SensorResult(run_requests=[dg.RunRequest(asset_selection=[key])], cursor=found.cursor)

    return table_changed


def _read_position(cursor: str | None) -> int:
    """Where the last look at the table ended."""
    try:
        return int(cursor or -1)
    except ValueError:
        return -1


def _poll(session: Session) -> PollReport:
    """Ask about what is due. A fault of that keeps no clip that is ready from being stored."""
    try:
        return poll_due(session, TICK_SECONDS)
    except Exception as error:  # noqa: BLE001 - whatever it is, the runs that the tick asks for are none of its business
        why = redact_text(f"{type(error).__name__}: {error}")
        _log.exception("the providers could not be asked: %s", why)
        return PollReport(asked=0, running=0, succeeded=0, ended=(), unread=1, last_error=why)


def _collect_request(session: Session) -> tuple[dg.RunRequest | None, str]:
    """A run for the clips that are ready, if it is time for one, and what is under way, in words."""
    name, pace, ledger, now = session.pipeline.name, session.options.pace, session.ledger, session.clock()
    ready = ledger.tasks.ready(name, now, pace.collect_batch, session.worlds, pace.longest_collect_wait)
    # A provider that does not answer keeps nobody waiting for its company.
    pending = ledger.tasks.expected(name, session.worlds)
    batch = choose_collect_batch(ready, pending, now, pace)
    ledger.collecting.lease(batch, now + pace.offer_seconds)
    request = _request(f"{name}_collect", {task.row for task in batch}) if batch else None
    return request, f"{pending} under way, {len(ready)} ready and waiting for company"


def _resolve_request(session: Session, report: PollReport) -> dg.RunRequest | None:
    """A run for the submits of unknown outcome that may be replayed; they are left to it meanwhile."""
    rows = {task.row for task in report.replayable}
    lease_replays(session, rows, session.options.pace.offer_seconds)
    return _request(f"{session.pipeline.name}_resolve", rows) if rows else None


def _submit_request(session: Session, cursor: str | None) -> tuple[dg.RunRequest | None, str]:
    """A run for rows whose turn has come, and how many wait, in words."""
    name, pace, queue, now = session.pipeline.name, session.options.pace, session.ledger.queue, session.clock()
    due = queue.due(name, now, session.worlds, pace.longest_place_wait)
    # A time that lies ahead was written under a wrong clock: nothing is known of the last run.
    since_last = now - last_at if (last_at := float(cursor or 0)) <= now else now
    turn = choose_submit_batch(due, find_room(session), since_last, pace) if due else []
    turn = leave_over_budget(session, due, turn)
    queue.lease(name, turn, now + pace.offer_seconds)
    request = _request(f"{name}_submit", turn) if turn else None
    return request, describe_queue(session, due)


def _request(job: str, rows: Iterable[str]) -> dg.RunRequest:
    keys = sorted(set(rows))
    config = {"ops": {f"{job}_rows": {"config": {"rows": keys}}}}
    return dg.RunRequest(job_name=job, run_config=config, tags={"pixverse/rows": str(len(keys))})
