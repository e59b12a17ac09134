"""Commands that settle tasks by hand, for what only a person can know. They send nothing to a provider."""

import time
from pathlib import Path

import click

from pixverse_dagster.cli.project import Project, enter_home, open_project, project_options
from pixverse_dagster.clip import Accepted, TaskState
from pixverse_dagster.events import ended_event
from pixverse_dagster.ledger import Task

_ABANDONABLE = (TaskState.UNKNOWN, TaskState.SUBMITTED)
_GIVEN_UP = "given up by hand; perhaps paid"


@click.command("resolve")
@click.argument("row")
@click.option("--adopt", metavar="TASK_ID", help="The provider's console shows the task: this is its id.")
@click.option("--not-accepted", is_flag=True, help="The console shows no such task: nothing was paid, try again.")
@click.option("--abandon", is_flag=True, help="Leave it: never submitted again, counts as spent.")
@project_options
def resolve_task(  # noqa: PLR0913 - one parameter for each option
    row: str,
    home: Path | None,
    module: str,
    pipeline: str | None,
    *,
    adopt: str | None,
    not_accepted: bool,
    abandon: bool,
) -> None:
    """Settle a task whose outcome is unknown, by what the provider's console shows.

    Give one of --adopt, --not-accepted and --abandon. Exits with 2 if the row has no task of unknown outcome.
    """
    if (adopt is not None) + not_accepted + abandon != 1:
        raise click.UsageError("give exactly one of --adopt TASK_ID, --not-accepted and --abandon")
    enter_home(home)
    with open_project(module, pipeline) as project:
        # A claim may be adopted as well: its process may have died with the id in its log.
        task = _newest(project, row, (TaskState.UNKNOWN, *((TaskState.CLAIMED,) if adopt else ())))
        now = time.time()
        if adopt is not None:
            settled = project.ledger.accept(task, Accepted(adopt.strip()), now, now, note="adopted by hand")
        elif not_accepted:
            settled = project.ledger.refuse(task, "a person found that it was not accepted.", late=True)
        else:
            settled = project.ledger.abandon(task, _GIVEN_UP)
        _report(project, task, settled)


@click.command("abandon")
@click.argument("row")
@project_options
def abandon_task(row: str, home: Path | None, module: str, pipeline: str | None) -> None:
    """Give up a task that is unknown or under way: it is not polled, collected or submitted again.

    What it cost stays spent. Exits with 2 if the row has no such task.
    """
    enter_home(home)
    with open_project(module, pipeline) as project:
        task = _newest(project, row, _ABANDONABLE)
        _report(project, task, project.ledger.abandon(task, _GIVEN_UP))


def _newest(project: Project, row: str, states: tuple[TaskState, ...]) -> Task:
    found = project.ledger.find(project.name, states, keys=[row])
    if not found:
        words = " or ".join(states)
        raise click.UsageError(f"row {row!r} of {project.name!r} has no task that is {words}; see `tasks show {row}`")
    return found[-1]


def _report(project: Project, before: Task, after: Task) -> None:
    if after.state is before.state:
        raise click.ClickException(f"row {after.row!r} is {after.state}: somebody else settled it at the same moment")
    project.instance.report_runless_asset_event(ended_event(after, f"settled by hand: {before.state} → {after.state}"))
    following = {
        TaskState.SUBMITTED: "It is polled and collected like any other; nothing is charged.",
        TaskState.REFUSED: "The next submission of the row makes a new, paid attempt.",
    }
    click.echo(f"row {after.row!r}: {before.state} → {after.state}. {following.get(after.state, 'It stays as it is.')}")
