"""A row that breaks a rule of its model is refused with the column and the remedy."""

from __future__ import annotations

import pytest

from pixverse_dagster_tests.harness.bodies import (
    C1,
    DUNE,
    HARBOUR,
    HERO,
    KITE,
    PIXWITH,
    RUNWARE,
    SMALLEST,
    V6,
    V45,
    Body,
    read,
)

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
