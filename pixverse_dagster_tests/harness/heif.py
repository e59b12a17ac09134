"""HEIC and AVIF files put together from pictures that PyAV encodes: of one piece or of tiles, turned or not."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator, Sequence
from typing import Any

import av


def heif(frames: Sequence[Any], *, columns: int = 1, size: tuple[int, int] = (0, 0), turns: int = 0) -> bytes:
    """A HEIC file of one frame, or of tiles in rows of `columns`, of which `size` is shown; turned to the left."""
    coded = [_coded(frame) for frame in frames]
    ids = list(range(1, len(coded) + 1))
    grid = len(coded) + 1 if len(coded) > 1 else 0
    head = _box(b"ftyp", b"heic" + bytes(4) + b"mif1heic")
    shape = bytes([0, 0, len(coded) // columns - 1, columns - 1]) + struct.pack(">HH", *size)
    pieces = [data for _, data in coded] + ([shape] if grid else [])

    def meta(start: int) -> bytes:
        places, at = b"", start
        for number, piece in zip([*ids, grid], pieces, strict=False):
            places += struct.pack(">HHHII", number, 0, 1, at, len(piece))
            at += len(piece)
        return _meta(coded, frames, grid, size, turns, struct.pack(">H", len(pieces)) + places)

    data_at = len(head) + len(meta(0)) + 8
    return head + meta(data_at) + _box(b"mdat", b"".join(pieces))


def _meta(
    coded: Sequence[tuple[bytes, bytes]],
    frames: Sequence[Any],
    grid: int,
    size: tuple[int, int],
    turns: int,
    places: bytes,
) -> bytes:
    ids = list(range(1, len(coded) + 1))
    primary = grid or 1
    kinds = [(number, b"hvc1") for number in ids] + ([(grid, b"grid")] if grid else [])
    infos = b"".join(_full(b"infe", struct.pack(">HH", number, 0) + kind + b"\0", version=2) for number, kind in kinds)
    shown = size if grid else (frames[0].width, frames[0].height)
    properties = [
        _box(b"hvcC", coded[0][0]),
        _full(b"ispe", struct.pack(">II", frames[0].width, frames[0].height)),
        _full(b"ispe", struct.pack(">II", *shown)),
        _box(b"irot", bytes([turns])),
    ]
    owned = [(number, [0x81, 2, *([0x84] if turns and not grid else [])]) for number in ids]
    owned += [(grid, [3, *([0x84] if turns else [])])] if grid else []
    owns = struct.pack(">I", len(owned))
    owns += b"".join(struct.pack(">HB", number, len(of)) + bytes(of) for number, of in owned)
    parts = [
        _full(b"hdlr", bytes(4) + b"pict" + bytes(13)),
        _full(b"pitm", struct.pack(">H", primary)),
        _full(b"iloc", b"\x44\0" + places),
        _full(b"iinf", struct.pack(">H", len(kinds)) + infos),
        _box(b"iprp", _box(b"ipco", b"".join(properties)) + _full(b"ipma", owns)),
    ]
    if grid:
        tiles = struct.pack(f">HH{len(ids)}H", grid, len(ids), *ids)
        parts.append(_full(b"iref", _box(b"dimg", tiles)))
    return _full(b"meta", b"".join(parts))


def _coded(frame: Any) -> tuple[bytes, bytes]:
    """The configuration and the bytes of one frame in HEVC, as an MP4 file holds them."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as opened:
        out: Any = opened
        stream = out.add_stream("libx265", rate=1)
        stream.width, stream.height, stream.pix_fmt = frame.width, frame.height, "yuv420p"
        stream.options = {"x265-params": "log-level=none:keyint=1", "preset": "ultrafast", "tag": "hvc1"}
        out.mux(stream.encode(frame.reformat(format="yuv420p")))
        out.mux(stream.encode(None))
    whole = file.getvalue()
    at = whole.index(b"hvcC") - 4
    size = int.from_bytes(whole[at : at + 4], "big")
    (data,) = [body for kind, body in _boxes(whole) if kind == b"mdat"]
    return whole[at + 8 : at + size], data


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        yield data[at + 4 : at + 8], data[at + 8 : at + size]
        at += size


def _box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body) + 8) + kind + body


def _full(kind: bytes, body: bytes, version: int = 0) -> bytes:
    return _box(kind, bytes([version, 0, 0, 0]) + body)
