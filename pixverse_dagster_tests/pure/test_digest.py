"""One request has one digest however it is spelt, and whatever reaches the provider is in it."""

from __future__ import annotations

import json
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from pixverse_dagster.core.request import CLIP, DELIVERY, At, Request, request_digest
from pixverse_dagster.core.text import normal_text
from pixverse_dagster.providers import MODELS
from pixverse_dagster.providers.fields import ImageReference
from pixverse_dagster.providers.runware.v4_5 import RunwareV45
from pixverse_dagster.tables.parse import TableRules
from pixverse_dagster_tests.harness.drafts import (
    C1,
    DUNE,
    HERO,
    KITE,
    RUNWARE,
    SMALLEST,
    V6,
    V45,
    Cells,
    digest,
    draft,
)
from pixverse_dagster_tests.harness.hostile import examples

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
        "another upload URL",
        {"upload_endpoint": "https://a.example.org/1"},
        {"upload_endpoint": "https://b.example.org/2"},
    ),
    ("a webhook, or none", {"webhook_url": "https://u:1@hooks.example.org/x?token=1"}, {}),
    ("another lifetime of the result", {"ttl_seconds": 60}, {"ttl_seconds": 3600}),
    ("the cost in the answer", {"include_cost": False}, {}),
    ("Windows' line ends", {"prompt": "a kite\r\nclimbs"}, {"prompt": "a kite\nclimbs"}),
    ("old Macs' line ends", {"negative_prompt": "fog\rrain"}, {"negative_prompt": "fog\nrain"}),
    ("composed or decomposed letters", {"prompt": "un été"}, {"prompt": "un e\u0301te\u0301"}),
    ("a no-break space around the prompt", {"prompt": "\u00a0a kite\u2003\n"}, {"prompt": "a kite"}),
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
    ("a space or two", {"prompt": "a kite"}, {"prompt": "a  kite"}),
    ("a blank line", {"prompt": "a kite\nclimbs"}, {"prompt": "a kite\n\nclimbs"}),
    ("file format", {}, {"output_format": "MOV"}),
    ("file quality", {"output_quality": 50}, {"output_quality": 60}),
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
DELIVERY_OPTIONS = {
    "webhook_url",
    "upload_endpoint",
    "ttl_seconds",
    "include_cost",
    "output_type",
    "delivery_method",
}
TOGETHER = {"width": {"height": 360}, "height": {"width": 640}}


@pytest.mark.parametrize("model", MODELS)
def test_every_parameter_is_in_the_digest_but_delivery_options(model: str):
    """Changing any one of a model's parameters, from a list that names them all, changes the digest; or none of these.

    A new parameter has to be named here, and declares whether it can change the clip.
    """
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
    assert changed == {name: name not in DELIVERY_OPTIONS for name in changed}
    assert MODELS[model].delivery_options() == (DELIVERY_OPTIONS if model == RUNWARE else set())
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


# What a later version may add


class Grown(RunwareV45):
    """The model with what a later version adds: sent only if set, always sent, in a new group, and for delivery."""

    glow: Annotated[int | None, At("glow", CLIP)] = None
    loop: Annotated[bool, At("providerSettings.pixverse.loop", CLIP)] = False
    watermark: Annotated[str, At("branding.watermark", CLIP)] = "none"
    region: Annotated[str, At("region", DELIVERY)] = "eu"


def hashed(model: type[Request], **cells: Any) -> str:
    return request_digest(model.model_validate({"prompt": "a kite", **cells}), {}, 1)


@pytest.mark.parametrize("cells", [{}, {"seed": 7, "style": "clay"}, {"motion_mode": "normal", "outputs": 1}])
def test_a_parameter_that_is_added_later_leaves_older_digests_alone(cells: Cells):
    """Whether it is sent only if set or always with a default: an upgrade pays for nothing."""
    before = hashed(RunwareV45, **cells)
    assert Grown.model_validate({"prompt": "a kite"}).body(str)["branding"] == {"watermark": "none"}
    assert hashed(Grown, **cells) == before
    assert hashed(Grown, **cells, region="us") == before
    for name, value in (("glow", 1), ("loop", True), ("watermark", "acme")):
        assert hashed(Grown, **cells, **{name: value}) != before


def test_a_parameter_says_whether_it_can_change_the_clip():
    """Nobody forgets it: without it, there is no declaration."""
    with pytest.raises(TypeError, match="part"):
        At("prompt")  # pyright: ignore[reportCallIssue]


# Text


PARTS = st.sampled_from(["é", "e\u0301", "\r\n", "\r", "\n", " ", "\u00a0", "a", "\u1100\u1161", "\u212a", "ﬁ"])


def test_text_has_one_form():
    """Forming it again changes nothing; what is inside stays as a person wrote it."""

    @examples(300)
    @given(st.lists(PARTS | st.text(max_size=3)).map("".join))
    def check(text: str) -> None:
        once = normal_text(text)
        assert normal_text(once) == once == once.strip()
        assert "\r" not in once

    check()
    assert normal_text("\ufb01 \u00bd\u2003\u200d x") == "\ufb01 \u00bd\u2003\u200d x"


TEXT_FIELDS = {"prompt", "negative_prompt"}


@pytest.mark.parametrize("model", MODELS)
def test_the_text_that_is_sent_and_recorded_is_that_of_the_digest(model: str):
    """In every field of free text: the request itself has the normal form, and reads back as it was."""
    written, normal = "@hero un e\u0301te\u0301\r\nau bord", "@hero un été\nau bord"
    fields = TEXT_FIELDS & MODELS[model].model_fields.keys()
    made = draft(**{**SMALLEST.get(model, {}), "model": model, **dict.fromkeys(fields, written)}).request
    assert {name: getattr(made, name) for name in fields} == dict.fromkeys(fields, normal)
    assert written not in str(made.body(str))
    assert type(made).model_validate_json(made.model_dump_json(exclude_none=True)) == made


def test_addresses_are_taken_as_they_are():
    """The name of a file is bytes, and a URL is signed as it is written: neither is put into another form."""
    path, url = "caf\u0065\u0301.png", "https://hooks.example.org/e\u0301?t=1"
    made = draft(model=RUNWARE, image=path, last_image=path, webhook_url=url).request
    assert made.images() == (path, path)
    assert getattr(made, "webhook_url", None) == url
    listed = draft(model=RUNWARE, frames=[{"image": path}]).request
    assert listed.images() == (path,)
    assert draft(model=RUNWARE, frames=json.dumps([{"image": path}], ensure_ascii=False)).request.images() == (path,)


class Wordy(RunwareV45):
    """The model with text in every form in which a field may declare it."""

    plain: str = ""
    placed: Annotated[str | None, Field(max_length=9), At("placed", CLIP)] = None
    inner: Annotated[str, Field(max_length=9)] | None = None
    address: ImageReference | None = None
    picture: Annotated[str | None, At("picture", CLIP, image=True)] = None
    hook: Annotated[str | None, At("hook", DELIVERY, secret_url=True)] = None


def test_a_new_field_of_text_has_the_normal_form_unless_it_is_declared_as_an_address():
    """Nothing has to be remembered: only what is not to be touched says so."""
    text: Any = "e\u0301\r\n."
    made = Wordy(prompt="a kite", plain=text, placed=text, inner=text, address=text, picture=text, hook=text)
    assert {made.plain, made.placed, made.inner} == {"é\n."}
    assert {made.address, made.picture, made.hook} == {text}
