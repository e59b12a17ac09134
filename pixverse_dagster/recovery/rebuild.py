"""Making a ledger again from what the store holds: attempts, costs, takes, and rows that may have been pending.

What stands in the store is taken in first, then rows that may have been pending are kept from being paid for, and only
then does this ledger say that it knows the other one: until then nothing is submitted. So it may be stopped at any
moment, and is safe to repeat.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from pixverse_dagster.core.errors import InvalidRow, PixverseError
from pixverse_dagster.core.lifecycle import Event, TaskState
from pixverse_dagster.core.manifest import ClipManifest
from pixverse_dagster.core.row import Problem, Row, retake
from pixverse_dagster.core.task import MoveRefused, Task, task_cost
from pixverse_dagster.policy.plan import SUBMITTED, PlanInputs, make_plan
from pixverse_dagster.recovery.known import KnownTasks
from pixverse_dagster.recovery.ledgers import OtherLedger, Wish, choose_ledger
from pixverse_dagster.recovery.pending import pending_task, pending_tasks
from pixverse_dagster.recovery.restored import tasks_of
from pixverse_dagster.stages.changed_images import with_paid_images
from pixverse_dagster.stages.find import FolderReading, read_folders
from pixverse_dagster.stages.read import read_table, record_table
from pixverse_dagster.stages.session import Session
from pixverse_dagster.storage.base import ClipStore
from pixverse_dagster.storage.marker import check_form


class Outcome(StrEnum):
    """What a rebuilding does with a clip of the store, or with a row of the table."""

    TAKEN_IN = "taken in"
    COMPLETED = "stored after all"
    KNOWN = "known"
    FORGOTTEN = "forgotten"
    SKIPPED = "skipped"
    MAY_BE_PENDING = "may be pending"
    NOT_PENDING = "not pending"
    NEW = "new"


@dataclass(frozen=True)
class RebuildLine:
    """What becomes of one attempt in the store, or of one row. `cost_usd` is what was paid earlier, None if unknown."""

    row: str
    outcome: Outcome
    task: Task | None = None
    manifest: ClipManifest | None = None
    cost_usd: float | None = 0.0
    note: str = ""


@dataclass(frozen=True)
class Rebuilding:
    """What a rebuilding does, or did. `other` is the ledger that it is about, None if all of them were known."""

    lines: tuple[RebuildLine, ...]
    other: OtherLedger | None
    problems: tuple[Problem, ...] = ()
    """Rows of the table that cannot be generated as they are: they, too, may have been pending."""

    @property
    def counts(self) -> Counter[Outcome]:
        """How many lines have each outcome."""
        return Counter(line.outcome for line in self.lines)

    @property
    def clips(self) -> list[tuple[Task, ClipManifest]]:
        """Every stored clip that the ledger has now, with its manifest."""
        found = ((line.task, line.manifest) for line in self.lines)
        return [(task, said) for task, said in found if task and said and task.state is TaskState.STORED]


def rebuild(session: Session, store: ClipStore, wish: Wish, *, dry_run: bool = False) -> Rebuilding:
    """Take in everything of the pipeline that the store holds, and what may have been pending. Never pays.

    With `dry_run`, nothing is written, and the result is the same. Raises StoreConflict for a store of another form,
    PixverseError where it is not clear which ledger is meant or where the table cannot be read, or the store's own
    error.
    """
    name, ledger = session.pipeline.name, session.ledger
    check_form(store, name)
    readings = list(read_folders(store, name))
    other = choose_ledger(session, store, [one.manifest for one in readings if one.manifest], wish)
    takes = _highest_takes(readings)
    if not dry_run:
        ledger.rows.ask_takes(name, takes)
    known = KnownTasks(session, dry_run=dry_run)
    rows = {(row.id, row.digest): row for row in ledger.rows.find(name).values()}
    # What the lost ledger paid for is this one's own, which goes on as that one.
    own = other.id if other and other.fate == "lost" else ledger.id
    lines = [_take_in(session, known, reading, rows, own) for reading in readings]
    current, problems = _read_rows(session, known, takes, dry_run=dry_run)
    lines += _judge_rows(session, known, current, other, wish)
    if other is not None and not dry_run:
        if other.fate == "beside":
            ledger.ledgers.acknowledge(other.id, "beside")
        else:
            ledger.take_over(other.id, other.epoch, name, other.others)
    return Rebuilding(tuple(lines), other, problems)


def _highest_takes(readings: Iterable[FolderReading]) -> dict[str, int]:
    takes: dict[str, int] = {}
    for reading in readings:
        if reading.manifest or reading.tombstone:
            takes[reading.row] = max(takes.get(reading.row, 1), reading.folder.take)
    return {row: take for row, take in takes.items() if take > 1}


def _take_in(
    session: Session, known: KnownTasks, reading: FolderReading, rows: Mapping[tuple[str, str], Row], own: str
) -> RebuildLine:
    """Take in one attempt, with the refused and failed ones before it. Its fault is its own."""
    document = reading.manifest or reading.tombstone
    if document is None:
        return RebuildLine(reading.row, Outcome.SKIPPED, note=reading.problem)
    row = rows.get((reading.row, document.request_digest))
    try:
        *earlier, clip = tasks_of(reading, row, session.pipeline.name, own, session.clock())
    except InvalidRow as error:
        return RebuildLine(reading.row, Outcome.SKIPPED, note=f"{error}. Its clip stays in the store")
    for task in earlier:
        if known.find(task) is None:
            known.restore(task)
    line = replace(_take_in_clip(known, clip), manifest=reading.manifest)
    if line.task is not None and reading.manifest is not None:
        known.record_files(line.task, reading.manifest)
    return line


def _take_in_clip(known: KnownTasks, clip: Task) -> RebuildLine:
    there, cost = known.find(clip), task_cost(clip).usd
    if there is None:
        outcome = Outcome.FORGOTTEN if clip.state is TaskState.FORGOTTEN else Outcome.TAKEN_IN
        return RebuildLine(clip.row, outcome, known.restore(clip), cost_usd=cost)
    if there.state in {TaskState.STORED, TaskState.FORGOTTEN}:
        return RebuildLine(clip.row, Outcome.KNOWN, there, cost_usd=cost)
    if _is_same(there, clip) and there.allows(Event.FIND) and clip.state is TaskState.STORED:
        task = known.complete(there, clip)
        if not isinstance(task, MoveRefused):
            return RebuildLine(clip.row, Outcome.COMPLETED, task, cost_usd=cost)
        there = task.current
    note = f"the ledger has task {clip.task_id} as {there.state}, of row {there.row!r} of {there.pipeline!r}"
    return RebuildLine(clip.row, Outcome.SKIPPED, there, cost_usd=cost, note=note)


def _is_same(there: Task, found: Task) -> bool:
    """Whether a manifest is that of a task: the same account and reference, and the same id where one is known."""
    same = (there.account, there.client_reference) == (found.account, found.client_reference)
    return same and there.task_id in {None, found.task_id}


def _read_rows(
    session: Session, known: KnownTasks, takes: Mapping[str, int], *, dry_run: bool
) -> tuple[list[Row], tuple[Problem, ...]]:
    """The rows of the table as it is now: one that was submitted since the last reading may be pending as well."""
    name, ledger = session.pipeline.name, session.ledger
    if session.pipeline.is_given_rows:
        rows, problems = list(ledger.rows.find(name).values()), tuple(ledger.rows.problems(name))
        if not rows and not problems:
            raise PixverseError(
                f"the table of {name!r} is the value of an asset, and this ledger has not read it yet: nothing is paid "
                f"for. Materialise {name}/prompts, which is free, then run it again"
            )
    else:
        reading = read_table(session, known=known.rows)
        rows, problems = list(reading.rows), reading.problems
        if not dry_run:
            record_table(session, reading)
    rows = [retake(row, max(row.take, takes.get(row.id, 1))) for row in rows]
    if not session.options.pay_for_changed_images:
        rows = [_as_paid(row, list(filter(session.counts, known.of_row(row.id)))) for row in rows]
    return rows, problems


def _as_paid(row: Row, attempts: Sequence[Task]) -> Row:
    """The row with the images that it was paid with, where nothing but the bytes behind their addresses changed."""
    if any(task.digest == row.digest for task in attempts):
        return row
    return with_paid_images(row, [task for task in attempts if task.state is not TaskState.REFUSED]) or row


def _judge_rows(
    session: Session, known: KnownTasks, rows: Sequence[Row], other: OtherLedger | None, wish: Wish
) -> Iterator[RebuildLine]:
    """What becomes of the rows that nobody has a clip of: kept from being paid for where they may be pending."""
    pending = pending_tasks(known.all())
    since = max((task.stored_at or 0.0 for task in known.all()), default=0.0)
    if wish.nothing_pending:
        for task in pending.values():
            known.free(task, session.clock())
            yield RebuildLine(task.row, Outcome.NOT_PENDING, task, note="a person looked: a submission pays for it")
    else:
        for task in pending.values():
            yield RebuildLine(task.row, Outcome.MAY_BE_PENDING, task, note=task.reason or "")
    lost = other if other and other.fate == "lost" and not wish.nothing_pending else None
    payable = _payable(session, known, rows)
    for row in rows:
        if row.id not in payable or row.id in pending:
            continue
        if lost is None:
            yield RebuildLine(row.id, Outcome.NEW)
            continue
        claim = 1 + max((task.claim for task in known.of_row(row.id) if task.digest == row.digest), default=0)
        task = known.restore(pending_task(session, row, claim, lost.id, since))
        yield RebuildLine(row.id, Outcome.MAY_BE_PENDING, task, note=task.reason or "")


def _payable(session: Session, known: KnownTasks, rows: Sequence[Row]) -> set[str]:
    """The rows that a submission would pay for now, budgets apart."""
    retries = session.ledger.policies.find_retries(session.pipeline.name, session.options.retry)
    inputs = PlanInputs(session.options.prices, retries=retries, worlds=session.worlds)
    tasks = [task for task in known.all() if session.counts(task)]
    return {line.row for line in make_plan(rows, (), tasks, inputs).lines if line.verdict in SUBMITTED}
