"""`tasks resolve`, `abandon` and `retry`: what only a person can decide. They send nothing to a provider."""

import time
from collections.abc import Collection

import click

from pixverse_dagster.cli.project import Project, ProjectChoice, project_options
from pixverse_dagster.core.lifecycle import MAY_BE_ABANDONED, MAY_BE_RELEASED, TaskState
from pixverse_dagster.core.outcomes import Accepted
from pixverse_dagster.core.task import Task
from pixverse_dagster.core.values import iso
from pixverse_dagster.orchestration.events.prompts import report_changes
from pixverse_dagster.orchestration.events.tasks import ended_event, judge_unknown
from pixverse_dagster.policy.prices import estimate_usd
from pixverse_dagster.stages.queue import queued_row

_GIVEN_UP = "given up by hand; perhaps paid"


@click.command("resolve")
@click.argument("row")
@click.option("--adopt", metavar="TASK_ID", help="The provider's console shows the task: this is its id.")
@click.option("--not-accepted", is_flag=True, help="The console shows no such task: nothing was paid, try again.")
@click.option("--abandon", is_flag=True, help="Leave it: never submitted again, counts as spent.")
@project_options
def resolve_task(
    row: str,
    choice: ProjectChoice,
    *,
    adopt: str | None,
    not_accepted: bool,
    abandon: bool,
) -> None:
    """Resolve a task whose outcome is unknown, by what the provider's console shows.

    Give one of --adopt, --not-accepted and --abandon. Exits with 2 if the row has no task of unknown outcome.
    """
    if (adopt is not None) + not_accepted + abandon != 1:
        raise click.UsageError("give exactly one of --adopt TASK_ID, --not-accepted and --abandon")
    with choice.open() as project:
        # A claim may be adopted as well: its process may have died with the id in its log.
        task = _newest(project, row, (TaskState.UNKNOWN, *((TaskState.CLAIMED,) if adopt else ())))
        ledger, now = project.ledger, time.time()
        if adopt is not None:
            accepted = Accepted(adopt.strip())
            after = ledger.accept(
                task, accepted, now, now, settled=_by_hand(now, f"adopted as {accepted.task_id}")
            ).task
        elif not_accepted:
            reason = "a person found that it was not accepted."
            after = ledger.refuse(task, reason, late=True, settled=_by_hand(now, "not accepted")).task
        else:
            after = ledger.abandon(task, _GIVEN_UP, settled=_by_hand(now, "abandoned")).task
        _report(project, task, after)


@click.command("abandon")
@click.argument("row")
@project_options
def abandon_task(row: str, choice: ProjectChoice) -> None:
    """Give up a row that waits for its turn, or a task that is unknown or under way.

    A waiting row is not submitted. A task is not polled, collected or submitted again, and what it cost stays spent.
    Exits with 2 if there is neither.
    """
    with choice.open() as project:
        if any(entry.row == row for entry in project.ledger.queue.find(project.name)):
            project.ledger.queue.drop(project.name, [row])
            click.echo(f"row {row!r} waits no longer. Nothing was sent for it, and nothing was spent.")
            return
        task = _newest(project, row, MAY_BE_ABANDONED)
        settled = _by_hand(time.time(), "abandoned")
        _report(project, task, project.ledger.abandon(task, _GIVEN_UP, settled=settled).task)


@click.command("retry")
@click.argument("row")
@click.option("--take", "another_take", is_flag=True, help="Ask for one more clip, beside the one that is stored.")
@project_options
def retry_task(row: str, choice: ProjectChoice, *, another_take: bool) -> None:
    """Allow one more paid attempt at a row: of a request that failed or was abandoned, or of its next take.

    The row is queued: a sensor submits it, or any run that submits the row. The budget holds.
    Exits with 2 if the row has nothing to retry.
    """
    with choice.open() as project, project.open() as session:
        ledger, name, now = project.ledger, project.name, time.time()
        asked = ledger.rows.find(name, [row]).get(row)
        if asked is None:
            raise click.UsageError(f"row {row!r} is not in the table of {name!r} as it was last read")
        if another_take:
            asked = ledger.rows.raise_take(name, row)
            words = f"take {asked.take} was asked for by hand"
            instance = project.instance
            report_changes(session, {row: ("take",)}, (), instance, instance.report_runless_asset_event)
        else:
            task = ledger.tasks.current(name, [row]).get(row)
            if task is None or task.state not in MAY_BE_RELEASED:
                state = f"its task is {task.state}" if task else "it was never submitted"
                raise click.UsageError(
                    f"row {row!r} has nothing to retry: {state}. For another clip from the same words: "
                    f"{project.commands.tasks('retry', row, '--take')}"
                )
            words = f"attempt {task.attempt + 1} was allowed by hand"
            after = ledger.release(task, settled=_by_hand(now, "another attempt allowed")).task
            project.instance.report_runless_asset_event(ended_event(after, project.commands, words))
        ledger.queue.add(name, [queued_row(session, asked, words)], now)
        price = estimate_usd(asked.request, session.options.prices)
    cost = "at a price that nobody publishes" if price is None else f"for about {price:.3f} USD"
    who = f"The {name}_continue sensor submits it at its next tick, or a run of {name}_submit"
    click.echo(f"row {row!r}: {words}, {cost}. {who}.")


def _by_hand(now: float, what: str) -> str:
    return f"by hand, {iso(now)}: {what}"


def _newest(project: Project, row: str, states: Collection[TaskState]) -> Task:
    found = project.ledger.tasks.find(project.name, states, keys=[row])
    if not found:
        words = " or ".join(sorted(states))
        raise click.UsageError(
            f"row {row!r} of {project.name!r} has no task that is {words}; see: {project.commands.tasks('show', row)}"
        )
    return found[-1]


def _report(project: Project, before: Task, after: Task) -> None:
    if after.state is before.state:
        raise click.ClickException(f"row {after.row!r} is {after.state}: somebody else settled it at the same moment")
    words = f"settled by hand: {before.state} → {after.state}"
    project.instance.report_runless_asset_event(ended_event(after, project.commands, words))
    judged = judge_unknown(project.name, project.ledger.tasks.unresolved(project.name), project.commands)
    project.instance.report_runless_asset_event(judged)
    following = {
        TaskState.SUBMITTED: "It is polled and collected like any other; nothing is charged.",
        TaskState.REFUSED: "The next submission of the row makes a new, paid attempt.",
    }
    click.echo(f"row {after.row!r}: {before.state} → {after.state}. {following.get(after.state, 'It stays as it is.')}")
