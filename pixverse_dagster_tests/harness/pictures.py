"""Pictures that are no single colour, in the formats that PyAV writes."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import av


def picture(width: int, height: int, shift: int = 0) -> Any:
    """A frame, RGB, in which every quarter has another colour: top red and green, bottom blue and grey, with noise."""
    frame: Any = av.VideoFrame(width, height, "rgb24")
    colours = ((200, 30, 30), (30, 200, 30)), ((30, 30, 200), (128, 128, 128))
    plane = frame.planes[0]
    rows: list[bytes] = []
    for y in range(height):
        left, right = (bytes(colour) for colour in colours[2 * y >= height])
        line = bytearray(left * (width // 2) + right * (width - width // 2))
        line[(y * 37 + shift * 11) % (3 * width)] ^= 0x2A
        rows.append(bytes(line).ljust(plane.line_size, b"\0"))
    plane.update(b"".join(rows))
    return frame


def as_image(frame: Any, codec: str, pixels: str, **options: str) -> bytes:
    """The frame as a file of this kind."""
    encoder: Any = av.CodecContext.create(codec, "w")
    encoder.width, encoder.height, encoder.pix_fmt = frame.width, frame.height, pixels
    encoder.time_base, encoder.options = Fraction(1, 25), options
    converted = frame.reformat(format=pixels)
    converted.pts, converted.time_base = 0, Fraction(1, 25)
    return b"".join(bytes(packet) for packet in [*encoder.encode(converted), *encoder.encode(None)])


def plain(width: int, height: int, colour: tuple[int, ...]) -> Any:
    """A frame of one colour, RGB."""
    frame: Any = av.VideoFrame(width, height, "rgb24")
    plane = frame.planes[0]
    plane.update((bytes(colour) * width).ljust(plane.line_size, b"\0") * height)
    return frame
