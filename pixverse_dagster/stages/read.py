"""Reading a prompt table into the ledger: every row becomes a row that can be generated, or a problem that is named."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial

from pixverse_dagster.core.errors import InvalidRow
from pixverse_dagster.core.lifecycle import ANSWERS_REQUEST
from pixverse_dagster.core.manifest import InputImage
from pixverse_dagster.core.row import Problem, Row, retake
from pixverse_dagster.core.task import Task
from pixverse_dagster.ledger.rows import SnapshotChange
from pixverse_dagster.media.images import ImageCache, ImageUnread
from pixverse_dagster.stages.changed_images import keep_paid_images
from pixverse_dagster.stages.drafts import read_drafts
from pixverse_dagster.stages.folders import shared_folders
from pixverse_dagster.stages.session import Session
from pixverse_dagster.tables import PromptTable
from pixverse_dagster.tables.parse import Draft
from pixverse_dagster.transport.logs import get_logger

_log = get_logger()
_KEPT = "The row keeps what it was when the image was last read; read the table again"


@dataclass(frozen=True)
class TableReading:
    """One reading of a table: the rows that can be generated, in table order, and what is wrong with the others."""

    rows: tuple[Row, ...]
    problems: tuple[Problem, ...]
    cautions: tuple[Problem, ...]
    remarks: tuple[str, ...] = ()
    """What is odd about the table as a whole, and stops nothing."""
    facts: Mapping[str, str] = field(default_factory=dict[str, str])
    """How its file was read: separator, encoding, sheet."""

    @property
    def ids(self) -> frozenset[str]:
        """The ids of all rows, also of those that have problems."""
        return frozenset({row.id for row in self.rows} | {problem.row for problem in self.problems if problem.row})


KnownRows = Callable[[Sequence[str]], Mapping[str, Row]]
"""Gives rows, by id, as they were when they were last read or paid for."""


def read_table(
    session: Session, table: PromptTable | None = None, *, known_rows: KnownRows | None = None
) -> TableReading:
    """Read and check the whole table, images included. Sends nothing to a provider; raises InvalidTable.

    `table` takes the place of the pipeline's own, where its rows are the value of an asset. `known_rows` are those that
    a row with an image that cannot be read for now is compared with; the ledger's, if not given.
    """
    read = read_drafts(table or session.pipeline.source, session.pipeline.rules)
    found = shared_folders(session, read.drafts)
    problems = [*read.problems, *found]
    without = {problem.line for problem in found}
    drafts = [draft for draft in read.drafts if draft.raw.line not in without]
    asked = session.ledger.rows.takes(session.pipeline.name)
    drafts = [replace(draft, take=max(draft.take, asked.get(draft.id, 1))) for draft in drafts]
    cache = ImageCache(session.images())
    rows: list[Row] = []
    cautions = [d.problem("", caution) for d in drafts for caution in d.request.cautions()]
    with ThreadPoolExecutor(session.downloader.rules.max_concurrency) as pool:
        looks = list(pool.map(partial(_look_at_images, cache), drafts))
    unread = [look.draft.id for look in looks if look.unread]
    known = known_rows or partial(_known_rows, session)
    before = known(unread) if unread else dict[str, Row]()
    for look in looks:
        row = _row_as_it_was(cache, look, before.get(look.draft.id)) if look.unread else look.row()
        if row is None:
            problems += look.problems
        else:
            rows.append(row)
            cautions += [replace(problem, message=f"{problem.message}. {_KEPT}") for problem in look.problems]
    if not session.options.pay_for_changed_images:
        rows, changed = keep_paid_images(session, rows)
        cautions += changed
    problems, cautions = (sorted(found, key=lambda problem: problem.line) for found in (problems, cautions))
    return TableReading(tuple(rows), tuple(problems), tuple(cautions), tuple(read.remarks), read.notes.facts)


def _known_rows(session: Session, keys: Sequence[str]) -> Mapping[str, Row]:
    """These rows as they were last read, or, where this ledger has not read them, as they were paid for."""
    name, ledger = session.pipeline.name, session.ledger
    tasks = ledger.tasks.find(name, tuple(ANSWERS_REQUEST), keys=keys)
    return {task.row: row_as_paid(task) for task in tasks if session.counts(task)} | ledger.rows.find(name, keys)


def row_as_paid(task: Task) -> Row:
    """The row whose request the task is of."""
    return Row(task.row, 0, task.take, task.labels, task.request, task.images, task.digest, task.differences)


def record_table(session: Session, reading: TableReading) -> SnapshotChange:
    """Make a reading the pipeline's current rows. Repeatable; rows and queue change in one transaction."""
    name, ledger = session.pipeline.name, session.ledger
    ledger.worlds.set(name, session.worlds)
    return ledger.rows.record(name, reading.rows, reading.problems, session.run_id, now=session.clock())


@dataclass(frozen=True)
class _Look:
    """What was found when the images of a draft were read. `unread` are those that could not be read for now."""

    draft: Draft
    images: dict[str, InputImage]
    unread: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()

    def row(self) -> Row | None:
        return None if self.problems else self.draft.complete(self.images)


def _look_at_images(cache: ImageCache, draft: Draft) -> _Look:
    images: dict[str, InputImage] = {}
    unread: list[str] = []
    problems: list[Problem] = []
    for reference in draft.request.images():
        column = draft.request.image_column(reference)
        try:
            images[reference] = cache.check(reference, draft.request.IMAGE_RULES)
        except ImageUnread as error:
            unread.append(reference)
            problems.append(draft.problem(column, f"the image {error}"))
        except InvalidRow as error:
            problems.append(draft.problem(column, f"the image {error}"))
        except Exception as error:  # noqa: BLE001 - an image may be anything at all, and is its own row's problem
            _log.exception("row %r: an image could not be checked", draft.id)
            what = f"the image cannot be checked ({type(error).__name__}): save it again as JPEG or PNG"
            problems.append(draft.problem(column, what))
    return _Look(draft, images, tuple(unread) if len(unread) == len(problems) else (), tuple(problems))


def _row_as_it_was(cache: ImageCache, look: _Look, before: Row | None) -> Row | None:
    """The row with the images that were known before in place of those that cannot be read for now.

    None if the table's row asks for anything else than it did: nothing is paid for an image that nobody looked at.
    """
    if before is None:
        return None
    known = {image.address: image for image in before.images.values() if image.address}
    images = dict(look.images)
    for reference in look.unread:
        if (image := known.get(cache.address(reference) or "")) is None:
            return None
        images[reference] = image
    row = look.draft.complete(images)
    return row if row.digest == retake(before, row.take).digest else None
