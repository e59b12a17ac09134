"""Images, and how they are refused."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Generator
from contextlib import contextmanager

import pytest

from pixverse_dagster.core.errors import InvalidRow
from pixverse_dagster.providers import MODELS

HIGHWAY, RUNWARE, PIXWITH = (
    MODELS[name].IMAGE_RULES for name in ("highway/pixverse-v6-i2v", "runware/pixverse-v4.5", "pixwith/pixverse-v5")
)
UUID = "aac49721-1964-481a-ae78-8a4e29b91402"


def png(width: int, height: int, padding: int = 0) -> bytes:
    """A real, black PNG, with a text chunk that makes it as large as wanted."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    pixels = zlib.compress((b"\0" * (width * 3 + 1)) * height)
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    text = chunk(b"tEXt", b"Comment\0" + b"x" * padding)
    return b"\x89PNG\r\n\x1a\n" + head + text + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


@contextmanager
def refusal(words: str) -> Generator[None]:
    """The block must refuse with these words, and leave no secret and no endless text in them."""
    with pytest.raises(InvalidRow) as refused:
        yield
    assert words in str(refused.value)
    assert "s3cret" not in str(refused.value)
    assert len(str(refused.value)) < 600
