"""Images are decoded to their end before anything is paid, and called what they are with what to do."""

from __future__ import annotations

import io
import struct
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pixverse_dagster
from pixverse_dagster.core.errors import InvalidRow
from pixverse_dagster.core.request import ImageRules
from pixverse_dagster.media.decode import check_image
from pixverse_dagster_tests.harness.hostile import examples
from pixverse_dagster_tests.harness.images import HIGHWAY, PIXWITH, RUNWARE, png, refusal
from pixverse_dagster_tests.harness.pictures import as_image, picture

SAMPLES = {
    path.name: path.read_bytes() for path in (Path(pixverse_dagster.__file__).parent / "samples/images").iterdir()
}
JPEG = as_image(picture(640, 480), "mjpeg", "yuvj420p")
AVIF = (Path(__file__).parents[1] / "data/still.avif").read_bytes()
"""Kept and not made: the encoder gives the threads of whoever is root a priority that leaves no time to any other."""


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_a_sound_image_is_taken(name: str):
    """Photographs as cameras and editors write them."""
    facts = check_image(SAMPLES[name], RUNWARE)
    assert min(facts.width, facts.height) >= 300


@pytest.mark.parametrize("filled", [bytes(3000), b"\xff" * 3000, b"<html>" * 500], ids=["zeros", "ones", "text"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_an_image_whose_middle_is_overwritten_is_not_paid_for(name: str, share: float, filled: bytes):
    """A decoder that is not told to be strict paints grey over it and says nothing."""
    data = bytearray(SAMPLES[name])
    at = int(len(data) * share)
    data[at : at + 3000] = filled
    with refusal("file cannot be decoded to its end"):
        check_image(bytes(data), RUNWARE)


@pytest.mark.parametrize("kept", [0.02, 0.5, 0.98])
@pytest.mark.parametrize("end", [b"", b"\xff\xd9"], ids=["no end", "an end put on"])
def test_a_jpeg_with_a_part_of_its_bytes_is_not_paid_for(kept: float, end: bytes):
    """Also where whoever cut it has put an end mark behind it."""
    with refusal("Save or upload it again"):
        check_image(JPEG[: int(len(JPEG) * kept)] + end, RUNWARE)


def test_a_small_file_of_endless_sides_is_not_decoded():
    """By its header alone: it would fill the memory."""
    data = png(300, 300)
    ihdr = b"IHDR" + struct.pack(">IIBBBBB", 9000, 9000, 8, 2, 0, 0, 0)
    huge = data[:12] + ihdr + struct.pack(">I", zlib.crc32(ihdr)) + data[33:]
    with refusal("is a PNG file that cannot be decoded: perhaps it was cut short, or is beyond 64 MP"):
        check_image(huge, HIGHWAY)


def header(marker: int, data: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data


ODD = {
    "bytes behind its end": JPEG + bytes(5000),
    "a film behind its end": JPEG + b"\0\0\0\x18ftypmp42" + bytes(200) + b"\xff\xd9" + bytes(40),
    "Exif that is none": JPEG[:2] + header(0xE1, b"Exif\0\0MM\0*" + b"\xff" * 40) + JPEG[2:],
    "a profile that is none": JPEG[:2] + header(0xE2, b"ICC_PROFILE\0\1\1" + b"\xff" * 40) + JPEG[2:],
    "a comment": JPEG[:2] + header(0xFE, b"drawn \xff\xd9 by hand") + JPEG[2:],
    "a header of an editor": JPEG[:2] + header(0xED, b"Photoshop 3.0\0" + b"\x07" * 90) + JPEG[2:],
}


@pytest.mark.parametrize("what", ODD)
def test_what_stands_beside_the_picture_of_a_jpeg_is_no_reason_to_refuse_it(what: str):
    """Phones and editors write it, and every provider takes it."""
    assert check_image(ODD[what], HIGHWAY).width == 640


def animation(codec: str, format_: str, pixels: str, count: int) -> bytes:
    """A file of several pictures."""
    file = io.BytesIO()
    with av.open(file, "w", format=format_) as opened:
        out: Any = opened
        stream = out.add_stream(codec, rate=5)
        stream.width, stream.height, stream.pix_fmt = 320, 320, pixels
        for number in range(count):
            frame = picture(320, 320, shift=number).reformat(format=pixels)
            frame.pts = number
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return file.getvalue()


@pytest.mark.parametrize("rules", [HIGHWAY, RUNWARE, PIXWITH], ids=lambda rules: rules.source[:7])
def test_what_moves_is_called_animated_with_the_remedy(rules: ImageRules):
    """Also where the provider takes stills of the kind."""
    with refusal("is an animated WEBP file: use JPEG or PNG"):
        check_image(animation("libwebp_anim", "webp", "yuv420p", 3), rules)
    with refusal("is a GIF file: use JPEG or PNG"):
        check_image(animation("gif", "gif", "rgb8", 3), rules)
    with refusal("It is animated: save the one picture that is meant"):
        check_image(animation("gif", "gif", "rgb8", 3), rules)
    with refusal("or set convert_images"):
        check_image(animation("gif", "gif", "rgb8", 1), rules)


REMEDIES = [
    (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "is an SVG file: use JPEG or PNG", "export it as PNG"),
    (b"\xff\x0a" + bytes(99), "is a JXL file (JPEG XL): use JPEG or PNG", "HighwayAPI"),
    (b"\0\0\0\x1cftypheic\0\0\0\0mif1heic" + bytes(99), "is a HEIC file: use JPEG or PNG", "set convert_images"),
    (b"\0\0\0\x1cftypavif\0\0\0\0mif1avif" + bytes(99), "is an AVIF file: use JPEG or PNG", "set convert_images"),
]


@pytest.mark.parametrize(("data", "called", "remedy"), REMEDIES, ids=[case[1][:12] for case in REMEDIES])
def test_a_kind_that_no_provider_takes_is_named_with_what_to_do(data: bytes, called: str, remedy: str):
    """Told by the bytes alone."""
    with refusal(called):
        check_image(data, HIGHWAY)
    with refusal(remedy):
        check_image(data, HIGHWAY)


WHOLE = [
    *SAMPLES.values(),
    *ODD.values(),
    as_image(picture(320, 320), "png", "rgba"),
    as_image(picture(320, 320), "bmp", "bgr24"),
    as_image(picture(320, 320), "tiff", "rgb24"),
    animation("libwebp_anim", "webp", "yuv420p", 2),
    animation("libwebp", "webp", "yuv420p", 1),
    animation("libwebp", "webp", "yuva420p", 1),
    animation("gif", "gif", "rgb8", 2),
    AVIF,
    png(300, 300),
]


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A whole file, with up to four places overwritten, cut out, doubled or cut off: anywhere in it."""
    data = bytearray(draw(st.sampled_from(WHOLE)))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(data))) if draw(st.booleans()) else draw(st.integers(0, min(len(data), 400)))
        size = draw(st.sampled_from([1, 2, 4, 40, 4000]))
        match draw(st.integers(0, 3)):
            case 0:
                data[at : at + size] = draw(st.binary(min_size=1, max_size=4)) * min(size, 1000)
            case 1:
                del data[at : at + size]
            case 2:
                data[at:at] = data[max(at - size, 0) : at]
            case _:
                del data[at:]
    return bytes(data)


def test_nothing_about_an_image_is_more_than_a_problem_of_its_row():
    """Whole files of every kind that is told apart, changed anywhere: an image that may be sent, or a refusal."""

    @examples(150)
    @given(mutated(), st.sampled_from([HIGHWAY, RUNWARE, PIXWITH]))
    def check(data: bytes, rules: ImageRules) -> None:
        with suppress(InvalidRow):
            facts = check_image(data, rules)
            assert facts.format in rules.formats
            assert min(facts.width, facts.height) >= rules.min_side

    check()
