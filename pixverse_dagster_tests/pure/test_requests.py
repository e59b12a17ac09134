"""A row becomes exactly the body that its provider's page asks for, or is refused with the column and the remedy."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pixverse_dagster.core.request import Request
from pixverse_dagster.core.row import Problem, RawRow
from pixverse_dagster.providers import MODELS
from pixverse_dagster.tables.parse import Draft, TableRules, parse_row

Body = dict[str, Any]

V45, V6 = "highway/pixverse-v4.5-i2v", "highway/pixverse-v6-i2v"
C1, RUNWARE, PIXWITH = "highway/pixverse-c1-reference-to-video", "runware/pixverse-v4.5", "pixwith/pixverse-v5"
KITE = "https://assets.example.org/kite.png"
DUNE = "https://assets.example.org/dune.jpg"
HERO: Body = {"type": "subject", "name": "hero", "image": KITE}
HARBOUR: Body = {"type": "background", "name": "harbour", "image": DUNE}

# The smallest row of each model.
SMALLEST: dict[str, Body] = {
    V45: {"prompt": "a kite", "image": KITE},
    V6: {"prompt": "a kite", "image": KITE},
    C1: {"prompt": "@hero walks", "references": [HERO]},
    RUNWARE: {"prompt": "a kite"},
    PIXWITH: {"prompt": "a kite"},
}


def read(model: str, cells: Body) -> Draft | list[Problem]:
    return parse_row(RawRow(2, {"id": "r1", "model": model, **cells}), TableRules())


def request(model: str, **cells: Any) -> Request:
    """The request of the model's smallest row with these cells changed; a cell of None is empty."""
    draft = read(model, {**SMALLEST[model], **cells})
    assert isinstance(draft, Draft), [str(problem) for problem in draft]
    return draft.request


def body(model: str, **cells: Any) -> Body:
    return request(model, **cells).body(lambda reference: reference)


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


def test_images_and_urls_are_encoded_where_they_stand_and_nowhere_else():
    """What stands for an image or a secret URL in the body is chosen by the caller; other text is left alone."""

    def sent(model: str, **cells: Any) -> str:
        found = request(model, **cells).body(lambda image: f"<{image}>", lambda url: f"({url})")
        return json.dumps(found)

    assert f'"image_url": "<{KITE}>"' in sent(C1)
    assert f'"image_urls": ["<{KITE}>"]' in sent(PIXWITH, image=KITE)
    assert f'"image": "<{KITE}>"' in sent(V45, negative_prompt=KITE)
    assert f'"negative_prompt": "{KITE}"' in sent(V45, negative_prompt=KITE)
    webhook = sent(RUNWARE, webhook_url=KITE, upload_endpoint=DUNE, image=KITE)
    assert f'"webhookURL": "({KITE})"' in webhook
    assert f'"uploadEndpoint": "({DUNE})"' in webhook
    assert f'{{"image": "<{KITE}>", "frame": "first"}}' in webhook


SIDES = {
    ("360p", "16:9"): (640, 360), ("360p", "4:3"): (480, 360), ("360p", "1:1"): (360, 360),
    ("360p", "3:4"): (360, 480), ("360p", "9:16"): (360, 640),
    ("540p", "16:9"): (960, 540), ("540p", "4:3"): (720, 540), ("540p", "1:1"): (540, 540),
    ("540p", "3:4"): (540, 720), ("540p", "9:16"): (540, 960),
    ("720p", "16:9"): (1280, 720), ("720p", "4:3"): (960, 720), ("720p", "1:1"): (720, 720),
    ("720p", "3:4"): (720, 960), ("720p", "9:16"): (720, 1280),
    ("1080p", "16:9"): (1920, 1080), ("1080p", "4:3"): (1440, 1080), ("1080p", "1:1"): (1080, 1080),
    ("1080p", "3:4"): (1080, 1440), ("1080p", "9:16"): (1080, 1920),
}  # fmt: skip


@pytest.mark.parametrize(("named", "size"), SIDES.items())
def test_runware_sizes_are_the_pages_twenty_pairs(named: tuple[str, str], size: tuple[int, int]):
    """A size may be given as width and height, or as the resolution and aspect ratio that stand for it."""
    (resolution, aspect), (width, height) = named, size
    by_sides = body(RUNWARE, width=width, height=height)
    assert (by_sides["width"], by_sides["height"]) == size
    assert by_sides == body(RUNWARE, resolution=resolution, aspect_ratio=aspect)
    assert "resolution" not in by_sides


