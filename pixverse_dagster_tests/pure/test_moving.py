"""The same row at another model: what moves as it is, what is left out or rounded, and what is never left out."""

from __future__ import annotations

import csv
import itertools
from importlib.resources import files
from typing import Any

import pytest

from pixverse_dagster.core.row import RawRow
from pixverse_dagster.providers import MODELS
from pixverse_dagster.tables.parse import Draft, TableRules, parse_row
from pixverse_dagster_tests.harness.drafts import C1, DUNE, HERO, KITE, PIXWITH, PLAIN, RUNWARE, V6, V45, draft, read

DROP = TableRules(on_unsupported="drop")
NEAREST = TableRules(rounding="nearest")
BOTH = TableRules(on_unsupported="drop", rounding="nearest")
IMAGES = {V45: 1, V6: 1, C1: 7, RUNWARE: 2, PIXWITH: 1}
NEED_ONE = {V45, V6, C1}


def samples() -> list[dict[str, Any]]:
    """The sample table's rows, without their label."""
    with files("pixverse_dagster").joinpath("samples/prompts.csv").open(encoding="utf-8") as file:
        return [{name: cell for name, cell in row.items() if name != "campaign"} for row in csv.DictReader(file)]


def images_of(cells: dict[str, Any]) -> int:
    """How many images a row of the sample table names."""
    return bool(cells["image"]) + bool(cells["last_image"]) + cells["references"].count('"image"')


def differences(made: Draft) -> dict[str, tuple[Any, Any]]:
    return {one.field: (one.asked, one.sent) for one in made.differences}


def problems(rules: TableRules, **cells: Any) -> list[tuple[str, str]]:
    found = read(rules, **cells)
    assert isinstance(found, list), found.request
    return [(problem.column, problem.message) for problem in found]


# The mark


def test_the_sample_rows_move_to_every_model_that_can_make_them():
    """Refused only where a model needs an image and the row has none, or takes fewer images than the row has."""
    rows = samples()
    moved = {
        (row["id"], model): parse_row(RawRow(2, {**row, "model": model}), BOTH)
        for row, model in itertools.product(rows, MODELS)
    }
    number = {row["id"]: images_of(row) for row in rows}
    refused = {place for place, found in moved.items() if isinstance(found, list)}
    assert refused == {(row, m) for row, m in moved if number[row] > IMAGES[m] or (m in NEED_ONE and not number[row])}
    assert (len(moved) - len(rows), len(moved) - len(rows) - len(refused)) == (48, 27)


def test_nothing_of_a_sample_row_is_lost_without_a_word():
    """Every cell of every row at every model is in the request, or the manifest will say what became of it."""
    for row, model in itertools.product(samples(), MODELS):
        found = parse_row(RawRow(2, {**row, "model": model}), BOTH)
        if isinstance(found, list):
            continue
        said = {one.field for one in found.differences}
        for name, cell in row.items():
            if cell and name not in {"id", "model", *said}:
                assert name in found.request.model_fields_set, (row["id"], model, name)
        assert len(found.request.images()) == images_of(row)
        assert str(row["prompt"]) in getattr(found.request, "prompt", "")


# What means the same


def test_an_image_is_the_one_reference_of_c1():
    """Without any option. The model requires a marker, so that one stands before a prompt that has none."""
    made = draft(model=C1, image=KITE, prompt="a kite climbs")
    assert made.request.body(str)["images"] == [{"type": "subject", "ref_name": "image", "image_url": KITE}]
    assert differences(made) == {
        "prompt": ("a kite climbs", "@image a kite climbs"),
        "image": (KITE, "references"),
    }
    assert made.image_column(KITE) == "image"


@pytest.mark.parametrize(
    ("prompt", "name", "sent"),
    [("@kite climbs", "kite", "@kite climbs"), ("look at @kite", "kite", "look at @kite ")],
)
def test_an_image_is_called_as_the_prompt_calls_it(prompt: str, name: str, sent: str):
    """A prompt that was written for C1 stays as it is."""
    request = draft(model=C1, image=KITE, prompt=prompt).request
    assert [item["ref_name"] for item in request.body(str)["images"]] == [name]
    assert request.body(str)["prompt"] == sent


def test_a_row_by_image_is_paid_for_as_the_same_row_by_reference():
    """The digest is that of the request as it is sent."""
    reference = {"type": "subject", "name": "image", "image": KITE}
    one, other = draft(model=C1, image=KITE), draft(model=C1, prompt="@image a kite", references=[reference])
    assert one.request == other.request


