"""Reading a prompt table into the ledger: every row becomes a row that can be generated, or a problem that is named."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

from pixverse_dagster.clip import InputImage
from pixverse_dagster.errors import InvalidRow
from pixverse_dagster.images import ImageCache
from pixverse_dagster.ledger import SnapshotChange
from pixverse_dagster.pipeline import Workshop
from pixverse_dagster.prompts import Draft, Problem, Row, duplicate_problems, parse_row
from pixverse_dagster.tables import PromptTable


@dataclass(frozen=True)
class Reading:
    """One reading of a table: the rows that can be generated, in table order, and what is wrong with the others."""

    rows: tuple[Row, ...]
    problems: tuple[Problem, ...]
    cautions: tuple[Problem, ...]


def read_table(shop: Workshop, table: PromptTable | None = None) -> Reading:
    """Read and check the whole table, images included. Sends nothing to a provider; raises InvalidTable.

    `table` takes the place of the pipeline's own, where its rows are the value of an asset.
    """
    rules = shop.pipeline.rules
    rules.check()
    drafts: list[Draft] = []
    problems: list[Problem] = []
    for raw in (table or shop.pipeline.table).read():
        parsed = parse_row(raw, rules)
        if isinstance(parsed, Draft):
            drafts.append(parsed)
        else:
            problems += parsed
    twice = duplicate_problems(drafts)
    problems += twice
    doubled = {problem.line for problem in twice}
    drafts = [draft for draft in drafts if draft.raw.line not in doubled]
    asked = shop.ledger.takes(shop.pipeline.name)
    drafts = [replace(draft, take=max(draft.take, asked.get(draft.id, 1))) for draft in drafts]
    cache = ImageCache(shop.images())
    rows: list[Row] = []
    with ThreadPoolExecutor(shop.downloader.rules.max_concurrency) as pool:
        for looked_at in pool.map(partial(_look_at_images, cache), drafts):
            if isinstance(looked_at, Row):
                rows.append(looked_at)
            else:
                problems += looked_at
    cautions = [d.problem("", caution) for d in drafts for caution in d.request.cautions()]
    return Reading(tuple(rows), tuple(sorted(problems, key=lambda p: p.line)), tuple(cautions))


def record(shop: Workshop, reading: Reading) -> SnapshotChange:
    """Make a reading the pipeline's current rows. Atomic and repeatable."""
    return shop.ledger.record_snapshot(
        shop.pipeline.name, reading.rows, reading.problems, shop.run_id, now=shop.clock()
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
