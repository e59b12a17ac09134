"""What must not move without somebody deciding so: digests, keys in the store, help texts, variables, the schema."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from pixverse_dagster import definitions
from pixverse_dagster.cli import cli
from pixverse_dagster.core.layout import task_folder
from pixverse_dagster.core.request import DIGEST_VERSION
from pixverse_dagster.ledger import schema
from pixverse_dagster.media.images import ImageSource
from pixverse_dagster.orchestration.environment import variables
from pixverse_dagster.providers import MODELS
from pixverse_dagster.transport.download import Downloader, DownloadRules
from pixverse_dagster_tests.harness.drafts import C1, PIXWITH, RUNWARE, V6, V45, draft, image
from pixverse_dagster_tests.harness.factories import CELLS, make_task

HELP = Path(__file__).parents[1] / "data" / "help.txt"

KITE, HERO = "https://assets.example.org/kite.png", {"type": "subject", "name": "hero", "image": "hero.png"}
SIGNED = f"{KITE}?id=17&X-Amz-Date=20260101T000000Z&X-Amz-Signature={'0' * 64}"
# Every parameter of a model that can have another value than its default, as far as they go together.
FULL: dict[str, list[dict[str, Any]]] = {
    V45: [
        {"prompt": "un e\u0301te\u0301\r\nau bord", "image": KITE, "resolution": "720p", "negative_prompt": "fog",
         "motion_mode": "fast", "style": "clay", "seed": 7},
    ],
    V6: [
        {"prompt": "un e\u0301te\u0301\r\nau bord", "image": KITE, "resolution": "1080p", "duration_seconds": 8,
         "negative_prompt": "fog", "audio": True, "seed": 7, "cfg_scale": 0.5, "thinking_type": "auto"},
    ],
    C1: [
        {"prompt": "@hero walks", "references": [HERO], "resolution": "1080p", "duration_seconds": 8,
         "aspect_ratio": "9:16", "audio": True},
    ],
    RUNWARE: [
        {"prompt": "un e\u0301te\u0301\r\nau bord", "width": 480, "height": 360, "duration_seconds": 8,
         "negative_prompt": "fog", "style": "clay", "camera_movement": "hitchcock", "seed": 7, "outputs": 2,
         "output_format": "MOV", "output_quality": 50, "safety_check_content": True, "safety_mode": "full",
         "ttl_seconds": 3600, "include_cost": False, "webhook_url": KITE},
        {"prompt": "a kite", "image": "a.png", "last_image": KITE, "resolution": "540p", "motion_mode": "fast",
         "effect": "boom drop", "upload_endpoint": KITE},
        {"prompt": "a kite", "frames": [{"image": "a.png", "frame": "last"}]},
        {"prompt": "a kite", "aspect_ratio": "1:1"},
    ],
    PIXWITH: [
        {"prompt": "un e\u0301te\u0301\r\nau bord", "image": KITE, "resolution": "1080p", "duration_seconds": 8,
         "aspect_ratio": "9:16", "outputs": 2, "prompt_optimization": True},
    ],
}  # fmt: skip
ONE_VALUE_ONLY = {V45: {"duration_seconds"}, RUNWARE: {"output_type", "delivery_method"}}
DIGESTS: dict[str, tuple[str, str]] = {
    "highway/pixverse-v4.5-i2v least": (
        "18d6ebd9e876e5ea2060aeb119dd903ce97ddd5187f4b13b1a370763651fcc23",
        "18d6ebd9e876e5ea2060aeb119dd903ce97ddd5187f4b13b1a370763651fcc23",
    ),
    "highway/pixverse-v4.5-i2v full 1": (
        "87470f27ecb9ebec1b048c5d036ac2ae04bb30c0c8e19a58949dd155fd3c7f72",
        "87470f27ecb9ebec1b048c5d036ac2ae04bb30c0c8e19a58949dd155fd3c7f72",
    ),
    "highway/pixverse-v4.5-i2v unread": (
        "fb7fb809aca1d24e0074e27ca23f2ffea17e3fb30fc43d35395459b2b57ce2bb",
        "fb7fb809aca1d24e0074e27ca23f2ffea17e3fb30fc43d35395459b2b57ce2bb",
    ),
    "highway/pixverse-v6-i2v least": (
        "f558eec492b7da015cb26446ed0f2e8ddc0584d670d54a73054ced80b832a57b",
        "f558eec492b7da015cb26446ed0f2e8ddc0584d670d54a73054ced80b832a57b",
    ),
    "highway/pixverse-v6-i2v full 1": (
        "74d01bb4ea44539dd6fbf8f1b25153447387580cbd8ff91664627bf88e85dfd9",
        "74d01bb4ea44539dd6fbf8f1b25153447387580cbd8ff91664627bf88e85dfd9",
    ),
    "highway/pixverse-v6-i2v unread": (
        "9a6a7f134f072c968e8ef3a20eb274c61232a80fed2125e4ccbfe65015f93839",
        "9a6a7f134f072c968e8ef3a20eb274c61232a80fed2125e4ccbfe65015f93839",
    ),
    "highway/pixverse-c1-reference-to-video least": (
        "95707a180c4e8644e7928881b64ec4ed7c15269efb4dd95119eed29967d33eae",
        "95707a180c4e8644e7928881b64ec4ed7c15269efb4dd95119eed29967d33eae",
    ),
    "highway/pixverse-c1-reference-to-video full 1": (
        "b55b1f03bb961d360e2396e514fcaf63366d072fbf44c8cfc40fbced793b7cfe",
        "b55b1f03bb961d360e2396e514fcaf63366d072fbf44c8cfc40fbced793b7cfe",
    ),
    "runware/pixverse-v4.5 least": (
        "4f24b4505c937bf0923f5e9ea1ad9b46cc44c4a34ab5d85cdad1d706c92689e1",
        "4f24b4505c937bf0923f5e9ea1ad9b46cc44c4a34ab5d85cdad1d706c92689e1",
    ),
    "runware/pixverse-v4.5 full 1": (
        "b595d78f29a405c5f998e0f7ca31c2fb66cffa723c527c46c09922e1533d975b",
        "b595d78f29a405c5f998e0f7ca31c2fb66cffa723c527c46c09922e1533d975b",
    ),
    "runware/pixverse-v4.5 full 2": (
        "af7895d64a059817e8d239250dabd4371d8662ee313aa3503538347587572d11",
        "af7895d64a059817e8d239250dabd4371d8662ee313aa3503538347587572d11",
    ),
    "runware/pixverse-v4.5 full 3": (
        "34af9a56b4e4336d85ea8a2c3b178f726f4eaae1bf9c35fd2b934263ec8ce990",
        "34af9a56b4e4336d85ea8a2c3b178f726f4eaae1bf9c35fd2b934263ec8ce990",
    ),
    "runware/pixverse-v4.5 full 4": (
        "328ff429db90439b5dae699012a66548f2f77a7ebed568ba8be95b5efa87f5ec",
        "328ff429db90439b5dae699012a66548f2f77a7ebed568ba8be95b5efa87f5ec",
    ),
    "runware/pixverse-v4.5 unread": (
        "b3a18ce5fc3ebc8e33beeaafab3cd862fbe76b2866040ff079486658aad17d1e",
        "b3a18ce5fc3ebc8e33beeaafab3cd862fbe76b2866040ff079486658aad17d1e",
    ),
    "pixwith/pixverse-v5 least": (
        "2f3014823faee6a18b75c98ffa7ef4b95acc8e8571dadc265fd0f8588f9ec44f",
        "2f3014823faee6a18b75c98ffa7ef4b95acc8e8571dadc265fd0f8588f9ec44f",
    ),
    "pixwith/pixverse-v5 full 1": (
        "f533af5a488f9947920427c92761eedc711954efbfaab965339fc3005817a83b",
        "f533af5a488f9947920427c92761eedc711954efbfaab965339fc3005817a83b",
    ),
    "pixwith/pixverse-v5 unread": (
        "0b0d8fbe34de546a95960cf9ead0a9aa882c56812594689a806fc056e1b72315",
        "0b0d8fbe34de546a95960cf9ead0a9aa882c56812594689a806fc056e1b72315",
    ),
}
DEFAULTS: dict[str, dict[str, Any]] = {
    "highway/pixverse-v4.5-i2v": {
        "resolution": "540p",
        "duration_seconds": 5,
        "motion_mode": "normal",
    },
    "highway/pixverse-v6-i2v": {
        "resolution": "720p",
        "duration_seconds": 5,
        "audio": False,
    },
    "highway/pixverse-c1-reference-to-video": {
        "resolution": "720p",
        "duration_seconds": 5,
        "aspect_ratio": "16:9",
        "audio": False,
    },
    "runware/pixverse-v4.5": {
        "duration_seconds": 5,
        "outputs": 1,
        "output_type": "URL",
        "output_format": "MP4",
        "delivery_method": "async",
        "include_cost": True,
    },
    "pixwith/pixverse-v5": {
        "resolution": "720p",
        "duration_seconds": 5,
        "aspect_ratio": "16:9",
        "outputs": 1,
        "prompt_optimization": False,
    },
}


def full_rows(model: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """A name for each of the requests of a model whose digests are pinned, and its cells."""
    yield "least", dict(CELLS[model])
    yield from ((f"full {number}", cells) for number, cells in enumerate(FULL[model], start=1))


def digests(model: str) -> Iterator[tuple[str, str, str]]:
    """A model's requests, and their digests with images by what they show and by where they are."""
    for name, cells in full_rows(model):
        made = draft(**{**cells, "model": model})
        row = made.complete({reference: image(reference) for reference in made.request.images()})
        yield name, row.digest, row.address_digest
    if "image" in MODELS[model].model_fields:
        downloader = Downloader(DownloadRules())
        made = draft(**{**CELLS[model], "model": model, "image": SIGNED})
        unread = ImageSource(".", downloader, read_urls=False).check(SIGNED, made.request.IMAGE_RULES)
        downloader.close()
        row = made.complete({SIGNED: unread})
        yield "unread", row.digest, row.address_digest


