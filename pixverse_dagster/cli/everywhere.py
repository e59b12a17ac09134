"""`tasks list --all`: what is open in a ledger, of every pipeline, and what each task holds."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import click

from pixverse_dagster.cli.documents import print_json
from pixverse_dagster.cli.export import TaskDocument, export
from pixverse_dagster.cli.output import dollars, print_table
from pixverse_dagster.cli.project import Project, ProjectChoice
from pixverse_dagster.core.lifecycle import UNDER_WAY, TaskState
from pixverse_dagster.core.redaction import redact_text
from pixverse_dagster.core.task import Task, task_cost
from pixverse_dagster.ledger.accounts import occupies_slot
from pixverse_dagster.policy.advice import describe_stall

_OPEN = (*UNDER_WAY, TaskState.UNKNOWN)


class LedgerTaskDocument(TaskDocument):
    """A task of any pipeline of the ledger; whether the project has the pipeline, and what the task holds."""

    in_project: bool
    holds: str


@dataclass(frozen=True)
class _Line:
    """A task; whether the project has its pipeline; what it holds."""

    task: Task
    in_project: bool
    holds: str

    def as_json(self) -> LedgerTaskDocument:
        task = export(self.task).model_dump(mode="json")
        return LedgerTaskDocument(**task, in_project=self.in_project, holds=self.holds)

    def as_record(self) -> list[str]:
        task, where = self.task, "" if self.in_project else " (not in this project)"
        why = describe_stall(task) or redact_text(task.reason or task.note)
        usd = dollars(task_cost(task).usd)
        return [
            f"{task.pipeline}{where}", task.row, task.account, str(task.state), task.task_id or "", usd, self.holds, why
        ]  # fmt: skip


def list_everywhere(choice: ProjectChoice, states: Sequence[TaskState], *, as_json: bool) -> None:
    """Print the tasks of these states, by default those that are open, stalled or of unknown outcome, of all pipelines.

    With a pipeline's name, only its own, whether or not the project has it.
    """
    with replace(choice, pipeline="").open_all() as projects:
        by_ledger = {project.ledger.id: project for project in projects}
        lines = [
            line
            for ledger, project in by_ledger.items()
            for line in _lines(project, {one.name for one in projects if one.ledger.id == ledger}, states or _OPEN)
            if choice.pipeline in {"", line.task.pipeline}
        ]
        advice = list(_advise(lines, projects[0]))
    if as_json:
        print_json([line.as_json() for line in lines])
        return
    columns = ["pipeline", "row", "account", "state", "task id", "usd", "holds", "note"]
    print_table("Tasks of every pipeline", columns, [line.as_record() for line in lines])
    for words in advice:
        click.echo(words)


def _lines(project: Project, names: set[str], states: Sequence[TaskState]) -> Iterator[_Line]:
    now = time.time()
    for task in project.ledger.tasks.everywhere(states):
        slot = f"a slot of {task.account}" if occupies_slot(task, now) else ""
        yield _Line(task, task.pipeline in names, slot or "no slot; its cost counts as spent")


def _advise(lines: Sequence[_Line], project: Project) -> Iterator[str]:
    """What can be done about the tasks of each pipeline that the project does not have."""
    for name in dict.fromkeys(line.task.pipeline for line in lines if not line.in_project):
        commands = replace(project.commands, pipeline=name)
        count = sum(line.task.pipeline == name for line in lines)
        yield (
            f"Pipeline {name!r} is not in this project: unless another project has it, nobody asks about its {count} "
            "tasks or stores them. What was paid for is not lost: put the pipeline back, or if it was renamed: "
            f"{commands.render('ledger', 'rename', 'NEW')}. To look at a row: {commands.tasks('show', 'ROW')}. "
            f"To give its task up: {commands.tasks('abandon', 'ROW')}. If its outcome is unknown: "
            f"{commands.tasks('resolve', 'ROW', '--adopt', 'TASK_ID')}."
        )
