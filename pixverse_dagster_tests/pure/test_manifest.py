"""A task and its outputs become the manifest of its clips."""

from __future__ import annotations

from typing import Any

import pytest

from pixverse_dagster.core.lifecycle import FailureKind, TaskState
from pixverse_dagster.core.manifest import ClipManifest, ClipOutput, Cost
from pixverse_dagster.core.provenance import build_manifest
from pixverse_dagster.core.task import Task, task_cost
from pixverse_dagster_tests.harness.factories import HIGHWAY, NAME, NOW, make_row, make_task

OUTPUT = ClipOutput(
    n=1, key="k/1.mp4", poster_key="k/1.jpg", sha256="ab", size_bytes=9, seed=7,
    container="mp4", codec="h264", width=640, height=360, fps=24, duration_seconds=5, audio=False,
)  # fmt: skip


def made(task: Task, *earlier: Task) -> ClipManifest:
    return build_manifest(task, [*earlier, task], [OUTPUT], "run-2", NOW + 60)


def test_a_manifest_says_where_the_clip_came_from():
    """Row, request, images, task, times and run, each from its own source."""
    row = make_row("kite", HIGHWAY, campaign="spring", take=2)
    task = make_task(
        row=row.id, digest=row.digest, take=row.take, request=row.request, images=row.images, labels=row.labels,
        state=TaskState.SUCCEEDED, task_id="t1", submitted_at=NOW + 1, finished_at=NOW + 30,
    )  # fmt: skip
    found = made(task)
    assert (found.name, found.row, found.take, found.labels) == (NAME, "kite", 2, {"campaign": "spring"})
    assert (found.model, found.provider, found.request_digest) == (HIGHWAY, "highway", row.digest)
    assert found.request == row.request.public()
    assert found.images == tuple(row.images.values())
    assert (found.task_id, found.client_reference) == ("t1", "ref")
    assert (found.submitted_at, found.finished_at, found.stored_at) == (
        "2023-11-14T22:13:21.000+00:00",
        "2023-11-14T22:13:50.000+00:00",
        "2023-11-14T22:14:20.000+00:00",
    )
    assert (found.outputs, found.outputs_asked) == ((OUTPUT,), 1)
    assert (found.dagster_run_id, found.dagster_asset_key, found.dagster_partition) == (
        "run-2",
        (NAME, "clips"),
        "kite",
    )


COSTS: list[tuple[dict[str, Any], Cost]] = [
    ({}, Cost(usd=None, source="unknown")),
    ({"estimate_usd": 0.1}, Cost(usd=0.1, source="estimate")),
    ({"estimate_usd": 0.1, "cost_usd": 0.2}, Cost(usd=0.2, source="provider")),
    ({"cost_usd": 0.2}, Cost(usd=0.2, source="provider")),
]


@pytest.mark.parametrize(("values", "cost"), COSTS)
def test_the_providers_figure_counts_before_the_estimate(values: dict[str, Any], cost: Cost):
    """And what nobody knows is not 0."""
    assert task_cost(make_task(**values)) == cost == made(make_task(**values)).cost


def test_every_attempt_is_told_with_what_it_cost():
    """A refused one cost nothing, whatever its estimate was; the last one is the clip's own."""
    refused = make_task(attempt=1, state=TaskState.REFUSED, reason="full", estimate_usd=0.1)
    failed = make_task(attempt=2, state=TaskState.FAILED, kind=FailureKind.LOST, estimate_usd=0.1, settled="released")
    stored = make_task(attempt=3, state=TaskState.SUCCEEDED, cost_usd=0.2)
    found = made(stored, refused, failed).attempts
    assert [(one.attempt, one.state, one.kind, one.settled) for one in found] == [
        (1, TaskState.REFUSED, None, None),
        (2, TaskState.FAILED, FailureKind.LOST, "released"),
        (3, TaskState.SUCCEEDED, None, None),
    ]
    assert [one.cost and one.cost.usd for one in found] == [0, 0.1, 0.2]


def test_a_manifest_keeps_no_permission():
    """Notes and reasons are a provider's text, which may quote a signed URL."""
    signed = "see https://v.example/1.mp4?X-Amz-Signature=s3cret"
    text = made(make_task(note=signed, reason=signed)).model_dump_json()
    assert "https://v.example/1.mp4" in text
    assert "s3cret" not in text


def test_a_manifest_reads_back_as_it_was_written():
    """Through JSON, as the store has it."""
    found = made(make_task())
    assert ClipManifest.model_validate_json(found.model_dump_json()) == found