def test_a_request_is_paid_for_under_the_same_digest_in_every_version():
    """A digest that moves would pay for every clip again: requests of each model, with all that they may have.

    Text alone, images by their bytes, an image behind a signed URL that is not read, every optional parameter.
    """
    found = {f"{model} {name}": (one, other) for model in MODELS for name, one, other in digests(model)}
    assert found == DIGESTS
    assert DIGEST_VERSION == 1


def test_every_parameter_is_in_a_pinned_request():
    """Those that a later version adds as well."""
    for model, request in MODELS.items():
        named = {name for _, cells in full_rows(model) for name in cells}
        assert set(request.model_fields) - named == ONE_VALUE_ONLY.get(model, set())


def test_a_default_never_changes():
    """A parameter at its default is not in the digest: with another default, a digest would mean another clip."""
    assert {m: {n: f.default for n, f in r.model_fields.items() if not f.is_required() and f.default is not None}
            for m, r in MODELS.items()} == DEFAULTS  # fmt: skip


def test_a_clip_is_where_it_was():
    """The layout of the store, a row whose name needs encoding among them."""
    task = make_task(row="a b/ü", take=3)
    folder = f"films/clips/a%20b%2F%C3%BC/{task.digest[:12]}-t3"
    assert (str(task_folder(task)), task_folder(task).manifest) == (folder, f"{folder}/manifest.json")


