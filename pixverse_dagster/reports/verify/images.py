"""The input images below `images/`: each is named by the sha256 of its bytes, a thumbnail by that of its image."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from pixverse_dagster.core.layout import ImageKey
from pixverse_dagster.media.decode import decode_whole, image_facts
from pixverse_dagster.reports.verify import kinds
from pixverse_dagster.reports.verify.findings import Discrepancy
from pixverse_dagster.storage.base import ClipStore
from pixverse_dagster.storage.reading import read_bytes


def compare_image(store: ClipStore, key: ImageKey) -> tuple[int, list[Discrepancy]]:
    """How many bytes an image has, and what is wrong with it. Reads it whole."""
    data = read_bytes(store, str(key))
    return len(data), [
        Discrepancy("", store.uri(str(key)), words, kinds.IMAGE_CHANGED, key=str(key)) for words in _wrong(key, data)
    ]


def _wrong(key: ImageKey, data: bytes) -> Iterator[str]:
    if key.ending:
        found = hashlib.sha256(data).hexdigest()
        if found != key.sha256:
            yield f"its sha256 is {found}, and not its name: the bytes were changed"
        return
    try:
        facts = image_facts(data)
        if facts is None or facts.format != "jpeg":
            yield "is no JPEG, as a thumbnail is"
        else:
            decode_whole(data, facts)
    except Exception as error:  # noqa: BLE001 - whatever a decoder makes of bytes that may be anything
        yield f"is no picture that can be shown: {type(error).__name__}: {error}"
