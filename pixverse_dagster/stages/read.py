"""Reading a prompt table into the ledger: every row becomes a row that can be generated, or a problem that is named."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

from pixverse_dagster.core.errors import InvalidRow
from pixverse_dagster.core.manifest import InputImage
from pixverse_dagster.core.row import Problem, Row
from pixverse_dagster.ledger.rows import SnapshotChange
from pixverse_dagster.media.images import ImageCache
from pixverse_dagster.stages.changed_images import keep_paid_images
from pixverse_dagster.stages.folders import shared_folders
from pixverse_dagster.stages.session import Session
from pixverse_dagster.tables import PromptTable
from pixverse_dagster.tables.ids import settle_ids
from pixverse_dagster.tables.parse import Draft, double_problem, duplicate_problems, parse_row
from pixverse_dagster.transport.logs import get_logger

_log = get_logger()


@dataclass(frozen=True)
class TableReading:
    """One reading of a table: the rows that can be generated, in table order, and what is wrong with the others."""

    rows: tuple[Row, ...]
    problems: tuple[Problem, ...]
    cautions: tuple[Problem, ...]


def read_table(session: Session, table: PromptTable | None = None) -> TableReading:
    """Read and check the whole table, images included. Sends nothing to a provider; raises InvalidTable.

    `table` takes the place of the pipeline's own, where its rows are the value of an asset.
    """
    rules = session.pipeline.rules
    rules.check()
    drafts: list[Draft] = []
    problems: list[Problem] = []
    settled = settle_ids((table or session.pipeline.table).read())
    for raw in settled.rows:
        parsed = parse_row(raw, rules)
        if isinstance(parsed, list):
            problems += parsed
        if raw.line in settled.doubles:
            problems.append(double_problem(raw, settled.doubles[raw.line]))
        elif isinstance(parsed, Draft):
            drafts.append(parsed)
    for find in (duplicate_problems, partial(shared_folders, session)):
        found = find(drafts)
        problems += found
        without = {problem.line for problem in found}
        drafts = [draft for draft in drafts if draft.raw.line not in without]
    asked = session.ledger.rows.takes(session.pipeline.name)
    drafts = [replace(draft, take=max(draft.take, asked.get(draft.id, 1))) for draft in drafts]
    cache = ImageCache(session.images())
    rows: list[Row] = []
    with ThreadPoolExecutor(session.downloader.rules.max_concurrency) as pool:
        for looked_at in pool.map(partial(_look_at_images, cache), drafts):
            if isinstance(looked_at, Row):
                rows.append(looked_at)
            else:
                problems += looked_at
    cautions = [d.problem("", caution) for d in drafts for caution in d.request.cautions()]
    if not session.options.pay_for_changed_images:
        rows, changed = keep_paid_images(session, rows)
        cautions += changed
    return TableReading(tuple(rows), *(tuple(sorted(found, key=lambda p: p.line)) for found in (problems, cautions)))


def record_table(session: Session, reading: TableReading) -> SnapshotChange:
    """Make a reading the pipeline's current rows. Repeatable; the rows change in one transaction.

    A row that waits for another take, because a person asked for it, keeps its place if only its images were read anew.
    """
    name, ledger = session.pipeline.name, session.ledger
    ledger.worlds.set(name, session.worlds)
    waiting = {entry.row: entry for entry in ledger.queue.find(name)}
    before = ledger.rows.find(name, waiting) if waiting else {}
    change = ledger.rows.record(name, reading.rows, reading.problems, session.run_id, now=session.clock())
    takes = ledger.rows.takes(name) if before else {}
    kept = [
        replace(waiting[row.id], digest=row.digest)
        for row in reading.rows
        if row.id in change.changed
        and row.id in before
        and row.take == takes.get(row.id)
        and row.address_digest == before[row.id].address_digest
    ]
    ledger.queue.add(name, kept, session.clock())
    return change


def _look_at_images(cache: ImageCache, draft: Draft) -> Row | list[Problem]:
    images: dict[str, InputImage] = {}
    problems: list[Problem] = []
    for reference in draft.request.images():
        try:
            images[reference] = cache.check(reference, draft.request.IMAGE_RULES)
        except InvalidRow as error:
            problems.append(draft.problem(draft.request.image_column(reference), f"the image {error}"))
        except Exception as error:  # noqa: BLE001 - an image may be anything at all, and is its own row's problem
            _log.exception("row %r: an image could not be checked", draft.id)
            what = f"the image cannot be checked ({type(error).__name__}): save it again as JPEG or PNG"
            problems.append(draft.problem(draft.request.image_column(reference), what))
    return problems or draft.complete(images)
