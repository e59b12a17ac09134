"""A row becomes exactly the body that its provider's page asks for."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pixverse_dagster.providers import MODELS
from pixverse_dagster.tables.parse import Draft
from pixverse_dagster_tests.harness.bodies import (
    C1,
    DUNE,
    HARBOUR,
    HERO,
    KITE,
    PIXWITH,
    RUNWARE,
    V6,
    V45,
    Body,
    body,
    read,
    request,
)

# Bodies, written from the providers' pages


FULL_ROWS: list[tuple[str, Body, Body]] = [
    (
        V45,
        {
            "prompt": "a red kite climbs over the dunes",
            "image": KITE,
            "resolution": "720p",
            "negative_prompt": "blur",
            "motion_mode": "fast",
            "style": "clay",
            "seed": 123,
            "duration_seconds": 5,
        },
        {
            "prompt": "a red kite climbs over the dunes",
            "image": KITE,
            "resolution": "720p",
            "negative_prompt": "blur",
            "fast_mode": True,
            "style": "clay",
            "seed": 123,
        },
    ),
    (
        V6,
        {
            "prompt": "a red kite climbs over the dunes",
            "image": KITE,
            "resolution": "1080p",
            "duration_seconds": 15,
            "negative_prompt": "blur",
            "audio": True,
            "seed": 41,
            "cfg_scale": 0.5,
            "thinking_type": "auto",
        },
        {
            "seed": 41,
            "image": KITE,
            "prompt": "a red kite climbs over the dunes",
            "duration": 15,
            "cfg_scale": 0.5,
            "resolution": "1080p",
            "thinking_type": "auto",
            "negative_prompt": "blur",
            "generate_audio_switch": True,
        },
    ),
    (
        C1,
        {
            "prompt": "@hero walks along @harbour at dusk",
            "references": [HERO, HARBOUR],
            "resolution": "360p",
            "duration_seconds": 8,
            "aspect_ratio": "21:9",
            "audio": True,
        },
        {
            "images": [
                {"type": "subject", "ref_name": "hero", "image_url": KITE},
                {"type": "background", "ref_name": "harbour", "image_url": DUNE},
            ],
            "prompt": "@hero walks along @harbour at dusk",
            "duration": 8,
            "resolution": "360p",
            "aspect_ratio": "21:9",
            "generate_audio_switch": True,
        },
    ),
    (
        RUNWARE,
        {
            "prompt": "a lighthouse in heavy rain",
            "width": 1280,
            "height": 720,
            "duration_seconds": 5,
            "negative_prompt": "fog",
            "motion_mode": "fast",
            "style": "anime",
            "camera_movement": "zoom_in",
            "seed": 2147483647,
            "outputs": 4,
            "output_type": "URL",
            "output_format": "WEBM",
            "output_quality": 20,
            "delivery_method": "async",
            "safety_check_content": True,
            "safety_mode": "full",
            "ttl_seconds": 60,
            "include_cost": True,
            "webhook_url": "https://hooks.example.org/done?token=t0ken",
        },
        {
            "taskType": "videoInference",
            "outputType": "URL",
            "outputFormat": "WEBM",
            "outputQuality": 20,
            "webhookURL": "https://hooks.example.org/done?token=t0ken",
            "deliveryMethod": "async",
            "safety": {"checkContent": True, "mode": "full"},
            "ttl": 60,
            "includeCost": True,
            "numberResults": 4,
            "model": "pixverse:1@3",
            "positivePrompt": "a lighthouse in heavy rain",
            "negativePrompt": "fog",
            "width": 1280,
            "height": 720,
            "duration": 5,
            "seed": 2147483647,
            "providerSettings": {"pixverse": {"cameraMovement": "zoom_in", "motionMode": "fast", "style": "anime"}},
        },
    ),
    (
        RUNWARE,
        {
            "prompt": "a lighthouse in heavy rain",
            "image": KITE,
            "last_image": "aac49721-1964-481a-ae78-8a4e29b91402",
            "resolution": "1080p",
            "effect": "kiss me ai",
            "upload_endpoint": "https://bucket.s3.amazonaws.com/clip.mp4?X-Amz-Signature=abc123",
        },
        {
            "taskType": "videoInference",
            "outputType": "URL",
            "outputFormat": "MP4",
            "deliveryMethod": "async",
            "uploadEndpoint": "https://bucket.s3.amazonaws.com/clip.mp4?X-Amz-Signature=abc123",
            "includeCost": True,
            "numberResults": 1,
            "inputs": {
                "frameImages": [
                    {"image": KITE, "frame": "first"},
                    {"image": "aac49721-1964-481a-ae78-8a4e29b91402", "frame": "last"},
                ]
            },
            "model": "pixverse:1@3",
            "positivePrompt": "a lighthouse in heavy rain",
            "resolution": "1080p",
            "duration": 5,
            "providerSettings": {"pixverse": {"effect": "kiss me ai"}},
        },
    ),
    (
        PIXWITH,
        {
            "prompt": "The cat starts walking",
            "image": KITE,
            "resolution": "1080p",
            "duration_seconds": 8,
            "aspect_ratio": "9:16",
            "outputs": 4,
            "prompt_optimization": True,
        },
        {
            "prompt": "The cat starts walking",
            "image_urls": [KITE],
            "model_id": "2-27",
            "options": {
                "prompt_optimization": True,
                "num_outputs": 4,
                "resolution": "1080p",
                "aspect_ratio": "9:16",
                "duration": 8,
            },
        },
    ),
]


@pytest.mark.parametrize(("model", "cells", "expected"), FULL_ROWS)
def test_every_documented_parameter_reaches_its_place_in_the_body(model: str, cells: Body, expected: Body):
    """A row that fills every column gives the provider's own body, field by field, and nothing else."""
    draft = read(model, cells)
    assert isinstance(draft, Draft), draft
    assert draft.request.body(lambda reference: reference) == expected


