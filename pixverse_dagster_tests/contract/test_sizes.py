"""The pixels of a clip: one table for the check and the plan, another for the simulator, and both say the same."""

import math
from typing import Any

import pytest

from pixverse_dagster.core.request import Request
from pixverse_dagster.policy.plan import PlanInputs, make_plan
from pixverse_dagster.policy.sizes import PIXELS, Pixels, expected_size
from pixverse_dagster.simulator.sizes import SIZES, size_by_name, size_of_image
from pixverse_dagster_tests.harness.factories import HIGHWAY, IMAGE, PIXWITH, RUNWARE, make_row

C1, V45 = "highway/pixverse-c1-reference-to-video", "highway/pixverse-v4.5-i2v"
NAMES = ("360p", "540p", "720p", "1080p")
FIVE = ("16:9", "4:3", "1:1", "3:4", "9:16")
TOLERANCE = 2


def fits(request: Request, size: tuple[int, int]) -> bool:
    expected = expected_size(request)
    assert expected is not None
    return expected.fits(*size, TOLERANCE)


@pytest.mark.parametrize("family", ["c1", "v6"])
def test_the_simulator_renders_what_the_check_knows(family: str):
    """The simulator shares no code with the product, so that each has a table of its own; they are equal."""
    assert {key: (Pixels(*size),) for key, size in SIZES.items()} == PIXELS[family].sizes
    assert len(SIZES) == 32


@pytest.mark.parametrize(("name", "aspect"), SIZES)
def test_every_size_of_the_newest_models_passes_and_those_of_other_resolutions_do_not(name: str, aspect: str):
    """From references, where the shape is asked for, and from an image, which has it."""
    asked = make_row("r", C1, resolution=name, aspect_ratio=aspect).request
    assert fits(asked, SIZES[name, aspect])
    assert fits(make_row("r", HIGHWAY, resolution=name).request, SIZES[name, aspect])
    for other in NAMES:
        if other != name:
            assert not fits(asked, SIZES[other, aspect]), other
    across, down = SIZES[name, aspect]
    if across != down:
        assert not fits(asked, (down, across))


@pytest.mark.parametrize("model", [RUNWARE, PIXWITH])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("aspect", FIVE)
def test_where_nobody_knows_the_size_by_name_and_the_newer_sizes_pass(model: str, name: str, aspect: str):
    """And those of every other resolution fail, but for two names that mean one size."""
    across, down = map(int, aspect.split(":"))
    asked = make_row("r", model, resolution=name, aspect_ratio=aspect).request
    allowed = {size_by_name(name, (across, down)), SIZES[name, aspect], PIXELS["v5.6"].sizes[name, aspect][0]}
    for size in allowed:
        assert fits(asked, size), size
    expected = expected_size(asked)
    assert expected is not None
    assert bool(expected.note) == (len(expected.sizes) > 1)
    for other in NAMES:
        if other != name and not any(math.isclose(SIZES[other, aspect][0], size[0], rel_tol=0.02) for size in allowed):
            assert not fits(asked, SIZES[other, aspect]), other


@pytest.mark.parametrize("model", [RUNWARE, HIGHWAY, V45, PIXWITH])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("image", [(16, 9), (1000, 700), (700, 1000), (1000, 1000), (451, 300), (2500, 1000)])
def test_a_clip_from_an_image_passes_however_it_is_scaled(model: str, name: str, image: tuple[int, int]):
    """By its short side, as the simulator scales for older models, or as for the newest; a quarter of that fails."""
    asked = make_row("r", model, resolution=name, image=IMAGE).request
    for width, height in (size_by_name(name, image), size_of_image(name, image)):
        assert fits(asked, (width, height))
        assert not fits(asked, (width // 4, height // 4))
    assert not fits(make_row("r", model, resolution="720p", image=IMAGE).request, (640, 360))


def test_an_explicit_width_and_height_may_be_rescaled():
    """Runware takes 960x540, PixVerse makes 1024x576: whether it is scaled back is not public."""
    asked = make_row("r", RUNWARE, resolution=None, width=960, height=540).request
    expected = expected_size(asked)
    assert expected is not None
    assert expected.sizes == ((960, 540), (1024, 576))
    assert "runware/pixverse-v4.5" in expected.words(TOLERANCE)


class Other(Request):
    """A model of somebody else's, of which nothing is known."""

    MODEL = "other/pixverse-v9"
    resolution: str = "720p"
    aspect_ratio: str | None = None


@pytest.mark.parametrize(
    ("cells", "right", "wrong"),
    [
        ({"aspect_ratio": "5:4"}, [(900, 720), (1072, 858), (1280, 1024)], [(1280, 720), (640, 512)]),
        ({"aspect_ratio": "16:9"}, [(1280, 720)], [(640, 360)]),
        ({}, [(1280, 720), (720, 900)], [(640, 360)]),
        ({"resolution": "480p", "aspect_ratio": "16:9"}, [(853, 480)], [(640, 360)]),
        ({"resolution": "480p"}, [(853, 480), (480, 480)], [(640, 360)]),
    ],
)
def test_a_model_that_nobody_knows_is_judged_by_name_shape_and_number_of_pixels(
    cells: dict[str, Any], right: list[tuple[int, int]], wrong: list[tuple[int, int]]
):
    """A resolution or a shape that is in no table is no reason to pass everything."""
    for size in right:
        assert fits(Other(**cells), size), size
    for size in wrong:
        assert not fits(Other(**cells), size), size
    assert expected_size(Other(resolution="4k")) is None


def test_the_plan_shows_the_pixels_and_says_where_they_are_not_certain():
    """Before anything is spent."""
    rows = [
        make_row("sure", C1, resolution="540p"),
        make_row("same", RUNWARE, resolution="720p"),
        make_row("open", RUNWARE, resolution="540p"),
        make_row("image", HIGHWAY, resolution="540p"),
    ]
    lines = make_plan(rows, [], [], PlanInputs()).lines
    assert {line.row: str(line.size) for line in lines} == {
        "sure": "1024x576",
        "same": "1280x720",
        "open": "960x540 or 1024x576 (not certain)",
        "image": "540p, scaled (not certain)",
    }
