"""What a provider does not take is made into what it takes, as it is shown."""

from __future__ import annotations

import io
import struct
from contextlib import suppress
from typing import Any

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixverse_dagster.core.errors import InvalidRow
from pixverse_dagster.core.request import ImageRules
from pixverse_dagster.media.convert import convert_image, make_thumbnail
from pixverse_dagster.media.decode import check_image
from pixverse_dagster_tests.harness.heif import heif
from pixverse_dagster_tests.harness.hostile import examples
from pixverse_dagster_tests.harness.images import HIGHWAY, PIXWITH, RUNWARE, png, refusal
from pixverse_dagster_tests.harness.pictures import as_image, picture, plain

RED, GREEN, BLUE, GREY, WHITE = (200, 30, 30), (30, 200, 30), (30, 30, 200), (128, 128, 128), (255, 255, 255)
UPRIGHT = [RED, GREEN, BLUE, GREY]
"""The corners of a picture as it lies: top left and right, bottom left and right."""


def corners(data: bytes) -> tuple[tuple[int, int], list[tuple[int, ...]]]:
    """Sides of an image, and which of the colours each of its quarters has."""
    with av.open(io.BytesIO(data), "r") as media:
        frame: Any = next(media.decode(video=0)).reformat(format="rgb24")
    pixels, line = bytes(frame.planes[0]), frame.planes[0].line_size
    found: list[tuple[int, ...]] = []
    for y in (frame.height // 4, 3 * frame.height // 4):
        for x in (frame.width // 4, 3 * frame.width // 4):
            seen = pixels[y * line + 3 * x : y * line + 3 * x + 3]
            found.append(
                min(
                    (RED, GREEN, BLUE, GREY, WHITE), key=lambda c: sum(abs(a - b) for a, b in zip(c, seen, strict=True))
                )
            )
    return (frame.width, frame.height), found


def distance(one: bytes, other: tuple[int, ...]) -> int:
    return sum(abs(a - b) for a, b in zip(one, other, strict=True))


TURNS = [
    (0, (400, 320), UPRIGHT),
    (1, (320, 400), [GREEN, GREY, RED, BLUE]),
    (2, (400, 320), [GREY, BLUE, GREEN, RED]),
    (3, (320, 400), [BLUE, RED, GREY, GREEN]),
]


@pytest.mark.parametrize(("turns", "sides", "shown"), TURNS, ids=range(4))
def test_a_picture_of_a_phone_becomes_a_jpeg_as_it_is_shown(
    turns: int, sides: tuple[int, int], shown: list[tuple[int, ...]]
):
    """HEIC of one piece, turned to the left so many times by a box of its own."""
    found = convert_image(heif([picture(400, 320)], turns=turns), HIGHWAY)
    assert corners(found.data) == (sides, shown)
    assert (found.facts.format, found.made.format) == ("heic", "jpeg")
    assert (found.facts.width, found.facts.height) == (found.made.width, found.made.height) == sides
    assert check_image(found.data, HIGHWAY)


def test_a_picture_of_tiles_is_put_together_and_cut():
    """As phones write every large one: no tile of it is ever taken for the whole."""
    tiles = [plain(256, 256, colour) for colour in UPRIGHT]
    found = convert_image(heif(tiles, columns=2, size=(500, 480), turns=3), PIXWITH)
    assert corners(found.data) == ((480, 500), [BLUE, RED, GREY, GREEN])
    assert (found.facts.width, found.facts.height) == (480, 500)


ORIENTATIONS = {
    1: UPRIGHT,
    2: [GREEN, RED, GREY, BLUE],
    3: [GREY, BLUE, GREEN, RED],
    4: [BLUE, GREY, RED, GREEN],
    5: [RED, BLUE, GREEN, GREY],
    6: [BLUE, RED, GREY, GREEN],
    7: [GREY, GREEN, BLUE, RED],
    8: [GREEN, GREY, RED, BLUE],
}


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_the_orientation_that_a_camera_wrote_is_applied(orientation: int):
    """All eight of Exif, in a JPEG that is converted because it is too large, and in every thumbnail."""
    exif = b"Exif\0\0MM\0*" + struct.pack(">IHHHIHH", 8, 1, 0x0112, 3, 1, orientation, 0) + bytes(4)
    data = as_image(picture(5000, 2500), "mjpeg", "yuvj420p")
    turned = data[:2] + struct.pack(">BBH", 0xFF, 0xE1, len(exif) + 2) + exif + data[2:]
    sides = (4000, 2000) if orientation < 5 else (2000, 4000)
    assert corners(convert_image(turned, RUNWARE).data) == (sides, ORIENTATIONS[orientation])
    assert corners(make_thumbnail(turned)) == (
        (320, 160) if orientation < 5 else (160, 320),
        ORIENTATIONS[orientation],
    )


def test_what_is_transparent_stands_on_white():
    """In an image of a size that nobody takes; what is opaque stays what it was."""
    frame = picture(280, 280).reformat(format="rgba")
    clear = bytearray(bytes(frame.planes[0]))
    for y in range(140):
        for x in range(140):
            clear[y * frame.planes[0].line_size + 4 * x + 3] = 0
    frame.planes[0].update(bytes(clear))
    found = convert_image(as_image(frame, "png", "rgba"), RUNWARE)
    assert corners(found.data) == ((300, 300), [WHITE, GREEN, BLUE, GREY])
    assert found.made.format == "png"


FITTING: list[tuple[str, bytes, ImageRules, tuple[int, int], str]] = [
    ("too small", png(200, 240), RUNWARE, (300, 360), "png"),
    ("too large", png(4200, 2100), RUNWARE, (4000, 2000), "png"),
    ("BMP", as_image(picture(320, 330), "bmp", "bgr24"), HIGHWAY, (320, 330), "png"),
    ("TIFF", as_image(picture(320, 330), "tiff", "rgb24"), HIGHWAY, (320, 330), "png"),
    ("too many bytes", png(600, 600, 11_000_000), PIXWITH, (600, 600), "png"),
    ("odd sides", as_image(picture(320, 330), "bmp", "bgr24"), RUNWARE, (320, 330), "png"),
]


@pytest.mark.parametrize(("data", "rules", "sides", "format_"), [c[1:] for c in FITTING], ids=[c[0] for c in FITTING])
def test_an_image_is_scaled_into_the_limits(data: bytes, rules: ImageRules, sides: tuple[int, int], format_: str):
    """Without loss where it was without; the same bytes every time; and the provider's rules hold for it."""
    found = convert_image(data, rules)
    assert (found.made.format, (found.made.width, found.made.height)) == (format_, sides)
    assert convert_image(data, rules) == found
    facts = check_image(found.data, rules)
    assert (facts.width, facts.height, len(found.data)) == (*sides, found.made.size_bytes)


def test_an_image_that_would_be_too_large_is_made_smaller_as_far_as_it_may_be():
    """First with some loss, then with smaller sides, never below what the provider takes."""
    data = as_image(noise(640, 640), "png", "rgb24")
    for most in (300_000, 100_000, 70_000):
        rules = ImageRules(frozenset({"jpeg", "png"}), 300, 600, 2.5, most, inline=True, source="a test")
        found = convert_image(data, rules)
        assert (found.made.format, found.made.size_bytes <= most) == ("jpeg", True)
        assert min(found.made.width, found.made.height) >= 300
    with refusal("cannot be made smaller than 0.003 MB"):
        convert_image(data, ImageRules(frozenset({"jpeg"}), 300, 600, 2.5, 3000, inline=True, source="a test"))


def noise(width: int, height: int) -> Any:
    frame: Any = av.VideoFrame(width, height, "rgb24")
    state, line = 1, bytearray()
    for _ in range(frame.planes[0].buffer_size):
        state = state * 1103515245 + 12345 & 0x7FFFFFFF
        line.append(state >> 16 & 255)
    frame.planes[0].update(bytes(line))
    return frame


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"<svg/>", "cannot be converted here: export it as JPEG or PNG"),
        (png(100, 100), "both sides must be at least 300 px"),
        (png(1000, 300), "the aspect must be within 1:2.5"),
        (png(300, 300)[:-12], "is cut short"),
        (b"\0\0\0\x1cftypheic\0\0\0\0mif1heic" + bytes(99), "cannot be converted"),
        (heif([picture(320, 320)])[:-900], "cannot be converted"),
        (b"", "cannot be converted here"),
    ],
    ids=["SVG", "tiny", "too long", "cut", "an empty HEIC", "a HEIC cut short", "nothing"],
)
def test_what_cannot_be_converted_is_a_problem_of_its_row(data: bytes, words: str):
    """With what to do: nothing is distorted, and nothing is made of a part."""
    with refusal(words):
        convert_image(data, HIGHWAY)


def test_whatever_the_bytes_are_a_conversion_is_good_or_refused():
    """HEIC files of one piece and of tiles, PNG with and without transparency, changed anywhere."""
    tiles = [picture(128, 128, shift) for shift in range(4)]
    whole = [heif([picture(320, 320)]), heif(tiles, columns=2, size=(250, 250)), png(280, 280)]
    whole.append(as_image(picture(290, 290), "png", "rgba"))

    @examples(60)
    @given(
        st.sampled_from(whole),
        st.lists(st.tuples(st.integers(0, 900), st.binary(min_size=1, max_size=4)), max_size=4),
        st.integers(0, 60),
    )
    def check(data: bytes, changes: list[tuple[int, bytes]], cut: int) -> None:
        changed = bytearray(data)
        for at, by in changes:
            changed[at : at + len(by)] = by
        with suppress(InvalidRow):
            found = convert_image(bytes(changed[: len(changed) - cut]), RUNWARE)
            assert check_image(found.data, RUNWARE)

    check()
