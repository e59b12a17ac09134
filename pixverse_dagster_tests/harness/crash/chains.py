"""Which cells the crash matrix has, and in which chains they are run: the cover of CI, and the full product."""

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

from pixverse_dagster_tests.harness.crash.home import DATABASES, MODELS, STORES, Database, StoreKind
from pixverse_dagster_tests.harness.crash.killpoints import POINTS, Left

Way = Literal["assets", "jobs"]
"""What is killed: a run that materialises clips directly; or the submit job, the sensor's tick and the collect job."""

Links = Literal["live", "gone"]
"""What becomes of the links to the killed row's result after the kill, where all its bytes were in the store."""

Border = Literal["", "rotated key", "another account", "lost ledger", "second deployment"]
"""What happens between the kills and the run that goes on (`borders.py`)."""

COMPLETE = tuple(name for name, point in POINTS.items() if point.left in {Left.BYTES, Left.MANIFEST, Left.EVENT})
"""Points at which all bytes of the killed row are in the store, and the ledger does not call it stored yet."""
_HIGHWAYS, _OTHERS = MODELS[:3], MODELS[3:]


@dataclass(frozen=True)
class Cell:
    """One point, for a row of this model."""

    point: str
    model: str
    way: Way
    links: Links = "live"


@dataclass(frozen=True)
class Chain:
    """Cells on one database and one store, one after the other; each has rows of its own.

    In a chain of second attempts, every row was paid for before, and that result was gone before all of it was stored.
    """

    database: Database
    store: StoreKind
    cells: tuple[Cell, ...]
    attempt: Literal[1, 2] = 1
    border: Border = ""

    def __str__(self) -> str:
        words = (f"{point} ({len([*cells])})" for point, cells in itertools.groupby(self.cells, lambda one: one.point))
        which = [*([self.border] if self.border else []), *(["second attempts"] if self.attempt > 1 else [])]
        return f"{self.database} {self.store} {', '.join([*which, *words])}"


SHARES = 3
"""In so many shares the cover is run, one at each change: each has every point, and together they are the cover."""


def share_of_cover(number: int) -> list[Chain]:
    """One cell of every point; `number` counts from 0 to below SHARES."""
    seen: Counter[str] = Counter()
    chains: list[Chain] = []
    for chain in cover():
        cells: list[Cell] = []
        for cell in chain.cells:
            if (seen[cell.point] + [*POINTS].index(cell.point)) % SHARES == number:
                cells.append(cell)
            seen[cell.point] += 1
        chains.append(replace(chain, cells=tuple(cells)))
    return [chain for chain in chains if chain.cells]


def cover() -> list[Chain]:
    """Each point on both databases, both stores and both ways, and between its cells every provider.

    Points before the collect step share a home, and those of it another: what they need is prepared once.
    """
    chains: list[Chain] = []
    for names in _shared_homes():
        light, full = list[Cell](), list[Cell]()
        for n in names:
            point = [*POINTS][n]
            models = [_HIGHWAYS[n // 2 % 3], *_OTHERS]
            models = [*models[n % 3 :], *models[: n % 3]]
            ways: list[Way] = ["assets", "jobs"] if n % 2 else ["jobs", "assets"]
            cells = [Cell(point, model, ways[m > n % 2], _links(point, model, n + m)) for m, model in enumerate(models)]
            light += cells[: 1 + n % 2]
            full += cells[1 + n % 2 :]
        chains += [Chain("sqlite", "local", tuple(light)), Chain("postgres", "s3", tuple(full))]
    return chains


def _links(point: str, model: str, n: int) -> Links:
    # What has one output only is complete as soon as that is there; its poster is made from the file in the store.
    complete = point in COMPLETE or (model in _HIGHWAYS and POINTS[point].left in {Left.CLIP, Left.FIRST})
    return "gone" if complete and n % 2 else "live"


def second_attempts(*, full: bool) -> list[Chain]:
    """Chains of rows that are paid for a second time: few cells; or every point with both ways, on each store."""
    if full:
        models = [_OTHERS[n % 2] if n % 3 else _HIGHWAYS[n % 2] for n in range(len(POINTS))]
        ways: tuple[Way, ...] = get_args(Way)
        one, other = (
            tuple(
                Cell(point, models[n], ways[(n + m) % 2], _links(point, models[n], n // 2))
                for n, point in enumerate(POINTS)
            )
            for m in range(2)
        )
        return [Chain("sqlite", "local", one, attempt=2), Chain("postgres", "s3", other, attempt=2)]
    cells = (
        Cell("post-in-flight", "runware/pixverse-v4.5", "assets"),
        Cell("answer-recorded", "highway/pixverse-v6-i2v", "jobs"),
        Cell("between-outputs", "pixwith/pixverse-v5", "assets"),
        Cell("before-manifest", "runware/pixverse-v4.5", "jobs", "gone"),
    )
    return [Chain("sqlite", "local", cells, attempt=2)]


def borders(*, full: bool) -> list[Chain]:
    """A chain for each border: rows that are claimed, charged, pending, ready and stored when it is crossed."""
    cells = (
        Cell("post-in-flight", "runware/pixverse-v4.5", "assets"),
        Cell("answer-recorded", "pixwith/pixverse-v5", "jobs"),
        Cell("stored", "runware/pixverse-v4.5", "jobs"),
    )
    more = (
        Cell("answer-recorded", "highway/pixverse-v6-i2v", "jobs"),
        Cell("after-claim", "runware/pixverse-v4.5", "jobs"),
        Cell("post-in-flight", "pixwith/pixverse-v5", "assets"),
        Cell("result-recorded", "runware/pixverse-v4.5", "jobs"),
        Cell("after-manifest", "highway/pixverse-v4.5-i2v", "assets"),
    )
    names = [border for border in get_args(Border) if border]
    chains = [Chain("sqlite", "local", cells, border=border) for border in names]
    return [*chains, *(Chain("postgres", "s3", (*cells, *more), border=border) for border in names)] if full else chains


def _shared_homes() -> Iterator[Sequence[int]]:
    """The numbers of the points: those until the result is known, and those of collecting it.

    Few homes, as each is prepared, run on and resolved once, whatever the number of its points.
    """
    for _, found in itertools.groupby(enumerate(POINTS.values()), lambda one: one[1].step == "collect"):
        yield [n for n, _ in found]


def full_product() -> list[Chain]:
    """Every point, database, store and way, with all models."""
    ways: tuple[Way, ...] = get_args(Way)
    product = itertools.product(POINTS, DATABASES, STORES, ways)
    chains = [
        Chain(
            database, store, tuple(Cell(point, model, way, _links(point, model, n)) for n, model in enumerate(MODELS))
        )
        for point, database, store, way in product
    ]
    return [*chains, *second_attempts(full=True), *borders(full=True)]
