"""How a HEIC or AVIF file is put together: which of its pictures is meant, of which tiles, and how it is turned."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

_MOST_TILES = 4096
_WIDE = 2  # the version of some boxes from which ids have 4 bytes


@dataclass(frozen=True)
class HeifLayout:
    """The item that is meant, and how it is shown.

    `tiles` are items in rows of `columns`, of which `width` by `height` is shown; empty for a picture of one piece.
    `turns` are quarter turns to the left; `mirror` is 0 for left and right exchanged, 1 for top and bottom.
    """

    primary: int
    tiles: tuple[int, ...] = ()
    columns: int = 1
    width: int = 0
    height: int = 0
    turns: int = 0
    mirror: int | None = None


@dataclass
class _Meta:
    primary: int = 0
    kinds: dict[int, bytes] = field(default_factory=dict[int, bytes])
    derived: dict[int, tuple[int, ...]] = field(default_factory=dict[int, tuple[int, ...]])
    places: dict[int, tuple[int, int, int]] = field(default_factory=dict[int, tuple[int, int, int]])
    properties: list[tuple[bytes, bytes]] = field(default_factory=list[tuple[bytes, bytes]])
    owned: dict[int, list[int]] = field(default_factory=dict[int, list[int]])
    data: bytes = b""


def heif_layout(data: bytes) -> HeifLayout:
    """The layout of a HEIC or AVIF file. Raises ValueError or IndexError for one that is put together otherwise."""
    meta = _Meta()
    for kind, body in _boxes(data):
        if kind == b"meta":
            _read_meta(meta, body[4:])
            break
    else:
        raise ValueError("no box says what the file holds")
    turns, mirror = 0, None
    for number in meta.owned.get(meta.primary, ()):
        kind, body = meta.properties[number - 1]
        if kind == b"irot":
            turns = body[0] & 3
        if kind == b"imir":
            mirror = body[0] & 1
    kind = meta.kinds.get(meta.primary, b"")
    if kind != b"grid":
        if kind in {b"iden", b"iovl", b"tmap"}:
            raise ValueError(f"a picture of the kind {kind.decode()}")
        return HeifLayout(meta.primary, turns=turns, mirror=mirror)
    return _grid(meta, data, turns, mirror)


def _grid(meta: _Meta, data: bytes, turns: int, mirror: int | None) -> HeifLayout:
    method, offset, size = meta.places[meta.primary]
    source = meta.data if method == 1 else data
    body = source[offset : offset + size]
    side = 4 if body[1] & 1 else 2
    width = int.from_bytes(body[4 : 4 + side], "big")
    height = int.from_bytes(body[4 + side : 4 + 2 * side], "big")
    tiles, columns = meta.derived[meta.primary], body[3] + 1
    if len(tiles) != columns * (body[2] + 1) or len(tiles) > _MOST_TILES:
        raise ValueError("its tiles are no grid")
    return HeifLayout(meta.primary, tiles, columns, width, height, turns, mirror)


def _read_meta(meta: _Meta, body: bytes) -> None:
    for kind, content in _boxes(body):
        match kind:
            case b"pitm":
                meta.primary = int.from_bytes(content[4 : 8 if content[0] else 6], "big")
            case b"iinf":
                at = 8 if content[0] else 6
                meta.kinds |= dict(_item_kind(entry) for name, entry in _boxes(content[at:]) if name == b"infe")
            case b"iref":
                meta.derived |= _derived(content)
            case b"iloc":
                meta.places |= _places(content)
            case b"iprp":
                parts = dict(_boxes(content))
                meta.properties = list(_boxes(parts.get(b"ipco", b"")))
                meta.owned = _owned(parts.get(b"ipma", b""))
            case b"idat":
                meta.data = content
            case _:
                pass


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 0
    while at + 8 <= len(data):
        size, head = int.from_bytes(data[at : at + 4], "big"), 8
        if size == 1:
            size, head = int.from_bytes(data[at + 8 : at + 16], "big"), 16
        size = size or len(data) - at
        if size < head:
            raise ValueError("a box without an end")
        yield data[at + 4 : at + 8], data[at + head : at + size]
        at += size


def _item_kind(entry: bytes) -> tuple[int, bytes]:
    side = 2 if entry[0] <= _WIDE else 4
    return int.from_bytes(entry[4 : 4 + side], "big"), entry[6 + side : 10 + side]


def _derived(content: bytes) -> Mapping[int, tuple[int, ...]]:
    side, found = 4 if content[0] else 2, dict[int, tuple[int, ...]]()
    for kind, body in _boxes(content[4:]):
        if kind == b"dimg":
            numbers = [int.from_bytes(body[at : at + side], "big") for at in range(side + 2, len(body), side)]
            found[int.from_bytes(body[:side], "big")] = tuple(numbers)
    return found


def _places(content: bytes) -> Mapping[int, tuple[int, int, int]]:
    """By item: where its bytes are (0 in the file, 1 in the box of data), from where, and how many; one piece each."""
    version, sizes = content[0], content[4:6]
    offset_side, length_side = sizes[0] >> 4, sizes[0] & 15
    base_side, index_side = sizes[1] >> 4, (sizes[1] & 15) if version else 0
    id_side = 2 if version < _WIDE else 4
    count, at = int.from_bytes(content[6 : 6 + id_side], "big"), 6 + id_side
    found: dict[int, tuple[int, int, int]] = {}

    def take(side: int) -> int:
        nonlocal at
        at += side
        return int.from_bytes(content[at - side : at], "big")

    for _ in range(min(count, _MOST_TILES * 2)):
        item = take(id_side)
        method = take(2) & 15 if version else 0
        take(2)
        base, pieces = take(base_side), take(2)
        for piece in range(pieces):
            take(index_side)
            offset, length = take(offset_side), take(length_side)
            if not piece:
                found[item] = (method, base + offset, length)
    return found


def _owned(content: bytes) -> dict[int, list[int]]:
    """The numbers of each item's properties, from 1."""
    if not content:
        return {}
    id_side, number_side = (4 if content[0] else 2), (2 if content[3] & 1 else 1)
    at, found = 8, dict[int, list[int]]()
    for _ in range(min(int.from_bytes(content[4:8], "big"), _MOST_TILES * 2)):
        item, count = int.from_bytes(content[at : at + id_side], "big"), content[at + id_side]
        at += id_side + 1
        mask = 0x7FFF if number_side == 2 else 0x7F  # noqa: PLR2004 - the first bit says that it is essential
        numbers = [content[at + n * number_side : at + (n + 1) * number_side] for n in range(count)]
        found[item] = [number for one in numbers if (number := int.from_bytes(one, "big") & mask)]
        at += count * number_side
    return found
