"""What the IO managers share: they move clips into a store and hand them to downstream assets."""

import re
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_origin

import dagster as dg
from pydantic import Field

from pixverse_dagster.core.clip import Clip
from pixverse_dagster.core.commands import CommandLine
from pixverse_dagster.core.errors import NotReady, TaskFailed, redacted_errors
from pixverse_dagster.core.layout import task_folder
from pixverse_dagster.core.lifecycle import TaskState
from pixverse_dagster.core.mark import Choice, Mark
from pixverse_dagster.core.secrets import remember_secret
from pixverse_dagster.core.task import Task
from pixverse_dagster.ledger.ledger import Ledger
from pixverse_dagster.orchestration.cancellation import reporting_run
from pixverse_dagster.orchestration.commands import find_command_line
from pixverse_dagster.orchestration.events.clips import report_clip
from pixverse_dagster.orchestration.events.failures import raise_failures
from pixverse_dagster.orchestration.events.log import TaskEvents, never_materialized, withheld_rows
from pixverse_dagster.orchestration.events.red import report_without_clip
from pixverse_dagster.orchestration.events.status import report_status
from pixverse_dagster.orchestration.events.tasks import judge_outcomes
from pixverse_dagster.orchestration.resources import LedgerResource
from pixverse_dagster.policy.advice import describe_trouble
from pixverse_dagster.stages.collect import collect_tasks
from pixverse_dagster.stages.session import Session
from pixverse_dagster.storage.base import ClipStore, StoreSettings
from pixverse_dagster.storage.reading import read_manifest

_SECRET_SETTING = re.compile(r"secret|token|password|key$|credential|connection_string")
"""Settings of a store's client, such as dagster-aws's, that are secrets or hold one."""


@dataclass(frozen=True)
class ClipBatch:
    """Tasks whose clips are to be stored: what a collect op hands to the IO manager, which closes the session.

    With the op's context, because an output's context logs no checks.
    """

    session: Session
    tasks: Sequence[Task]
    context: dg.OpExecutionContext


