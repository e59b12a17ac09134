"""One request has one digest however it is spelt, and whatever reaches the provider is in it."""

from __future__ import annotations

import pytest

from pixverse_dagster.core.request import At
from pixverse_dagster.providers import MODELS
from pixverse_dagster.tables.parse import TableRules
from pixverse_dagster_tests.harness.drafts import C1, DUNE, HERO, KITE, RUNWARE, SMALLEST, V6, V45, Cells, digest

SAME: list[tuple[str, Cells, Cells]] = [
    ("a frame by its name or in the list", {"image": KITE}, {"frames": [{"image": KITE, "frame": "first"}]}),
    (
        "both frames",
        {"image": KITE, "last_image": DUNE},
        {"frames": [{"image": KITE, "frame": "first"}, {"image": DUNE, "frame": "last"}]},
    ),
    ("text or number", {"seed": "5", "outputs": "2"}, {"seed": 5, "outputs": 2}),
    ("size by name or by sides", {"width": 720, "height": 960}, {"resolution": "720p", "aspect_ratio": "3:4"}),
    ("default said or left out", {}, {"resolution": "720p", "aspect_ratio": "16:9", "outputs": 1, "take": 1}),
    ("upper or lower case format", {"output_format": "webm"}, {"output_format": "WEBM"}),
    ("spaces around the prompt", {"prompt": " a kite "}, {"prompt": "a kite"}),
    ("another row with the same words", {"id": "r1"}, {"id": "r2"}),
    (
        "a re-signed upload URL",
        {"upload_endpoint": "https://b.s3.amazonaws.com/k?X-Amz-Signature=1&X-Amz-Expires=60"},
        {"upload_endpoint": "https://b.s3.amazonaws.com/k?X-Amz-Signature=2"},
    ),
    (
        "a new webhook token",
        {"webhook_url": "https://u:1@hooks.example.org/x?token=1"},
        {"webhook_url": "https://u:2@hooks.example.org/x?token=2"},
    ),
]


@pytest.mark.parametrize(("one", "other"), [pair[1:] for pair in SAME], ids=[pair[0] for pair in SAME])
def test_two_spellings_of_one_request_are_one_request(one: Cells, other: Cells):
    """What reaches the provider is the same, so it is paid for once."""
    assert digest(**one) == digest(**other)


def test_a_label_is_never_in_the_digest():
    """A campaign that is renamed does not pay again."""
    rules = TableRules(labels=["campaign"])
    assert digest(None, rules, campaign="spring") == digest(None, rules, campaign="summer") == digest()


def test_an_image_that_moved_is_the_same_image_and_one_that_changed_is_not():
    """The digest holds what the image shows, not where it is."""
    moved = digest({DUNE: "a kite's bytes"}, image=DUNE)
    assert digest({KITE: "a kite's bytes"}, image=KITE) == moved
    assert digest({KITE: "other bytes"}, image=KITE) != moved


DIFFERENT: list[tuple[str, Cells, Cells]] = [
    ("take", {}, {"take": 2}),
    ("first or last frame", {"image": KITE}, {"last_image": KITE}),
    ("frames exchanged", {"image": KITE, "last_image": DUNE}, {"image": DUNE, "last_image": KITE}),
    ("webhook host", {"webhook_url": "https://a.example.org/x"}, {"webhook_url": "https://b.example.org/x"}),
    ("upload path", {"upload_endpoint": "https://a.example.org/1"}, {"upload_endpoint": "https://a.example.org/2"}),
    ("model, same words", {"model": V45, "image": KITE}, {"model": V6, "image": KITE, "resolution": "540p"}),
    ("sizes of one resolution", {"width": 640, "height": 360}, {"width": 360, "height": 640}),
    (
        "reference name",
        {"model": C1, "prompt": "@hero walks", "references": [HERO]},
        {"model": C1, "prompt": "@hera walks", "references": [{**HERO, "name": "hera"}]},
    ),
    (
        "reference type",
        {"model": C1, "prompt": "@hero walks", "references": [HERO]},
        {"model": C1, "prompt": "@hero walks", "references": [{**HERO, "type": "background"}]},
    ),
]


@pytest.mark.parametrize(("one", "other"), [pair[1:] for pair in DIFFERENT], ids=[pair[0] for pair in DIFFERENT])
def test_two_requests_are_two_digests(one: Cells, other: Cells):
    """Whatever the provider would make differently is another request."""
    assert digest(**one) != digest(**other)


# A valid value of every parameter that is not its default.
OTHER_VALUES: Cells = {
    "prompt": "a dune",
    "image": DUNE,
    "last_image": DUNE,
    "resolution": "360p",
    "aspect_ratio": "9:16",
    "width": 640,
    "height": 360,
    "negative_prompt": "fog",
    "motion_mode": "fast",
    "style": "clay",
    "seed": 7,
    "audio": True,
    "cfg_scale": 0.5,
    "thinking_type": "auto",
    "references": [{**HERO, "image": DUNE}],
    "frames": [{"image": DUNE}],
    "camera_movement": "hitchcock",
    "effect": "boom drop",
    "outputs": 2,
    "output_format": "MOV",
    "output_quality": 50,
    "safety_check_content": True,
    "safety_mode": "full",
    "ttl_seconds": 3600,
    "include_cost": False,
    "webhook_url": "https://hooks.example.org/x",
    "upload_endpoint": "https://uploads.example.org/x",
    "prompt_optimization": True,
}
ONE_VALUE_ONLY = {V45: {"duration_seconds"}, RUNWARE: {"output_type", "delivery_method"}}
TOGETHER = {"width": {"height": 360}, "height": {"width": 640}}


@pytest.mark.parametrize("model", MODELS)
def test_every_parameter_that_reaches_the_provider_is_in_the_digest(model: str):
    """Changing any one of a model's parameters, from a list that names them all, changes the digest."""
    start = SMALLEST.get(model, {}) | {"model": model}
    values = OTHER_VALUES | {"duration_seconds": 8}
    if model == C1:
        values |= {"prompt": "@hero runs"}
    before = digest(**start)
    changed = {
        name: digest(**{**start, name: values[name], **TOGETHER.get(name, {})}) != before
        for name in MODELS[model].model_fields
        if name not in ONE_VALUE_ONLY.get(model, set())
    }
    assert changed == dict.fromkeys(changed, True)
    assert len(changed) >= 6


@pytest.mark.parametrize("model", MODELS)
def test_no_column_is_one_that_only_seems_to_generate(model: str):
    """Every column of a model changes its body or has exactly one value, but for those that a body builds by hand."""
    by_hand = {C1: {"references"}, V45: {"duration_seconds"}}.get(model, set[str]())
    by_hand |= {"image", "last_image", "frames", "resolution", "aspect_ratio", "width", "height"} & (
        set(MODELS[model].model_fields) if model == RUNWARE else set()
    )
    without = {n for n, f in MODELS[model].model_fields.items() if not any(isinstance(m, At) for m in f.metadata)}
    assert without == by_hand