CAMERA = [
    "horizontal_left",
    "horizontal_right",
    "vertical_up",
    "vertical_down",
    "zoom_in",
    "zoom_out",
    "auto_camera",
    "crane_up",
    "quickly_zoom_in",
    "quickly_zoom_out",
    "smooth_zoom_in",
    "camera_rotation",
    "robo_arm",
    "super_dolly_out",
    "whip_pan",
    "hitchcock",
    "left_follow",
    "right_follow",
    "pan_left",
    "pan_right",
    "fix_bg",
]
EFFECTS = [
    "bikini up",
    "the tigers touch",
    "jiggle jiggle",
    "hug your love",
    "kiss me ai",
    "subject 3 fever",
    "fin-tastic mermaid",
    "lets ymca",
    "skeleton dance",
    "kungfu club",
    "boom drop",
    "vroom vroom step",
    "creepy devil smile",
    "pubg winner hit",
    "360 microwave",
    "eye zoom challenge",
    "muscle surge",
    "punch face",
    "balloon belly",
    "kiss kiss",
]
STYLES = ["anime", "3d_animation", "clay", "comic", "cyberpunk"]
RESOLUTIONS = ["360p", "540p", "720p", "1080p"]
CHOICES: list[tuple[str, str, list[Any], str]] = [
    (RUNWARE, "camera_movement", CAMERA, "providerSettings.pixverse.cameraMovement"),
    (RUNWARE, "effect", EFFECTS, "providerSettings.pixverse.effect"),
    (RUNWARE, "style", STYLES, "providerSettings.pixverse.style"),
    (RUNWARE, "motion_mode", ["normal", "fast"], "providerSettings.pixverse.motionMode"),
    (RUNWARE, "safety_mode", ["none", "fast", "full"], "safety.mode"),
    (RUNWARE, "output_format", ["MP4", "WEBM", "MOV"], "outputFormat"),
    (RUNWARE, "outputs", [1, 2, 3, 4], "numberResults"),
    (RUNWARE, "duration_seconds", [5, 8], "duration"),
    (RUNWARE, "output_quality", [20, 99], "outputQuality"),
    (RUNWARE, "seed", [0, 2147483647], "seed"),
    (RUNWARE, "prompt", ["ab", "a" * 2048], "positivePrompt"),
    (RUNWARE, "negative_prompt", ["ab", "a" * 2048], "negativePrompt"),
    (V45, "style", STYLES, "style"),
    (V45, "resolution", RESOLUTIONS, "resolution"),
    (V45, "prompt", ["a", "a" * 2048], "prompt"),
    (V45, "negative_prompt", ["a" * 2048], "negative_prompt"),
    (V6, "resolution", RESOLUTIONS, "resolution"),
    (V6, "duration_seconds", list(range(1, 16)), "duration"),
    (V6, "thinking_type", ["enabled", "disabled", "auto"], "thinking_type"),
    (V6, "cfg_scale", [0, 0.25, 1], "cfg_scale"),
    (V6, "prompt", ["a", "a" * 2500], "prompt"),
    (V6, "negative_prompt", ["a" * 2500], "negative_prompt"),
    (C1, "aspect_ratio", ["16:9", "4:3", "1:1", "3:4", "9:16", "2:3", "3:2", "21:9"], "aspect_ratio"),
    (C1, "resolution", RESOLUTIONS, "resolution"),
    (C1, "duration_seconds", list(range(1, 16)), "duration"),
    (PIXWITH, "aspect_ratio", ["16:9", "4:3", "1:1", "3:4", "9:16"], "options.aspect_ratio"),
    (PIXWITH, "resolution", RESOLUTIONS, "options.resolution"),
    (PIXWITH, "duration_seconds", [5, 8], "options.duration"),
    (PIXWITH, "outputs", [1, 2, 3, 4], "options.num_outputs"),
]


@pytest.mark.parametrize(("model", "column", "values", "place"), CHOICES, ids=[f"{c[0]}-{c[1]}" for c in CHOICES])
def test_every_documented_value_is_accepted_as_it_is_written(model: str, column: str, values: list[Any], place: str):
    """Each value of the page, first and last of a range included, stands unchanged in the body."""
    assert (len(CAMERA), len(EFFECTS)) == (21, 20)
    for value in values:
        found: Any = body(model, **{column: value})
        for step in place.split("."):
            found = found[step]
        assert found == value


