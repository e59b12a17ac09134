"""Every value that a provider documents is accepted as it is written."""

from __future__ import annotations

from typing import Any

import pytest

from pixverse_dagster_tests.harness.bodies import C1, HERO, PIXWITH, RUNWARE, V6, V45, body

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
