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
from pixverse_dagster.stages.session import Session
from pixverse_dagster.tables import PromptTable
from pixverse_dagster.tables.parse import Draft, duplicate_problems, parse_row


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
    for raw in (table or session.pipeline.table).read():
        parsed = parse_row(raw, rules)
        if isinstance(parsed, Draft):
            drafts.append(parsed)
        else:
            problems += parsed
    twice = duplicate_problems(drafts)
    problems += twice
    doubled = {problem.line for problem in twice}
    drafts = [draft for draft in drafts if draft.raw.line not in doubled]
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
    return TableReading(tuple(rows), tuple(sorted(problems, key=lambda p: p.line)), tuple(cautions))


def record_table(session: Session, reading: TableReading) -> SnapshotChange:
    """Make a reading the pipeline's current rows. Atomic and repeatable."""
    return session.ledger.rows.record(
        session.pipeline.name, reading.rows, reading.problems, session.run_id, now=session.clock()
    )


def _look_at_images(cache: ImageCache, draft: Draft) -> Row | list[Problem]:
    images: dict[str, InputImage] = {}
    problems: list[Problem] = []
    for reference in draft.request.images():
        try:
            images[reference] = cache.check(reference, draft.request.IMAGE_RULES)
        except InvalidRow as error:
            problems.append(draft.problem(draft.request.image_column(reference), f"the image {error}"))
    return problems or draft.complete(images)