@pytest.mark.parametrize(
    ("cells", "column", "words"),
    [
        ({"prompt": "@a meets @b"}, "prompt", "@b names no reference"),
        ({"prompt": "@käfer flies"}, "prompt", "@käfer names no reference"),
        ({"prompt": ""}, "prompt", "required"),
        ({"image": "None"}, "image", "stands for no value"),
        ({"prompt": "@hero walks", "references": [HERO]}, "image", "has its images in references"),
    ],
)
def test_an_image_that_cannot_be_a_reference_is_named(cells: dict[str, Any], column: str, words: str):
    """A prompt that names more, no prompt at all, a word for nothing, two places for images."""
    found = problems(PLAIN, **{"model": C1, "image": KITE, **cells})
    assert [name for name, message in found if words in message] == [column], found


def test_the_default_image_is_also_that_of_c1():
    """A default image fills the row, as at the other models; a row with references of its own has them alone."""
    rules = TableRules(defaults={"image": KITE})
    assert draft(rules, model=C1).request.images() == (KITE,)
    assert draft(rules, model=C1, prompt="@hero walks", references=[{**HERO, "image": DUNE}]).request.images() == (
        DUNE,
    )


@pytest.mark.parametrize("model", [V45, V6, PIXWITH, C1])
@pytest.mark.parametrize("frame", [{}, {"frame": "first"}, {"frame": 0}])
def test_one_first_frame_is_an_image(model: str, frame: dict[str, Any]):
    """Runware's other spelling of the same."""
    assert draft(model=model, frames=[{"image": KITE, **frame}]).request == draft(model=model, image=KITE).request


def test_width_and_height_are_a_resolution_and_a_shape():
    """Where a model has these and not those."""
    made = draft(model=PIXWITH, width="640", height=360)
    assert made.request == draft(model=PIXWITH, resolution="360p", aspect_ratio="16:9").request
    assert differences(made) == {"width": ("640", "360p, 16:9"), "height": ("360", "360p, 16:9")}
    assert {name for name, _ in problems(PLAIN, model=PIXWITH, width=641, height=360)} == {"width", "height"}


@pytest.mark.parametrize(
    ("column", "value"),
    [("audio", "false"), ("outputs", "1"), ("motion_mode", "normal"), ("output_format", "MP4"),
     ("prompt_optimization", False)],
)  # fmt: skip
def test_what_a_model_does_anyway_may_be_asked_of_it(column: str, value: Any):
    """A cell that asks for no sound moves to a model without sound."""
    for model in MODELS:
        made = draft(model=model, image=KITE, **{column: value})
        assert column not in differences(made)


# Left out


def test_what_a_model_does_not_take_is_refused_unless_it_may_be_left_out():
    """The default names every cell; with `drop` the request is that of the row without them, and says so."""
    cells = {"model": PIXWITH, "image": KITE, "seed": 3, "negative_prompt": "fog", "aspect_ratio": "21:9"}
    found = dict(problems(PLAIN, **cells))
    assert set(found) == {"seed", "negative_prompt", "aspect_ratio"}
    assert all("on_unsupported: drop" in message for message in found.values()), found
    made = draft(DROP, **cells)
    assert made.request == draft(model=PIXWITH, image=KITE).request
    assert differences(made) == {
        "seed": ("3", None),
        "negative_prompt": ("fog", None),
        "aspect_ratio": ("21:9", "16:9"),
    }


def test_a_row_that_its_model_takes_is_the_same_with_and_without_drop():
    """The option changes no request that was valid without it."""
    for row in samples():
        plain, dropped = (parse_row(RawRow(2, row), rules) for rules in (PLAIN, BOTH))
        assert isinstance(plain, Draft)
        assert isinstance(dropped, Draft)
        assert (plain.request, plain.differences) == (dropped.request, dropped.differences)


@pytest.mark.parametrize(
    ("cells", "column"),
    [
        ({"resoluton": "720p"}, "resoluton"),
        ({"seed": -1}, "seed"),
        ({"model": PIXWITH, "aspect_ratio": "5:4"}, "aspect_ratio"),
        ({"model": V45, "image": KITE, "prompt": "x" * 2100}, "prompt"),
        ({"duration_seconds": 3}, "duration_seconds"),
        ({"resolution": "480p"}, "resolution"),
        ({"effect": "boom drop", "camera_movement": "zoom_in"}, "effect"),
    ],
)
def test_what_no_model_takes_is_no_part_of_what_may_be_left_out(cells: dict[str, Any], column: str):
    """Slips of the pen, the prompt, what is to be rounded if anything, and two that exclude each other."""
    assert [name for name, _ in problems(DROP, **cells)] == [column]


