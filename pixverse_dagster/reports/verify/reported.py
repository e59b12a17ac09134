"""What Dagster says of rows, beside what ledger and manifests say. Dagster's side comes as values."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from pixverse_dagster.core.layout import DIGEST_DIGITS
from pixverse_dagster.core.lifecycle import TaskState
from pixverse_dagster.core.task import Task, task_cost
from pixverse_dagster.reports.verify import kinds
from pixverse_dagster.reports.verify.findings import Discrepancy, Kind
from pixverse_dagster.reports.verify.seen import Seen, mark

GRACE_SECONDS = 600
"""A task is in the ledger before Dagster is told of it: it is missed there only after this time."""
_REPORTED = frozenset({TaskState.SUBMITTED, TaskState.SUCCEEDED, TaskState.STORED})


@dataclass(frozen=True)
class Reported:
    """One materialisation: its data version, the version of what it was made from, and what it says of its task."""

    version: str
    made_from: str
    facts: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def tells_of(self, task: Task) -> bool:
        """Whether it is of this task: by the ledger's id, or of a task that was found, by the provider's."""
        if task.id in {self.version, self.made_from}:
            return True
        said = (self.facts.get("task_id"), self.facts.get("account"))
        return task.found_at is not None and said == (task.task_id, task.account)


@dataclass(frozen=True)
class RowReport:
    """What Dagster has of a row: the materialisations of `tasks` and `clips`, the newest first, and the last check.

    `passed` is None where no check was evaluated.
    """

    tasks: Sequence[Reported] = ()
    clips: Sequence[Reported] = ()
    passed: bool | None = None


class DagsterSide(Protocol):
    """What is read of Dagster: in pages, and never with Dagster's own types."""

    @property
    def where(self) -> str:
        """What Dagster is called in a discrepancy: its home, or its address."""
        ...

    @property
    def checks_block(self) -> bool:
        """Whether a clip that fails its check is withheld, and not materialised."""
        ...

    @property
    def keeps_removed(self) -> bool:
        """Whether rows that left the table stay partitions."""
        ...

    def partitions(self) -> Collection[str]:
        """The partitions of the pipeline's definition."""
        ...

    def materialized(self) -> Collection[str]:
        """The partitions of `clips` that were materialised."""
        ...

    def read(self, rows: Sequence[str]) -> Mapping[str, RowReport]:
        """What Dagster has of each of these rows."""
        ...


@dataclass(frozen=True)
class RowTruth:
    """What the ledger says of a row: its tasks, which of them count in the present world, the one that is its clip.

    `failed` are the ids of tasks whose clips failed a check.
    """

    row: str
    tasks: Sequence[Task]
    counted: frozenset[str]
    newest: Task | None
    failed: frozenset[str]


def compare_row(
    dagster: DagsterSide, truth: RowTruth, said: RowReport, seen: Seen, now: float
) -> Iterator[Discrepancy]:
    """Everything in which Dagster and the ledger differ about a row."""

    def name(asset: str, kind: Kind, words: str, task: Task | None = None) -> Discrepancy:
        where = f"{dagster.where}: {asset}, partition {truth.row!r}"
        return Discrepancy(truth.row, where, words, kind, task.id if task else "")

    counted = [task for task in truth.tasks if task.id in truth.counted]
    for kind, words, task in _compare_tasks(counted, said, now):
        yield name("tasks", kind, words, task)
    missing = list(_compare_clips(dagster, truth, counted, said, seen))
    for kind, words, task in missing:
        yield name("clips", kind, words, task)
    for kind, words, task in _compare_newest(dagster, truth, said, missing=bool(missing)):
        yield name("clips", kind, words, task)
    for asset, events in (("tasks", said.tasks), ("clips", said.clips)):
        for task in counted:
            event = next((one for one in events if one.tells_of(task)), None)
            for words in _compare_facts(task, event) if event else ():
                yield name(asset, kinds.CLIP_METADATA, words, task)
    if truth.newest and (words := _compare_check(failed=truth.newest.id in truth.failed, passed=said.passed)):
        yield name("clips", kinds.CHECK_DIFFERS, words, truth.newest)