def test_pixverse_v5_has_1080p_of_8_seconds():
    """The gap of v4.5 is not v5's: Pixwith's model makes 8 s at 1080p."""
    assert body(PIXWITH, resolution="1080p", duration_seconds=8)["options"]["duration"] == 8


def test_seven_references_are_accepted():
    """C1 takes up to seven images."""
    references = [{**HERO, "name": f"n{number}"} for number in range(7)]
    prompt = " ".join(f"@n{number}" for number in range(7))
    assert len(body(C1, prompt=prompt, references=references)["images"]) == 7


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


# A row that breaks a rule


LONG = 2049
REFUSED: list[tuple[str, Body, str, str]] = [
    # model, cells that break a rule, column, what a person reads
    (V45, {"prompt": None}, "prompt", "required"),
    (V45, {"prompt": "a" * LONG}, "prompt", "at most 2048"),
    (V45, {"negative_prompt": "a" * LONG}, "negative_prompt", "at most 2048"),
    (V45, {"image": None}, "image", "required"),
    (V45, {"resolution": "480p"}, "resolution", "'360p', '540p', '720p' or '1080p'"),
    (V45, {"motion_mode": "fast", "resolution": "1080p"}, "motion_mode", "use 720p"),
    (V45, {"motion_mode": "quick"}, "motion_mode", "'normal' or 'fast'"),
    (V45, {"duration_seconds": 8}, "duration_seconds", "must be 5"),
    (V45, {"style": "noir"}, "style", "'anime'"),
    (V45, {"seed": -1}, "seed", "greater than or equal to 0"),
    (V45, {"seed": 2147483648}, "seed", "2147483647"),
    (V45, {"outputs": 2}, "outputs", "belongs to runware/pixverse-v4.5, pixwith/pixverse-v5"),
    (V45, {"aspect_ratio": "16:9"}, "aspect_ratio", "has no aspect_ratio"),
    (V6, {"prompt": None}, "prompt", "required"),
    (V6, {"prompt": "a" * 2501}, "prompt", "at most 2500"),
    (V6, {"negative_prompt": "a" * 2501}, "negative_prompt", "at most 2500"),
    (V6, {"image": None}, "image", "required"),
    (V6, {"resolution": "4k"}, "resolution", "'1080p'"),
    (V6, {"duration_seconds": 0}, "duration_seconds", "greater than or equal to 1"),
    (V6, {"duration_seconds": 16}, "duration_seconds", "less than or equal to 15"),
    (V6, {"duration_seconds": 5.5}, "duration_seconds", "integer"),
    (V6, {"cfg_scale": -0.1}, "cfg_scale", "greater than or equal to 0"),
    (V6, {"cfg_scale": 1.1}, "cfg_scale", "less than or equal to 1"),
    (V6, {"thinking_type": "deep"}, "thinking_type", "'enabled', 'disabled' or 'auto'"),
    (V6, {"audio": "loud"}, "audio", "boolean"),
    (V6, {"seed": -1}, "seed", "greater than or equal to 0"),
    (V6, {"seed": 2147483648}, "seed", "2147483647"),
    (C1, {"prompt": None}, "prompt", "required"),
    (C1, {"references": None}, "references", "required"),
    (C1, {"references": []}, "references", "at least 1"),
    (C1, {"references": "hero.png"}, "references", "must be a JSON list"),
    (C1, {"references": '{"name": "hero"}'}, "references", "valid tuple"),
    (C1, {"references": [{**HERO, "name": f"n{n}"} for n in range(8)]}, "references", "at most 7"),
    (C1, {"references": [{**HERO, "name": "h" * 31}]}, "references", "0.name"),
    (C1, {"references": [{**HERO, "name": "the hero"}]}, "references", "0.name"),
    (C1, {"references": [{**HERO, "type": "villain"}]}, "references", "'subject' or 'background'"),
    (C1, {"references": [{"type": "subject", "name": "hero"}]}, "references", "0.image: Field required"),
    (C1, {"references": [{**HERO, "ref": "x"}]}, "references", "0.ref"),
    (C1, {"references": [HERO, {**HARBOUR, "name": "hero"}]}, "references", "'hero' is used twice"),
    (C1, {"references": [HERO, HARBOUR]}, "references", "'harbour' is never used; write @harbour"),
    (C1, {"prompt": "@her walks with @hero"}, "prompt", "did you mean @hero?"),
    (C1, {"prompt": "@zzz walks with @hero"}, "prompt", "the references are hero"),
    (C1, {"prompt": "a walk"}, "references", "write @hero in the prompt"),
    (C1, {"prompt": "@hero, walking"}, "prompt", "@hero must be followed by a space, not by ','"),
    (C1, {"prompt": "look: @hero."}, "prompt", "followed by a space"),
    (C1, {"prompt": "@hero\nwalks"}, "prompt", "followed by a space"),
    (C1, {"aspect_ratio": "5:4"}, "aspect_ratio", "'21:9'"),
    (C1, {"duration_seconds": 16}, "duration_seconds", "less than or equal to 15"),
    (C1, {"resolution": "2160p"}, "resolution", "'1080p'"),
    (C1, {"seed": 1}, "seed", "has no seed"),
    (C1, {"negative_prompt": "fog"}, "negative_prompt", "has no negative_prompt"),
    (RUNWARE, {"prompt": None}, "prompt", "required"),
    (RUNWARE, {"prompt": "a"}, "prompt", "at least 2"),
    (RUNWARE, {"prompt": "a" * LONG}, "prompt", "at most 2048"),
    (RUNWARE, {"negative_prompt": "a"}, "negative_prompt", "at least 2"),
    (RUNWARE, {"negative_prompt": "a" * LONG}, "negative_prompt", "at most 2048"),
    (RUNWARE, {"duration_seconds": 6}, "duration_seconds", "5 or 8"),
    (RUNWARE, {"seed": -1}, "seed", "greater than or equal to 0"),
    (RUNWARE, {"seed": 2147483648}, "seed", "2147483647"),
    (RUNWARE, {"outputs": 0}, "outputs", "greater than or equal to 1"),
    (RUNWARE, {"outputs": 5}, "outputs", "less than or equal to 4"),
    (RUNWARE, {"output_type": "base64Data"}, "output_type", "'URL'"),
    (RUNWARE, {"output_format": "AVI"}, "output_format", "'MOV'"),
    (RUNWARE, {"output_quality": 19}, "output_quality", "greater than or equal to 20"),
    (RUNWARE, {"output_quality": 100}, "output_quality", "less than or equal to 99"),
    (RUNWARE, {"delivery_method": "sync"}, "delivery_method", "'async'"),
    (RUNWARE, {"safety_mode": "strict"}, "safety_mode", "'none', 'fast' or 'full'"),
    (RUNWARE, {"ttl_seconds": 59}, "ttl_seconds", "greater than or equal to 60"),
    (RUNWARE, {"camera_movement": "zoom in"}, "camera_movement", "'zoom_in'"),
    (RUNWARE, {"effect": "kiss"}, "effect", "'kiss kiss'"),
    (RUNWARE, {"effect": "kiss kiss", "camera_movement": "zoom_in"}, "effect", "exclude each other"),
    (RUNWARE, {"style": "noir"}, "style", "'clay'"),
    (RUNWARE, {"motion_mode": "fast", "duration_seconds": 8}, "motion_mode", "5 s clips only"),
    (RUNWARE, {"motion_mode": "fast", "resolution": "1080p"}, "motion_mode", "use 720p"),
    (RUNWARE, {"motion_mode": "fast", "width": 1080, "height": 1080}, "motion_mode", "no 1080p"),
    (RUNWARE, {"resolution": "1080p", "duration_seconds": 8}, "duration_seconds", "no 1080p clip of 8 s"),
    (RUNWARE, {"width": 1440, "height": 1080, "duration_seconds": 8}, "duration_seconds", "use 5 s, or 720p"),
    (RUNWARE, {"image": KITE, "resolution": "1080p", "duration_seconds": 8}, "duration_seconds", "no 1080p clip"),
    (RUNWARE, {"width": 640}, "width", "give both, or neither"),
    (RUNWARE, {"height": 360}, "width", "give both, or neither"),
    (RUNWARE, {"width": 641, "height": 360}, "width", "641x360 is not a size of this model; the sizes are 640x360"),
    (RUNWARE, {"width": 640, "height": 360, "resolution": "360p"}, "width", "not both"),
    (RUNWARE, {"width": 640, "height": 360, "aspect_ratio": "16:9"}, "width", "not both"),
    (RUNWARE, {"width": 640, "height": 360, "image": KITE}, "width", "give resolution instead"),
    (RUNWARE, {"aspect_ratio": "16:9", "image": KITE}, "aspect_ratio", "the image's shape"),
    (RUNWARE, {"aspect_ratio": "16:9", "last_image": KITE}, "aspect_ratio", "the image's shape"),
    (RUNWARE, {"aspect_ratio": "21:9"}, "aspect_ratio", "'9:16'"),
    (RUNWARE, {"frames": [{"image": KITE}], "image": DUNE}, "frames", "not both"),
    (RUNWARE, {"frames": [{"image": KITE}], "last_image": DUNE}, "frames", "not both"),
    (RUNWARE, {"frames": []}, "frames", "at least 1"),
    (RUNWARE, {"frames": [{"image": KITE}] * 3}, "frames", "at most 2"),
    (
        RUNWARE,
        {"frames": [{"image": KITE, "frame": "first"}, {"image": DUNE, "frame": 0}]},
        "frames",
        "both images are for the first frame",
    ),
    (
        RUNWARE,
        {"frames": [{"image": KITE, "frame": -1}, {"image": DUNE, "frame": "last"}]},
        "frames",
        "both images are for the last frame",
    ),
    (RUNWARE, {"frames": [{"image": KITE, "frame": "middle"}]}, "frames", "'first', 'last', 0 or -1"),
    (RUNWARE, {"frames": [{"image": KITE, "frame": ["first"]}]}, "frames", "'first', 'last', 0 or -1"),
    (RUNWARE, {"frames": "[" * 100_000}, "frames", "must be a JSON list"),
    (RUNWARE, {"webhook_url": "hooks.example.org/done"}, "webhook_url", "valid URL"),
    (RUNWARE, {"webhook_url": "ftp://hooks.example.org/done"}, "webhook_url", "'http' or 'https'"),
    (RUNWARE, {"upload_endpoint": "s3://bucket/clip.mp4"}, "upload_endpoint", "'http' or 'https'"),
    (RUNWARE, {"upload_endpoint": "https://"}, "upload_endpoint", "valid URL"),
    (RUNWARE, {"upload_endpoint": DUNE, "outputs": 2}, "upload_endpoint", "overwrite the last"),
    (RUNWARE, {"audio": True}, "audio", "has no audio"),
    (PIXWITH, {"prompt": None}, "prompt", "required"),
    (PIXWITH, {"prompt": "a" * LONG}, "prompt", "at most 2048"),
    (PIXWITH, {"resolution": "240p"}, "resolution", "'360p'"),
    (PIXWITH, {"aspect_ratio": "21:9"}, "aspect_ratio", "'9:16'"),
    (PIXWITH, {"duration_seconds": 10}, "duration_seconds", "5 or 8"),
    (PIXWITH, {"outputs": 0}, "outputs", "greater than or equal to 1"),
    (PIXWITH, {"outputs": 5}, "outputs", "less than or equal to 4"),
    (PIXWITH, {"prompt_optimization": "perhaps"}, "prompt_optimization", "boolean"),
    (PIXWITH, {"seed": 1}, "seed", "has no seed"),
    (PIXWITH, {"motion_mode": "fast"}, "motion_mode", "has no motion_mode"),
]


@pytest.mark.parametrize(
    ("model", "cells", "column", "message"),
    REFUSED,
    ids=[f"{model.partition('/')[0]}-{'-'.join(cells)}-{n}" for n, (model, cells, *_) in enumerate(REFUSED)],
)
def test_a_row_that_breaks_a_rule_is_refused_with_column_and_remedy(model: str, cells: Body, column: str, message: str):
    """One problem, at the line and column that a person would change, in words that say what is allowed."""
    found = read(model, {**SMALLEST[model], **cells})
    assert isinstance(found, list), found.request
    assert [(problem.line, problem.row, problem.column) for problem in found] == [(2, "r1", column)] * len(found)
    assert any(message in problem.message for problem in found), [str(problem) for problem in found]
    assert len(found) <= 3


def test_a_refusal_does_not_repeat_a_secret():
    """A mistyped webhook URL may carry its token; the message about it does not."""
    found = read(RUNWARE, {"prompt": "a kite", "webhook_url": "htps://hooks.example.org/x?token=s3cret"})
    assert isinstance(found, list)
    assert "s3cret" not in str(found[0])


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