def test_the_ledger_is_of_this_schema():
    """The newest migration."""
    assert schema.HEAD == "4f6d2b8e91c3"


def helped(group: click.Group, *path: str) -> Iterator[str]:
    """The help of every command and group."""
    yield CliRunner().invoke(cli, [*path, "--help"], prog_name="pixverse-dagster").output
    for name, command in sorted(group.commands.items()):
        if isinstance(command, click.Group):
            yield from helped(command, *path, name)
        else:
            yield CliRunner().invoke(cli, [*path, name, "--help"], prog_name="pixverse-dagster").output


def test_the_commands_explain_themselves_in_the_same_words():
    """Commands, options and defaults: `WRITE_PINS=1 pytest …/test_pins.py` writes them down anew."""
    found = "\n".join(helped(cli))
    if os.environ.get("WRITE_PINS"):
        HELP.write_text(found)
    assert found == HELP.read_text()


VARIABLES = {
    "PIXVERSE_ACCOUNTS", "PIXVERSE_BUDGET", "PIXVERSE_CHECKS", "PIXVERSE_CLIPS_DIR", "PIXVERSE_IMAGE_BASE",
    "PIXVERSE_LABELS", "PIXVERSE_LEDGER_URL", "PIXVERSE_MODE", "PIXVERSE_MODEL", "PIXVERSE_NAME", "PIXVERSE_PACE",
    "PIXVERSE_PRICES", "PIXVERSE_PROMPTS", "PIXVERSE_RETRY", "PIXVERSE_ROWS", "PIXVERSE_S3_BUCKET",
    "PIXVERSE_S3_PREFIX", "PIXVERSE_SIMULATOR_URL", "HIGHWAY_API_KEY", "PIXWITH_API_KEY", "RUNWARE_API_KEY",
    "AWS_ENDPOINT_URL_S3", "AWS_REGION",
}  # fmt: skip


def test_the_variables_have_their_names():
    """What a deployment sets."""
    assert {variable.name for variable in variables()} >= VARIABLES


ENVIRONMENTS = {
    "PIXVERSE_NAME": "trailers",
    "PIXVERSE_LABELS": "campaign, shot",
    "PIXVERSE_MODEL": "pixwith/pixverse-v5",
    "PIXVERSE_IMAGE_BASE": "https://assets.example.org/",
    "PIXVERSE_BUDGET": '{"per_day_usd": 3}',
    "PIXVERSE_PRICES": '[{"model": "pixwith/pixverse-v5", "usd": 0.5}]',
    "PIXVERSE_RETRY": '{"lost": 2}',
    "PIXVERSE_CHECKS": '{"blocking": true}',
    "PIXVERSE_PACE": '{"first_poll_seconds": 3}',
    "PIXVERSE_ACCOUNTS": '{"runware": {"max_open_tasks": 2}}',
}


def test_each_variable_reaches_what_it_is_about(monkeypatch: pytest.MonkeyPatch):
    """A deployment's settings are those of the pipeline that it gets."""
    for name, value in ENVIRONMENTS.items():
        monkeypatch.setenv(name, value)
    resources = definitions.build().resources or {}
    pipeline = resources["trailers_pipeline"].pipeline
    assert (list(pipeline.rules.labels), pipeline.rules.defaults) == (
        ["campaign", "shot"],
        {"model": "pixwith/pixverse-v5"},
    )
    assert (pipeline.image_base, pipeline.options.budget.per_day_usd) == ("https://assets.example.org/", 3)
    assert ([price.usd for price in pipeline.options.prices], pipeline.options.retry.lost) == ([0.5], 2)
    assert (pipeline.options.checks.blocking, pipeline.options.pace.first_poll_seconds) == (True, 3)
    assert (resources["trailers_runware"].max_open_tasks, resources["trailers_pixwith"].max_open_tasks) == (2, None)