def _compare_tasks(counted: Sequence[Task], said: RowReport, now: float) -> Iterator[tuple[Kind, str, Task]]:
    for task in counted:
        if _is_missed(task, now) and not any(one.tells_of(task) for one in said.tasks):
            words = f"task {task.task_id} is {task.state} by the ledger, and `tasks` has no materialisation of it"
            yield kinds.TASK_UNREPORTED, words, task


def _compare_clips(
    dagster: DagsterSide, truth: RowTruth, counted: Sequence[Task], said: RowReport, seen: Seen
) -> Iterator[tuple[Kind, str, Task]]:
    for task in counted:
        withheld = dagster.checks_block and task.id in truth.failed
        first = seen.first(task.id)
        if task.state is not TaskState.STORED or withheld or first is None:
            continue
        if not any(one.tells_of(task) and mark(one.version) == first for one in said.clips):
            words = f"take {task.take} (task {task.task_id}) is stored, and `clips` has no materialisation of its bytes"
            yield kinds.CLIP_UNREPORTED, words, task


def _compare_check(*, failed: bool, passed: bool | None) -> str:
    if passed is not None and failed is not passed:
        return ""
    if passed is None:
        return "its check failed by the ledger, and was never made in Dagster" if failed else ""
    return "its check failed by the ledger, and passed in Dagster" if failed else "its check failed in Dagster alone"


def _is_missed(task: Task, now: float) -> bool:
    under_way = task.state is not TaskState.STORED
    return task.state in _REPORTED and not (under_way and now - (task.submitted_at or now) < GRACE_SECONDS)


def _compare_newest(
    dagster: DagsterSide, truth: RowTruth, said: RowReport, *, missing: bool
) -> Iterator[tuple[Kind, str, Task | None]]:
    """Whether the newest materialisation of `clips` is that of the row's present clip."""
    if not said.clips:
        return
    shown, newest = said.clips[0], truth.newest
    owners = [task for task in truth.tasks if shown.tells_of(task)]
    if shown.version.startswith("forgotten "):
        if newest is not None and not missing:
            yield kinds.CLIP_OUTDATED, "the newest materialisation says that the clip was deleted", newest
    elif any(task.state is TaskState.FORGOTTEN for task in owners):
        yield kinds.CLIP_SHOWN, "the newest materialisation is of a clip that was forgotten", owners[0]
    elif newest is None:
        if not truth.counted or any(task.id in truth.counted for task in owners) or not owners:
            yield kinds.CLIP_NOWHERE, f"shows a clip with data version {shown.version}, and no task is stored", None
    elif not missing and not shown.tells_of(newest) and not (dagster.checks_block and newest.id in truth.failed):
        words = f"the row's clip is take {newest.take} (task {newest.task_id}), and the newest materialisation is of "
        yield kinds.CLIP_OUTDATED, words + (f"take {owners[0].take}" if owners else "no task that is known"), newest


def _compare_facts(task: Task, event: Reported) -> Iterator[str]:
    cost = task_cost(task)
    kept: dict[str, Any] = {
        "task_id": task.task_id or "",
        "account": task.account,
        "model": task.request.MODEL,
        "take": task.take,
        "digest": task.digest[:DIGEST_DIGITS],
    }
    if task.found_at is None:
        kept["attempt"] = task.attempt
    if event.facts.get("state") == str(TaskState.STORED) and task.state is TaskState.STORED:
        kept |= {"cost_usd": cost.usd, "cost_source": cost.source}
    for name, ours in kept.items():
        theirs = event.facts.get(name)
        # Dagster has take and attempt as text, where no plot of them is wanted; in events of before, as numbers.
        if theirs != ours and str(theirs) != str(ours) and not (name == "attempt" and theirs is None):
            yield f"{name} is {ours!r} in the ledger and {theirs!r} in Dagster"


def compare_partitions(
    dagster: DagsterSide, there: Collection[str], rows: Sequence[str], stored: Sequence[str]
) -> Iterator[Discrepancy]:
    """The partitions that are missing, of these rows of the table and these rows with stored clips."""
    wanted = dict.fromkeys((*rows, *(stored if dagster.keeps_removed else ())))
    for row in wanted:
        if row not in there:
            yield Discrepancy(row, f"{dagster.where}: partitions", "is no partition", kinds.PARTITION_MISSING)
