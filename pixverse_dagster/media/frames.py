"""A decoded image as it is shown: put together from its tiles, turned, scaled, and on a background."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pixverse_dagster.media.decode import decode_stream, open_image
from pixverse_dagster.media.heif import HeifLayout, heif_layout
from pixverse_dagster.media.kinds import orientation
from pixverse_dagster.media.probe import MAX_PIXELS

_BY_ORIENTATION: dict[int, Sequence[tuple[str, str]]] = {
    2: [("hflip", "")],
    3: [("hflip", ""), ("vflip", "")],
    4: [("vflip", "")],
    5: [("transpose", "0")],
    6: [("transpose", "1")],
    7: [("transpose", "3")],
    8: [("transpose", "2")],
}
"""What is done to a picture for each value that Exif has; 1 is as it lies."""
_BY_TURNS: Sequence[Sequence[tuple[str, str]]] = (
    [],
    [("transpose", "2")],
    [("hflip", ""), ("vflip", "")],
    [("transpose", "1")],
)
_SWAP_SIDES = "transpose"


@dataclass(frozen=True)
class Node:
    """A picture before it is scaled: its frames, how they are put together, and its sides as shown."""

    frames: Sequence[Any]
    columns: int
    cut: tuple[int, int]
    steps: Sequence[tuple[str, str]]
    width: int
    height: int


def as_shown(data: bytes, kind: str, decode: Callable[[bytes], Any]) -> Node:
    """The picture as a person sees it. Raises InvalidRow, or whatever a decoder makes of the bytes."""
    layout = heif_layout(data) if kind in {"heic", "avif"} else None
    if layout is None:
        steps = _BY_ORIENTATION.get(orientation(data, kind), ())
        return _node([decode(data)], 1, (0, 0), steps)
    steps = [
        *_BY_TURNS[layout.turns],
        *([] if layout.mirror is None else [("vflip" if layout.mirror else "hflip", "")]),
    ]
    if layout.width * layout.height > MAX_PIXELS:
        raise ValueError(f"{layout.width}x{layout.height} is too large to be decoded")
    return _node(_pieces(data, layout), layout.columns, (layout.width, layout.height), steps)


def is_transparent(shown: Node) -> bool:
    """Whether the kind of its pixels may let something behind it through."""
    return any(component.is_alpha for component in shown.frames[0].format.components) or _is_palette(shown.frames[0])


def scaled(shown: Node, width: int, height: int, *, background: str) -> Any:
    """The picture in these sides, RGB, what is transparent on a background."""
    from av.filter import Graph  # noqa: PLC0415 - 160 ms, paid only where an image is read

    graph: Any = Graph()
    sources = [_source(graph, frame) for frame in shown.frames]
    node = sources[0]
    if len(sources) > 1:
        rows = len(sources) // shown.columns
        node = graph.add("xstack", f"inputs={len(sources)}:grid={shown.columns}x{rows}")
        for number, source in enumerate(sources):
            source.link_to(node, 0, number)
        node = _then(graph, node, "crop", f"{shown.cut[0]}:{shown.cut[1]}:0:0")
    for name, arguments in shown.steps:
        node = _then(graph, node, name, arguments)
    node = _then(graph, node, "scale", f"{width}:{height}:flags=area+accurate_rnd+full_chroma_int+bitexact")
    if is_transparent(shown):
        node = _then(graph, node, "format", "rgba")
        behind = graph.add("color", f"c={background}:s={width}x{height}:r=1:d=1")
        over = graph.add("overlay", "format=rgb:shortest=1")
        behind.link_to(over, 0, 0)
        node.link_to(over, 0, 1)
        node = over
    node = _then(graph, node, "format", "rgb24")
    sink = graph.add("buffersink")
    node.link_to(sink)
    graph.configure()
    for frame, source in zip(shown.frames, sources, strict=True):
        frame.pts = 0
        source.push(frame)
        source.push(None)
    return sink.pull()


def _node(frames: Sequence[Any], columns: int, cut: tuple[int, int], steps: Sequence[tuple[str, str]]) -> Node:
    width, height = cut if cut[0] else (frames[0].width, frames[0].height)
    if sum(name == _SWAP_SIDES for name, _ in steps) % 2:
        width, height = height, width
    return Node(frames, columns, cut, steps, width, height)


def _pieces(data: bytes, layout: HeifLayout) -> list[Any]:
    """The frames of a HEIC or AVIF file, one for each item that is shown; its streams have the items' numbers."""
    wanted = layout.tiles or (layout.primary,)
    with open_image(data) as media:
        streams = {stream.id: stream for stream in media.streams.video}
        found: dict[int, Any] = {}
        for item in dict.fromkeys(wanted):
            media.seek(0)
            found[item] = decode_stream(media, streams[item])
    return [found[item] for item in wanted]


def _source(graph: Any, frame: Any) -> Any:
    video = f"video_size={frame.width}x{frame.height}:pix_fmt={frame.format.name}:time_base=1/1:pixel_aspect=1/1"
    ranged = f":colorspace={int(frame.colorspace)}:range={int(frame.color_range)}"
    return graph.add("buffer", video + (ranged if not frame.format.is_rgb and not _is_palette(frame) else ""))


def _is_palette(frame: Any) -> bool:
    return frame.format.name == "pal8"


def _then(graph: Any, node: Any, name: str, arguments: str) -> Any:
    following = graph.add(name, arguments or None)
    node.link_to(following)
    return following