def test_the_full_rows_leave_no_column_out():
    """Every column of every model stands in a full row above, so that a new one cannot miss its place unseen."""
    filled = {model: {column for m, cells, _ in FULL_ROWS if m == model for column in cells} for model in MODELS}
    filled[RUNWARE] |= {"frames", "aspect_ratio"}  # these have tests of their own below
    assert filled == {name: set(model.model_fields) for name, model in MODELS.items()}


SMALLEST_BODIES: dict[str, Body] = {
    V45: {"prompt": "a kite", "image": KITE, "resolution": "540p", "fast_mode": False},
    V6: {
        "prompt": "a kite",
        "image": KITE,
        "resolution": "720p",
        "duration": 5,
        "generate_audio_switch": False,
    },
    C1: {
        "images": [{"type": "subject", "ref_name": "hero", "image_url": KITE}],
        "prompt": "@hero walks",
        "resolution": "720p",
        "duration": 5,
        "aspect_ratio": "16:9",
        "generate_audio_switch": False,
    },
    RUNWARE: {
        "taskType": "videoInference",
        "model": "pixverse:1@3",
        "positivePrompt": "a kite",
        "duration": 5,
        "width": 1280,
        "height": 720,
        "numberResults": 1,
        "outputType": "URL",
        "outputFormat": "MP4",
        "deliveryMethod": "async",
        "includeCost": True,
    },
    PIXWITH: {
        "prompt": "a kite",
        "model_id": "2-27",
        "options": {
            "prompt_optimization": False,
            "num_outputs": 1,
            "resolution": "720p",
            "aspect_ratio": "16:9",
            "duration": 5,
        },
    },
}


@pytest.mark.parametrize("model", MODELS)
def test_an_empty_cell_is_the_documented_default_or_absent(model: str):
    """The smallest row sends what the page requires with its defaults, and no optional field."""
    assert body(model) == SMALLEST_BODIES[model]


FRAMES: list[tuple[Body, list[Body]]] = [
    ({"image": KITE}, [{"image": KITE, "frame": "first"}]),
    ({"last_image": DUNE}, [{"image": DUNE, "frame": "last"}]),
    ({"image": KITE, "last_image": DUNE}, [{"image": KITE, "frame": "first"}, {"image": DUNE, "frame": "last"}]),
    ({"frames": [{"image": KITE}]}, [{"image": KITE}]),
    ({"frames": [{"image": KITE}, {"image": DUNE}]}, [{"image": KITE}, {"image": DUNE}]),
    (
        {"frames": [{"image": DUNE, "frame": "last"}, {"image": KITE, "frame": "first"}]},
        [{"image": DUNE, "frame": "last"}, {"image": KITE, "frame": "first"}],
    ),
    (
        {"frames": [{"image": KITE, "frame": 0}, {"image": DUNE, "frame": -1}]},
        [{"image": KITE, "frame": 0}, {"image": DUNE, "frame": -1}],
    ),
    ({"frames": f'[{{"image": "{KITE}", "frame": "-1"}}]'}, [{"image": KITE, "frame": -1}]),
]


@pytest.mark.parametrize(("cells", "frames"), FRAMES)
def test_frames_are_nested_with_their_positions(cells: Body, frames: list[Body]):
    """With an image, Runware gets `inputs.frameImages` and a resolution, and neither width nor height."""
    sent = body(RUNWARE, **cells, resolution="540p")
    assert sent["inputs"] == {"frameImages": frames}
    assert sent["resolution"] == "540p"
    assert not {"width", "height"} & set(sent)


