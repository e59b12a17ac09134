"""Small pictures of images and frames, as JPEG."""

from __future__ import annotations

import io
from fractions import Fraction
from typing import Any, cast

from pixverse_dagster.media.kinds import image_kind


def encode_jpeg(frame: Any, max_width: int) -> bytes:
    """A decoded frame as a JPEG that is at most so wide. Raises the encoder's errors."""
    import av  # noqa: PLC0415 - 160 ms, paid only where a picture is made
    from av.video.reformatter import ColorRange  # noqa: PLC0415 - for the same reason

    width = max(2, min(max_width, frame.width) // 2 * 2)
    height = max(2, round(frame.height * width / frame.width) // 2 * 2)
    encoder = cast("Any", av.CodecContext.create("mjpeg", "w"))
    encoder.thread_type, encoder.thread_count = "NONE", 1
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = width, height, "yuvj420p", Fraction(1, 25)
    small = frame.reformat(width=width, height=height, format="yuvj420p", dst_color_range=ColorRange.JPEG)
    small.pts, small.time_base = 0, Fraction(1, 25)
    return b"".join(bytes(packet) for packet in [*encoder.encode(small), *encoder.encode(None)])


def shrink_picture(data: bytes, max_width: int) -> bytes:
    """An image as a JPEG that is at most so wide; one that is so already, unchanged. Raises the decoder's errors."""
    import av  # noqa: PLC0415 - 160 ms, paid only where a picture is made

    # No protocol is allowed: some formats refer to other files.
    with av.open(io.BytesIO(data), "r", options={"protocol_whitelist": "none", "max_pixels": "64000000"}) as media:
        frame = next(media.decode(media.streams.video[0]))
    if image_kind(data) == "jpeg" and frame.width <= max_width:
        return data
    return encode_jpeg(frame, max_width)
