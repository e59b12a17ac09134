"""Makes playable clips at almost no cost: one template per shape, and a few bytes at the end that differ per clip.

A template is rendered once, in one worker thread: one second of video is encoded and its packets are repeated, so that
15 s of 1080p take less than half a CPU second. A clip is the template's bytes, which are in memory only once, and a
tail that players skip.
"""

from __future__ import annotations

import hashlib
import math
import struct
import tempfile
from array import array
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path
from threading import Event
from typing import Any, Final, Literal

import av

Container = Literal["mp4", "webm", "mov"]

CONTENT_TYPES: Final[dict[str, str]] = {"mp4": "video/mp4", "webm": "video/webm", "mov": "video/quicktime"}
FPS: Final = 24
_SAMPLE_RATE: Final = 48_000
_BOX_ID: Final = hashlib.sha256(b"pixverse_dagster.simulator").digest()[:16]
_H264: Final = {"preset": "ultrafast", "tune": "zerolatency", "crf": "24", "g": str(FPS)}
_VP9: Final = {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0", "crf": "36", "b": "0", "g": str(FPS)}


@dataclass(frozen=True)
class Shape:
    """What a clip looks like; clips of one shape share a template."""

    width: int
    height: int
    seconds: int
    audio: bool = False
    container: Container = "mp4"


@dataclass(frozen=True)
class Template:
    """The bytes that all clips of a shape have in common, and the hash state after them."""

    shape: Shape
    data: bytes
    state: Any  # a hashlib object; its type has no public name

    def clip(self, name: str) -> Clip:
        """The clip of that name. The same name gives the same bytes, another name gives others. Takes microseconds."""
        tail = _tail(self.shape.container, hashlib.sha256(name.encode()).digest())
        state = self.state.copy()
        state.update(tail)
        return Clip(self, tail, state.hexdigest())


@dataclass(frozen=True)
class Clip:
    """One playable clip. No other clip has the same bytes."""

    template: Template
    tail: bytes
    sha256: str

    @property
    def size_bytes(self) -> int:
        return len(self.template.data) + len(self.tail)

    @property
    def content_type(self) -> str:
        return CONTENT_TYPES[self.template.shape.container]


def _tail(container: Container, payload: bytes) -> bytes:
    """An element that players skip, with the payload in it."""
    if container == "webm":
        return b"\xec" + bytes([0x80 | len(payload)]) + payload  # EBML Void
    return struct.pack(">I", 24 + len(payload)) + b"uuid" + _BOX_ID + payload


class ClosedError(Exception):
    """The simulator is shutting down, so this template is not rendered."""


class Templates:
    """Renders each shape once, one at a time, in a thread of its own. Thread-safe."""

    def __init__(self) -> None:
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="render")
        self._closing = Event()
        self._futures: dict[Shape, Future[Template]] = {}

    def start(self, shape: Shape) -> Future[Template]:
        """The template of a shape, rendered or being rendered. The first call for a shape starts it."""
        if shape not in self._futures:
            self._futures[shape] = self._worker.submit(render, shape, self._closing)
        return self._futures[shape]

    def close(self) -> None:
        """Stops the rendering, at the next frame."""
        self._closing.set()
        self._worker.shutdown(cancel_futures=True)


def render(shape: Shape, closing: Event) -> Template:
    """Encodes a clip of exactly this shape: 24 fps, a square moving over a gradient, and a 440 Hz tone on request.

    Raises:
        ClosedError: `closing` was set.
    """
    webm = shape.container == "webm"
    with tempfile.TemporaryDirectory(prefix="pixverse-simulator-") as folder:
        path = Path(folder) / f"clip.{shape.container}"
        # Without it a WebM file has a random number of its own, and no two renderings would be the same.
        options = {"fflags": "+bitexact"} if webm else {"movflags": "+faststart"}
        output: Any  # PyAV's own types are partly unknown
        with av.open(path, "w", format=shape.container, options=options) as output:
            stream = output.add_stream("libvpx-vp9" if webm else "libx264", rate=FPS, options=_VP9 if webm else _H264)
            stream.width, stream.height, stream.pix_fmt = shape.width, shape.height, "yuv420p"
            stream.codec_context.thread_count = 1
            sound = None
            if shape.audio:
                sound = output.add_stream("libopus" if webm else "aac", rate=_SAMPLE_RATE, layout="stereo")
            packets = _encode_second(stream, shape, closing)
            for second in range(shape.seconds):
                output.mux([_shifted(packet, second, stream) for packet in packets])
                if sound is not None:
                    output.mux(sound.encode(_tone(second)))
            if sound is not None:
                output.mux(sound.encode(None))
        data = path.read_bytes()
    return Template(shape, data, hashlib.sha256(data))


def _encode_second(stream: Any, shape: Shape, closing: Event) -> list[av.Packet[Any]]:
    """One closed group of pictures: a key frame, then the square as it moves across."""
    frame = av.VideoFrame(shape.width, shape.height, "yuv420p")
    for plane, colour in ((frame.planes[1], 90), (frame.planes[2], 160)):
        plane.update(bytes([colour]) * plane.buffer_size)
    luma = frame.planes[0]
    ramp = bytes(40 + (x >> 1) % 150 for x in range(luma.line_size + shape.height))
    background = b"".join(ramp[y : y + luma.line_size] for y in range(shape.height))
    side = min(shape.width, shape.height) // 4
    packets: list[av.Packet[Any]] = []
    for number in range(FPS):
        if closing.is_set():
            raise ClosedError
        left, top = (shape.width - side) * number // FPS, (shape.height - side) * number // FPS
        picture = bytearray(background)
        for y in range(top, top + side):
            at = y * luma.line_size + left
            picture[at : at + side] = b"\xeb" * side
        luma.update(bytes(picture))
        frame.pts, frame.time_base = number, Fraction(1, FPS)
        packets += stream.encode(frame)
    return packets + stream.encode(None)


def _shifted(packet: av.Packet[Any], seconds: int, stream: Any) -> av.Packet[Any]:
    copy = av.Packet(bytes(packet))
    copy.stream, copy.time_base, copy.is_keyframe = stream, packet.time_base, packet.is_keyframe
    copy.pts, copy.dts = (packet.pts or 0) + seconds * FPS, (packet.dts or 0) + seconds * FPS
    copy.duration = packet.duration
    return copy


@cache
def _wave() -> bytes:
    """One second of a 440 Hz tone, 16 bit stereo: a whole number of periods, so that seconds join without a click."""
    samples = (int(6000 * math.sin(math.tau * 440 * at / _SAMPLE_RATE)) for at in range(_SAMPLE_RATE))
    return array("h", (side for sample in samples for side in (sample, sample))).tobytes()


def _tone(second: int) -> av.AudioFrame:
    frame = av.AudioFrame("s16", "stereo", _SAMPLE_RATE)
    frame.planes[0].update(_wave())
    frame.sample_rate = _SAMPLE_RATE
    frame.pts, frame.time_base = second * _SAMPLE_RATE, Fraction(1, _SAMPLE_RATE)
    return frame
