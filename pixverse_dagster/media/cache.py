"""Each input image is read and checked once in a reading of a table, however many rows name it."""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from pixverse_dagster.core.errors import InvalidRow
from pixverse_dagster.core.images import Conversion, SeenImage
from pixverse_dagster.core.manifest import InputImage
from pixverse_dagster.core.request import ImageRules
from pixverse_dagster.media.images import ImageSource, KnownImage, is_converted
from pixverse_dagster.media.reading import ImageUnread

_SILENT_IMAGES = 24
_HOST = re.compile(r"^https?://[^/?#]*", re.IGNORECASE)


class ImageCache:
    """Checks each image once in a reading of a table, however many rows name it. Thread-safe.

    `known` are the images of earlier readings, by `ImageSource.place`: those that did not change since are not read.
    What is to be known at the next reading is in `new` and `made` in the end.
    """

    def __init__(self, source: ImageSource, known: Mapping[str, KnownImage] | None = None) -> None:
        self.new: dict[str, SeenImage] = {}
        self.made: dict[tuple[str, str], Conversion] = {}
        self._source = source
        self._known = known or {}
        there = (one for image in self._known.values() for one in image.made.values())
        self._conversions: dict[tuple[str, str | None], Conversion] = {
            (one.digest, one.sent_digest): one for one in there
        }
        self._found: dict[tuple[str, str], InputImage | InvalidRow] = {}
        self._silent: set[str] = set()
        self._in_a_row: Counter[str] = Counter()
        self._lock = threading.Lock()

    def address(self, reference: str) -> str | None:
        """As `ImageSource.address`."""
        return self._source.address(reference)

    def check(self, reference: str, rules: ImageRules) -> InputImage:
        """As `ImageSource.check`.

        A host that let one image down is asked once for each of its others, and no more when it let many down in a row.
        """
        key = (reference, rules.source)
        with self._lock:
            found = self._found.get(key)
        if found is None:
            try:
                found = self._look(reference, rules)
            except InvalidRow as error:
                found = error
            with self._lock:
                self._found[key] = found
        if isinstance(found, InvalidRow):
            raise found
        return found

    def conversion(self, image: InputImage) -> Conversion | None:
        """What an image that was checked here is converted into; None for one that is sent as it is."""
        if not is_converted(image):
            return None
        with self._lock:
            return self._conversions.get((image.digest, image.sent_digest or ""))

    def _look(self, reference: str, rules: ImageRules) -> InputImage:
        host, place = _host(self._source.resolve(reference)), self._source.place(reference)
        with self._lock:
            silent, in_a_row = host in self._silent, self._in_a_row[host]
            known = self._known.get(place or "", KnownImage())
            known = replace(known, seen=self.new.get(place or "") or known.seen)
        if in_a_row >= _SILENT_IMAGES:
            raise ImageUnread(f"cannot be read for now: {host} let {in_a_row} other images down in a row")
        try:
            look = self._source.look(reference, rules, 1 if silent else None, known)
        except ImageUnread:
            with self._lock:
                if host:
                    self._silent.add(host)
                    self._in_a_row[host] += 1
            raise
        with self._lock:
            self._in_a_row.pop(host, None)
            if place and look.seen:
                self.new[place] = look.seen
            if look.made:
                self.made[look.made.digest, look.made.recipe] = look.made
                self._conversions[look.made.digest, look.made.sent_digest] = look.made
        return look.image


def _host(reference: str) -> str:
    """The scheme and host of a URL; empty for anything else, which is below the base."""
    found = _HOST.match(reference)
    return found.group().lower() if found else ""