def test_images_are_encoded_where_they_stand_and_nowhere_else():
    """What stands for an image in the body is chosen by the caller; other text is left alone."""

    def sent(model: str, **cells: Any) -> str:
        found = request(model, **cells).body(lambda image: f"<{image}>")
        return json.dumps(found)

    assert f'"image_url": "<{KITE}>"' in sent(C1)
    assert f'"image_urls": ["<{KITE}>"]' in sent(PIXWITH, image=KITE)
    assert f'"image": "<{KITE}>"' in sent(V45, negative_prompt=KITE)
    assert f'"negative_prompt": "{KITE}"' in sent(V45, negative_prompt=KITE)
    webhook = sent(RUNWARE, webhook_url=KITE, upload_endpoint=DUNE, image=KITE)
    assert f'"webhookURL": "{KITE}"' in webhook
    assert f'"uploadEndpoint": "{DUNE}"' in webhook
    assert f'{{"image": "<{KITE}>", "frame": "first"}}' in webhook


@pytest.mark.parametrize(
    ("prompt", "sent"),
    [
        ("walk to @hero", "walk to @hero "),
        ("walk to @hero   ", "walk to @hero "),
        ("@hero", "@hero "),
        ("@hero walks", "@hero walks"),
        ("@hero sees @hero", "@hero sees @hero "),
    ],
)
def test_a_last_marker_gets_its_space(prompt: str, sent: str):
    """The provider wants a space after every marker; one at the prompt's end gets it, also after a reading back."""
    made = request(C1, prompt=prompt)
    again = type(made).model_validate_json(made.model_dump_json(exclude_none=True))
    assert made.body(str)["prompt"] == again.body(str)["prompt"] == sent


# Text is as good as native values


SPELLINGS: list[tuple[str, Body, Body]] = [
    (V6, {"duration_seconds": "5", "audio": "true", "cfg_scale": "0.5"}, {"audio": True, "cfg_scale": 0.5}),
    (V6, {"audio": "FALSE", "seed": "0", "cfg_scale": "1"}, {"audio": False, "seed": 0, "cfg_scale": 1.0}),
    (V6, {"audio": "1", "seed": " 7 "}, {"audio": True, "seed": 7}),
    (V45, {"seed": "41", "duration_seconds": "5"}, {"seed": 41}),
    (
        C1,
        {"references": json.dumps([HERO]), "audio": "yes", "duration_seconds": "12"},
        {"references": [HERO], "audio": True, "duration_seconds": 12},
    ),
    (
        RUNWARE,
        {"width": "640", "height": "360", "outputs": "3", "include_cost": "no", "safety_check_content": "True"},
        {"width": 640, "height": 360, "outputs": 3, "include_cost": False, "safety_check_content": True},
    ),
    (
        RUNWARE,
        {"ttl_seconds": "60", "output_quality": "95", "duration_seconds": "8", "output_format": "mov"},
        {"ttl_seconds": 60, "output_quality": 95, "duration_seconds": 8, "output_format": "MOV"},
    ),
    (RUNWARE, {"frames": json.dumps([{"image": KITE, "frame": 0}])}, {"frames": [{"image": KITE, "frame": 0}]}),
    (PIXWITH, {"outputs": "2", "prompt_optimization": "true"}, {"outputs": 2, "prompt_optimization": True}),
    (PIXWITH, {"prompt": "  a kite ", "image": " "}, {"prompt": "a kite", "image": None}),
]


@pytest.mark.parametrize(("model", "text", "native"), SPELLINGS)
def test_csv_text_is_as_good_as_native_values(model: str, text: Body, native: Body):
    """A CSV cell says "5", a JSON line 5: both are the same request."""
    assert request(model, **text) == request(model, **native)


@pytest.mark.parametrize("model", MODELS)
def test_a_request_reads_back_as_it_was_written(model: str):
    """The ledger keeps requests as JSON; what is read back sends the same body."""
    for name, cells, _ in FULL_ROWS:
        if name == model:
            made = request(model, **cells)
            again = type(made).model_validate_json(made.model_dump_json(exclude_none=True))
            assert (again, again.body(str)) == (made, made.body(str))


CAUTIONS = [
    (V45, {"style": "clay"}, "v3.5 only"),
    (V6, {"cfg_scale": 0}, "may have no effect"),
    (C1, {"aspect_ratio": "21:9"}, "21:9"),
]


@pytest.mark.parametrize(("model", "cells", "words"), CAUTIONS)
def test_what_the_sources_disagree_on_is_accepted_with_a_caution(model: str, cells: Body, words: str):
    """Allowed but doubtful: the row goes through and says why it may not do what it says."""
    assert [words in caution for caution in request(model, **cells).cautions()] == [True]
    assert request(model).cautions() == []
