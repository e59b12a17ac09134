"""The images of a table's rows as they were found at this reading, and what a row is whose image cannot be read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

from pixverse_dagster.core.errors import InvalidRow
from pixverse_dagster.core.images import Conversion
from pixverse_dagster.core.lifecycle import TaskState
from pixverse_dagster.core.manifest import Difference, InputImage
from pixverse_dagster.core.request import Request
from pixverse_dagster.core.row import Problem, Row, retake
from pixverse_dagster.core.task import Task
from pixverse_dagster.media.cache import ImageCache
from pixverse_dagster.media.images import KnownImage
from pixverse_dagster.media.reading import ImageGone, ImageUnread
from pixverse_dagster.stages.session import Session
from pixverse_dagster.stages.staging import check_way
from pixverse_dagster.tables.parse import Draft
from pixverse_dagster.transport.logs import get_logger

_log = get_logger()
_MAY_BE_PAID = tuple(state for state in TaskState if state is not TaskState.REFUSED)
_KEPT_FOR_NOW = "The row keeps what it was when the image was last read; read the table again"
_KEPT_TASK = (
    "The row keeps the task that it has, and nothing is paid. For another clip of it, put the image back or name "
    "another one, then read the table again"
)
_Found = InputImage | InvalidRow | Exception


@dataclass(frozen=True)
class KnownRow:
    """A row as it was: when it was last read, and as it was last paid for, or may have been."""

    last: Row | None = None
    paid: Row | None = None


KnownRows = Callable[[Sequence[str]], Mapping[str, KnownRow]]
"""Gives rows as they were, by id."""


@dataclass(frozen=True)
class Look:
    """What was found when the images of a draft were read. `absent` are those of which nothing usable was found.

    They are not there, or not for now, or something else stands in their place: a link that ended may answer with a
    page.
    """

    draft: Draft
    images: Mapping[str, InputImage]
    absent: Mapping[str, Exception]
    problems: tuple[Problem, ...] = ()

    def row(self, cache: ImageCache, known: KnownRow | None) -> Row | None:
        """The row that can be generated, or that it was; None if it has problems, and had no task."""
        if not self.problems:
            row = self.draft.complete(dict(self.images))
            return replace(row, differences=(*row.differences, *self._conversions(cache)))
        return _row_as_it_was(cache, self, known) if self.absent and known else None

    def _conversions(self, cache: ImageCache) -> Iterator[Difference]:
        for reference, image in self.images.items():
            if made := cache.conversion(image):
                asked = f"{(image.format or '').upper()} {image.width}x{image.height}"
                sent = f"{made.format.upper()} {made.width}x{made.height}"
                yield Difference(field=self.draft.request.image_column(reference), asked=asked, sent=sent)

    def kept(self) -> list[Problem]:
        """What is said of the row where it is what it was."""
        end = _KEPT_TASK if _is_gone(self) else _KEPT_FOR_NOW
        return [replace(problem, message=f"{problem.message}. {end}") for problem in self.problems]


def look_at_images(session: Session, cache: ImageCache, drafts: Sequence[Draft]) -> list[Look]:
    """Look at the images of all rows, several at a time. What was read anew is remembered in the ledger."""
    wanted: dict[tuple[str, str], Request] = {}
    for draft in drafts:
        wanted |= {(reference, draft.request.MODEL): draft.request for reference in draft.request.images()}
    check = partial(_check, session, cache)
    with ThreadPoolExecutor(session.downloader.rules.max_concurrency) as pool:
        references = [reference for reference, _ in wanted]
        found = dict(zip(wanted, pool.map(check, references, wanted.values()), strict=True))
    session.ledger.images.see(cache.new, session.clock())
    for made in cache.made.values():
        session.ledger.images.add_conversion(made, session.clock())
    return [_look(draft, found) for draft in drafts]


def open_cache(session: Session, drafts: Sequence[Draft]) -> ImageCache:
    """A cache that knows what earlier readings know of the images that these rows name."""
    source = session.images()
    references = {reference for draft in drafts for reference in draft.request.images()}
    places = {place for reference in references if (place := source.place(reference))}
    images = session.ledger.images
    seen = images.seen(places) if places else {}
    made: dict[str, dict[str, Conversion]] = {}
    if source.convert:
        for (digest, recipe), one in images.conversions(image.digest for image in seen.values()).items():
            made.setdefault(digest, {})[recipe] = one
    return ImageCache(source, {place: KnownImage(one, made.get(one.digest, {})) for place, one in seen.items()})


def known_rows(session: Session, keys: Sequence[str]) -> Mapping[str, KnownRow]:
    """These rows as this ledger knows them."""
    name, ledger = session.pipeline.name, session.ledger
    tasks = [task for task in ledger.tasks.find(name, _MAY_BE_PAID, keys=keys) if session.counts(task)]
    return join_known(ledger.rows.find(name, keys), tasks)


def join_known(rows: Mapping[str, Row], tasks: Sequence[Task]) -> Mapping[str, KnownRow]:
    """Rows as they were last read, beside the newest of these tasks, given oldest first, that each may have paid."""
    paid = {task.row: row_as_paid(task) for task in tasks if task.state in _MAY_BE_PAID}
    return {key: KnownRow(rows.get(key), paid.get(key)) for key in {*rows, *paid}}


def row_as_paid(task: Task) -> Row:
    """The row whose request the task is of."""
    return Row(task.row, 0, task.take, task.labels, task.request, task.images, task.digest, task.differences)


def _check(session: Session, cache: ImageCache, reference: str, request: Request) -> _Found:
    try:
        image = cache.check(reference, request.IMAGE_RULES)
        check_way(session, request, reference, image)
    except Exception as error:  # noqa: BLE001 - an image may be anything at all, and is its own row's problem
        if not isinstance(error, InvalidRow):
            _log.exception("an image could not be checked")
        return error
    return image


def _look(draft: Draft, found: Mapping[tuple[str, str], _Found]) -> Look:
    images: dict[str, InputImage] = {}
    absent: dict[str, Exception] = {}
    problems: list[Problem] = []
    for reference in draft.request.images():
        one = found[reference, draft.request.MODEL]
        if isinstance(one, InputImage):
            images[reference] = one
            continue
        absent[reference] = one
        what = f"the image {one}"
        if not isinstance(one, InvalidRow):
            what = f"the image cannot be checked ({type(one).__name__}): save it again as JPEG or PNG"
        problems.append(draft.problem(draft.image_column(reference), what))
    return Look(draft, images, absent, tuple(problems))


def _is_gone(look: Look) -> bool:
    """Whether more is wrong with an image than that it cannot be read for now."""
    return any(not isinstance(error, ImageUnread) for error in look.absent.values())


def _row_as_it_was(cache: ImageCache, look: Look, known: KnownRow) -> Row | None:
    """The row with the images that were known before in place of those that are absent.

    Nothing is paid for an image that nobody looked at, or that is gone: where the table asks for anything else by now,
    the row is what it was paid for, and None if it never was. An image under another address that cannot be used is
    to be mended in the table: then the row is None as well.
    """
    gone = _is_gone(look)
    for row in _with_known_images(cache, look, known):
        if not gone or (known.paid and known.paid.digest == row.digest):
            return row
    paid_at = {image.address for image in known.paid.images.values()} if known.paid else set[str | None]()
    for reference, error in look.absent.items():
        if not isinstance(error, ImageUnread | ImageGone) and cache.address(reference) not in paid_at:
            return None
    if known.last and known.paid and known.last.digest == known.paid.digest:
        return known.last
    return replace(known.paid, line=look.draft.raw.line) if known.paid else None


def _with_known_images(cache: ImageCache, look: Look, known: KnownRow) -> Iterator[Row]:
    for before in filter(None, (known.last, known.paid)):
        there = {image.address: image for image in before.images.values() if image.address}
        older = {reference: there.get(cache.address(reference) or "") for reference in look.absent}
        images = {**look.images, **{reference: image for reference, image in older.items() if image}}
        if len(images) < len(look.images) + len(look.absent):
            continue
        row = look.draft.complete(images)
        if row.digest == retake(before, row.take).digest:
            yield row
