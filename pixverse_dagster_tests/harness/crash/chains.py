"""Which cells the crash matrix has, and in which chains they are run: the cover of CI, and the full product."""

import itertools
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
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

_PLACES: Sequence[Sequence[tuple[tuple[Database, StoreKind], tuple[Database, StoreKind]]]] = (
    ((("sqlite", "local"), ("postgres", "s3")), (("sqlite", "local"), ("postgres", "s3"))),
    ((("sqlite", "s3"), ("postgres", "local")), (("sqlite", "s3"), ("postgres", "local"))),
    ((("postgres", "s3"), ("sqlite", "local")), (("postgres", "local"), ("sqlite", "s3"))),
)
"""By share and home, where its even and its odd points are killed: of a point, never twice in the same place."""


def share_of_cover(number: int) -> list[Chain]:
    """One cell of every point, with all three providers; `number` counts from 0 to below SHARES.

    Points before the collect step share a home, and those of it another: what they need is prepared once.
    """
    chains: list[Chain] = []
    for names, places in zip(_shared_homes(), _PLACES[number], strict=True):
        for parity, (database, store) in enumerate(places):
            cells = tuple(_cell(n, number) for n in names if n % 2 == parity)
            chains.append(Chain(database, store, cells))
    return chains


def _cell(n: int, share: int) -> Cell:
    """Point `n` as a share has it: another provider in each share, and another way in the next."""
    point, ways = [*POINTS][n], get_args(Way)
    model = (_HIGHWAYS[n // 3 % 3], *_OTHERS)[(n + share) % 3]
    return Cell(point, model, ways[(n // 2 + share) % 2], _links(point, model, n // 2 + share))


def cover() -> list[Chain]:
    """Each point on both databases, both stores and both ways, and between its cells every provider.

    The chains of all shares; those on the same database and store are one.
    """
    found: dict[tuple[Database, StoreKind, int], list[Cell]] = defaultdict(list)
    for number in range(SHARES):
        for n, chain in enumerate(share_of_cover(number)):
            found[chain.database, chain.store, n // 2] += chain.cells
    return [Chain(database, store, tuple(cells)) for (database, store, _), cells in found.items()]


def _links(point: str, model: str, n: int) -> Links:
    # What has one output only is complete as soon as that is there; its poster is made from the file in the store.
    complete = point in COMPLETE or (model in _HIGHWAYS and POINTS[point].left in {Left.CLIP, Left.FIRST})
    return "gone" if complete and n % 2 else "live"


def second_attempts(*, full: bool) -> list[Chain]:
    """Chains of rows that are paid for a second time: few cells; or every point on each database and store."""
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
        return [
            Chain(database, store, other if (database == "sqlite") == (store == "s3") else one, attempt=2)
            for database, store in itertools.product(DATABASES, STORES)
        ]
    cells = (
        Cell("post-in-flight", "runware/pixverse-v4.5", "assets"),
        Cell("answer-recorded", "highway/pixverse-v6-i2v", "jobs"),
        Cell("between-outputs", "pixwith/pixverse-v5", "assets"),
        Cell("before-manifest", "runware/pixverse-v4.5", "jobs", "gone"),
    )
    return [Chain("sqlite", "local", cells[::2], attempt=2), Chain("postgres", "s3", cells[1::2], attempt=2)]


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
    names, places = [border for border in get_args(Border) if border], [*itertools.product(DATABASES, STORES)]
    if full:
        return [Chain(*place, (*cells, *more), border=border) for border in names for place in places]
    return [Chain(*place, cells, border=border) for border, place in zip(names, places, strict=True)]


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