class ClipIOManager(dg.ConfigurableIOManager):
    """Stores clips and loads them as `Clip`: one for a single partition, a dict by row for several.

    A subclass says where: it has a store rather than being one.
    """

    ledger: dg.ResourceDependency[LedgerResource] = Field(default_factory=LedgerResource)  # pyright: ignore[reportAssignmentType]
    """SQLite in the Dagster instance's storage, if not given."""

    if not TYPE_CHECKING:  # type checkers know the fields, and that the ledger may be left out

        def __init__(self, **data: Any) -> None:
            # Dagster sets up the resources that it is handed here, and no field's default.
            super().__init__(**{**data, "ledger": data.get("ledger") or LedgerResource()})

    @classmethod
    def _is_dagster_maintained(cls) -> bool:
        return False

    @abstractmethod
    def get_store(self) -> ClipStore:
        """The store. Cheap to call."""

    def handle_output(self, context: dg.OutputContext, obj: ClipBatch) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Store every clip of the batch, reporting one materialisation and one check per row as it lands.

        Raises dg.Failure at the end if some rows failed; the others are stored all the same.
        """
        if not isinstance(obj, ClipBatch):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise dg.DagsterInvariantViolationError(
                f"{type(self).__name__} stores the clips of a pixverse pipeline; {context.name} is a {type(obj)}"
            )
        problems: list[str] = []
        rows = [task.row for task in obj.tasks]
        with obj.session as session, reporting_run(session, rows, obj.context.log):
            store = self.get_store()
            events = TaskEvents(obj.context.instance, session.pipeline.name, obj.tasks)
            stalled = any(task.stalled_at is not None for task in obj.tasks)
            for collected in collect_tasks(session, store, obj.tasks):
                stalled = stalled or collected.task.stalled_at is not None
                if collected.manifest is None:
                    problems.append(collected.problem)
                # Logged, not yielded: Dagster records what is yielded here only when all is done, and drops it
                # if the run fails or dies before.
                elif problem := report_clip(obj.context, session, store, collected, events):
                    problems.append(problem)
            log: Any = obj.context
            if stalled:  # also one that comes on again
                log.log_event(judge_outcomes(session.ledger, session.pipeline.name, session.commands, session.worlds))
            report_without_clip(log, session, rows if problems else ())
            report_status(session, log.log_event)
        raise_failures("could not be stored", problems, len(obj.tasks))

    def load_input(self, context: dg.InputContext) -> Clip | dict[str, Clip]:
        """The stored clip of the partition, or a dict of those of several, without the rows that have none.

        An input that is annotated as a dict gets one also where there is only one row. A clip that fails a blocking
        check counts as none. With `only_picked` in the input's metadata, `AssetIn(metadata={"only_picked": True})`, a
        row has the newest of its clips that a person picked, and none if there is no such clip.

        Raises NotReady for a single partition that has none yet, TaskFailed for one whose task ended without a clip.
        """
        with redacted_errors():
            return self._load_input(context)

    def _load_input(self, context: dg.InputContext) -> Clip | dict[str, Clip]:
        keys = context.asset_partition_keys if context.has_asset_partitions else None
        pipeline = context.asset_key.path[0]
        ledger = self.ledger.get_ledger()
        wanted = list(keys) if keys is not None else list(ledger.rows.find(pipeline))
        store = self.get_store()
        only_picked = _asks_for_picked(context)
        marks = ledger.marks.find(pipeline, wanted)
        newest = ledger.tasks.newest_stored(pipeline, wanted)
        stored = _find_picked(ledger, pipeline, wanted, marks) if only_picked else newest
        withheld = _find_withheld(context.instance, pipeline, stored, newest)
        stored = {row: task for row, task in stored.items() if row not in withheld}
        clips = {row: self._load(store, stored[row], marks, only_picked) for row in wanted if row in stored}
        if keys is None or len(wanted) != 1 or _is_mapping(context.dagster_type.typing_type):
            return clips
        if wanted[0] not in clips:
            task = ledger.tasks.current(pipeline, wanted).get(wanted[0])
            if task is not None and task.state is TaskState.FAILED:
                raise TaskFailed(describe_trouble(task, _commands(context, pipeline)))
            if wanted[0] in withheld:
                raise NotReady(f"row {wanted[0]!r} of {pipeline!r} is stored and withheld: {withheld[wanted[0]]}")
            if ledger.tasks.find(pipeline, (TaskState.FORGOTTEN,), wanted):
                why = "its clip was deleted on demand, and it is not paid for again"
                raise NotReady(f"row {wanted[0]!r} of {pipeline!r} has no clip: {why}")
            if only_picked and wanted[0] in newest:
                raise NotReady(
                    f"row {wanted[0]!r} of {pipeline!r} has no clip that is picked: pick one in the gallery, export "
                    "the marks, and read the prompts again"
                )
            raise NotReady(f"row {wanted[0]!r} of {pipeline!r} has no stored clip yet: materialise its clips first")
        return clips[wanted[0]]

    def _load(self, store: ClipStore, task: Task, marks: Sequence[Mark], only_picked: bool) -> Clip:  # noqa: FBT001
        own = {mark.n: mark for mark in marks if mark.task == task.id}
        return Clip(read_manifest(store, task_folder(task).manifest), store, own, only_picked)


class StoreClipIOManager(ClipIOManager, StoreSettings):
    """An IO manager with the settings of a kind of store, and a resource of the store's name that makes its client."""

    def get_store(self) -> ClipStore:
        """The store. Cheap to call."""
        if not self.CLIENT:
            return self.open_store()
        resource: Any = getattr(self, self.NAME)
        settings: dict[str, Any] = dict(resource)
        for name, value in settings.items():
            if _SECRET_SETTING.search(name) and isinstance(value, str):
                remember_secret(value)
        return self.open_store(resource.get_client())


def _commands(context: dg.InputContext, pipeline: str) -> CommandLine:
    """The commands that messages name; outside a run, as in a notebook, without the module."""
    try:
        run = context.step_context.dagster_run
    except dg.DagsterInvariantViolationError:
        run = None
    return find_command_line(pipeline, CommandLine(), context.instance, run)


def _asks_for_picked(context: dg.InputContext) -> bool:
    """Whether the input's metadata asks for picked clips only; a word of a YAML file counts as it reads."""
    value = (context.definition_metadata or {}).get("only_picked", False)
    return str(getattr(value, "value", value)).casefold() in {"true", "1", "yes"}


def _find_picked(ledger: Ledger, pipeline: str, rows: Sequence[str], marks: Sequence[Mark]) -> dict[str, Task]:
    """The newest stored task of each row that a person picked an output of."""
    picked = {mark.task for mark in marks if mark.choice is Choice.PICK}
    return ledger.tasks.newest_stored(pipeline, rows, among=picked) if picked else {}


def _find_withheld(
    instance: dg.DagsterInstance, pipeline: str, stored: Mapping[str, Task], newest: Mapping[str, Task]
) -> dict[str, str]:
    """The rows whose clip a blocking check withholds. The check on a partition is about the row's newest clip."""
    recent = {row: task for row, task in stored.items() if newest[row].id == task.id}
    earlier = {row: task for row, task in stored.items() if row not in recent}
    return withheld_rows(instance, pipeline, recent) | never_materialized(instance, pipeline, earlier)


def _is_mapping(annotation: Any) -> bool:
    """Whether an input's annotation asks for clips by row."""
    kind = get_origin(annotation) or annotation
    return isinstance(kind, type) and issubclass(kind, Mapping)
