"""What must not move without somebody deciding so: digests, keys in the store, help texts, variables, the schema."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from pixverse_dagster import definitions
from pixverse_dagster.cli import cli
from pixverse_dagster.core.layout import task_folder
from pixverse_dagster.ledger import schema
from pixverse_dagster.orchestration.environment import variables
from pixverse_dagster_tests.harness.factories import CELLS, make_row, make_task

HELP = Path(__file__).parents[1] / "data" / "help.txt"

DIGESTS = {
    "highway/pixverse-v4.5-i2v": "672d794114dd103a1d2b7ec0bd36bd16d55db76727bdd852bdb19eecc1d793a4",
    "highway/pixverse-v6-i2v": "5048be609b1a8c46046e872a96eeffc02b9160dc74f8d926983883c2eb0a819a",
    "highway/pixverse-c1-reference-to-video": "51273c272836d600cfc5afc43d6e44e6fae15b5e522c25c91c2de71a07f8adba",
    "runware/pixverse-v4.5": "053e2d8dc496d3f8ccf768ca0e2069d42cbbdea09f290e5a39ef9fb6c6418e4d",
    "pixwith/pixverse-v5": "011c8c435a5bcb9d52b8719d6de96f14d073975851fbabeb26d4c64dfe1b9d23",
}


def test_a_request_is_paid_for_under_the_same_digest_in_every_version():
    """A digest that moves would pay for every clip again: one request of each model."""
    assert {model: make_row("kite", model).digest for model in CELLS} == DIGESTS


def test_a_clip_is_where_it_was():
    """The layout of the store, a row whose name needs encoding among them."""
    task = make_task(row="a b/ü", take=3)
    folder = f"films/clips/a%20b%2F%C3%BC/{task.digest[:12]}-t3"
    assert (str(task_folder(task)), task_folder(task).manifest) == (folder, f"{folder}/manifest.json")


def test_the_ledger_is_of_this_schema():
    """The newest migration."""
    assert schema.HEAD == "0002"


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