@pytest.mark.parametrize(
    ("model", "cells"),
    [
        (V6, {"image": KITE, "last_image": DUNE}),
        (PIXWITH, {"frames": [{"image": KITE}, {"image": DUNE}]}),
        (RUNWARE, {"references": [{**HERO, "name": name} for name in ("a", "b", "c")]}),
        (V45, {"image": KITE, "references": [HERO]}),
    ],
)
def test_an_image_is_never_left_out(model: str, cells: dict[str, Any]):
    """More images than the model takes are a problem of the row, and its only one."""
    ((_, message),) = problems(BOTH, model=model, prompt="@a @b @c @hero ", **cells)
    assert "images are never left out" in message


@pytest.mark.parametrize("model", MODELS)
def test_images_go_where_a_model_takes_them(model: str):
    """With `drop`: a reference is the first frame, two frames are references, in their order."""
    one = draft(BOTH, model=model, prompt="@hero walks", references=[HERO])
    assert one.request.images() == (KITE,)
    if IMAGES[model] > 1:
        cells = {"frames": [{"image": DUNE, "frame": "last"}, {"image": KITE, "frame": "first"}]}
        two = draft(BOTH, model=model, **cells)
        assert sorted(two.request.images()) == sorted([KITE, DUNE])
        assert draft(BOTH, model=model, image=KITE, last_image=DUNE).request.images() == (KITE, DUNE)


def test_a_secret_that_is_left_out_is_not_told():
    """A webhook's address may be a credential."""
    hook = "https://hooks.example.org/token"
    made = draft(DROP, model=PIXWITH, webhook_url=hook)
    assert differences(made) == {"webhook_url": ("…", None)}


# Rounded


@pytest.mark.parametrize(
    ("model", "column", "asked", "sent"),
    [
        (RUNWARE, "duration_seconds", "3", 5), (RUNWARE, "duration_seconds", 6.5, 5),
        (RUNWARE, "duration_seconds", 7, 8), (RUNWARE, "duration_seconds", 900, 8),
        (PIXWITH, "duration_seconds", "6.6", 8), (V45, "duration_seconds", 8, 5), (V6, "duration_seconds", 40, 15),
        (V6, "duration_seconds", 0.2, 1), (V6, "duration_seconds", 2.5, 2), (C1, "resolution", "480p", "540p"),
        (V6, "resolution", "450p", "360p"), (PIXWITH, "resolution", "720", "720p"),
        (V45, "resolution", "2160P", "1080p"),
    ],
)  # fmt: skip
def test_a_duration_and_a_resolution_go_to_the_nearest(model: str, column: str, asked: Any, sent: Any):
    """Of two that are equally near, to the lower, which costs less. The manifest says both."""
    cells = {"model": model, "image": KITE, column: asked}
    assert {name for name, _ in problems(PLAIN, **cells)} == {column}
    made = draft(NEAREST, **cells)
    assert getattr(made.request, column) == sent
    assert differences(made)[column] == (str(asked), str(sent))


@pytest.mark.parametrize(
    ("cells", "sent"),
    [
        ({"duration_seconds": 12, "resolution": "1080p"}, ("1080p", 5)),
        ({"duration_seconds": 8, "motion_mode": "fast", "resolution": "1080p"}, ("720p", 5)),
        ({"duration_seconds": 8, "resolution": "900p"}, ("720p", 8)),
    ],
)
def test_what_goes_not_together_goes_to_what_does(cells: dict[str, Any], sent: tuple[str, int]):
    """The resolution stays as near as it can, and the duration gives way: 1080p is 5 s long at v4.5."""
    request = draft(NEAREST, **cells).request
    assert (request.effective_resolution(), request.price_terms()["duration_seconds"]) == sent


@pytest.mark.parametrize("value", [0, -3, "long", "nan", "1e999", True, [5]])
def test_what_is_no_duration_is_not_rounded(value: Any):
    """Nothing, a negative number, a word."""
    assert [name for name, _ in problems(NEAREST, duration_seconds=value)] == ["duration_seconds"]


def test_another_mistake_of_a_rounded_row_is_named_alone():
    """What is rounded is none."""
    assert [name for name, _ in problems(NEAREST, duration_seconds=3, outputs=9)] == ["outputs"]


def test_defaults_are_left_out_and_rounded_as_cells_are():
    """A pipeline has one default, and its models have their own values."""
    rules = TableRules({"duration_seconds": 10, "aspect_ratio": "21:9"}, on_unsupported="drop", rounding="nearest")
    made = draft(rules)
    assert made.request == draft(duration_seconds=8).request
    assert differences(made)["duration_seconds"] == ("10", "8")
