"""A task and its outputs become the manifest of its clips, which every later release reads."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from pixverse_dagster.core.errors import StoreConflict
from pixverse_dagster.core.lifecycle import FailureKind, TaskState
from pixverse_dagster.core.manifest import ClipManifest, ClipOutput, Cost, Difference, InputImage
from pixverse_dagster.core.provenance import Origin, build_manifest
from pixverse_dagster.core.row import RawRow
from pixverse_dagster.core.task import Task, task_cost
from pixverse_dagster.storage.local import LocalStore
from pixverse_dagster.storage.reading import read_manifest
from pixverse_dagster.tables.parse import Draft, TableRules, parse_row
from pixverse_dagster_tests.harness.factories import CELLS, HIGHWAY, NAME, NOW, PIXWITH, RUNWARE, make_row, make_task

GOLDEN = Path(__file__).parents[1] / "data" / "manifest.json"
C1 = "highway/pixverse-c1-reference-to-video"
OUTPUT = ClipOutput(
    n=1, key="k/1.mp4", poster_key="k/1.jpg", sha256="ab", size_bytes=9, poster_sha256="cd", poster_size_bytes=4,
    seed=7, container="mp4", codec="h264", width=640, height=360, fps=24, duration_seconds=5, audio=False,
)  # fmt: skip
ORIGIN = Origin(ledger_id="1ed9e4", run_id="run-2", package_version="0.1.0", now=NOW + 60)


def made(task: Task, *earlier: Task, origin: Origin = ORIGIN) -> ClipManifest:
    return build_manifest(task, [*earlier, task], [OUTPUT], origin)


def task_of(model: str = HIGHWAY, images: dict[str, InputImage] | None = None, /, **cells: Any) -> Task:
    """A succeeded task of a row with these cells."""
    row = make_row("kite", model, **cells)
    return make_task(
        row=row.id, digest=row.digest, take=row.take, request=row.request, images=images or row.images,
        labels=row.labels, state=TaskState.SUCCEEDED, task_id="t1", submitted_at=NOW + 1, finished_at=NOW + 30,
    )  # fmt: skip


def test_a_manifest_says_where_the_clip_came_from():
    """Row, request, account, task, times and run, each from its own source."""
    task = task_of(campaign="spring", take=2)
    found = made(task)
    assert (found.version, found.name, found.row, found.take) == (2, NAME, "kite", 2)
    assert found.labels == {"campaign": "spring"}
    assert (found.model, found.provider, found.request_digest) == (HIGHWAY, "highway", task.digest)
    assert found.request == task.request.public()
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
    assert (found.package_version, found.code_version) == ("0.1.0", task.request.CODE_VERSION)
    assert (found.dropped, found.adjusted, found.input_clips, found.provider_data) == ((), (), (), {})


def test_a_manifest_says_who_paid_and_in_which_attempt():
    """The account, its world, the ledger, and the claim among those of the request."""
    task = make_task(account="studio", world="simulator", claim=3, attempt=2, digest_version=4, address_digest="ad")
    found = made(task)
    assert (found.account, found.world, found.ledger_id) == ("studio", "simulator", "1ed9e4")
    assert (found.claim, found.attempt, found.digest_version, found.address_digest) == (3, 2, 4, "ad")


def test_what_was_changed_on_the_way_is_told():
    """As those who changed it say."""
    dropped = Difference(field="style", asked="clay")
    shorter = Difference(field="duration_seconds", asked=7, sent=5)
    found = made(make_task(differences=(dropped, shorter)))
    assert (found.dropped, found.adjusted) == ((dropped,), (shorter,))


def test_a_row_says_what_is_not_sent_as_it_was_asked_for():
    """Defaults that its model does not take, text that was brought into its normal form; no secret of either."""
    hook = "https://hooks.example.org/x?token=canary-of-a-default"
    rules = TableRules({"motion_mode": "fast", "webhook_url": hook, "resolution": "360p"})
    cells = {"id": "a", "model": PIXWITH, "prompt": "a kite\r\nand a wall"}
    row = parse_row(RawRow(2, cells), rules)
    assert isinstance(row, Draft), row
    assert sorted(row.differences, key=lambda one: one.field) == [
        Difference(field="motion_mode", asked="fast"),
        Difference(field="prompt", asked="a kite\r\nand a wall", sent="a kite\nand a wall"),
        Difference(field="webhook_url", asked="…"),
    ]


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


def claims() -> tuple[Task, Task, Task]:
    refused = make_task(id="1", claim=1, attempt=None, state=TaskState.REFUSED, reason="full", estimate_usd=0.1)
    failed = make_task(
        id="2", claim=2, attempt=1, state=TaskState.FAILED, kind=FailureKind.LOST, estimate_usd=0.1, decision="released"
    )
    return refused, failed, make_task(id="3", claim=3, attempt=2, state=TaskState.SUCCEEDED, cost_usd=0.2)


def test_every_claim_is_told_with_what_it_cost():
    """A refused one is no attempt and cost nothing, whatever its estimate was; the last one is the clip's own."""
    refused, failed, stored = claims()
    found = made(stored, refused, failed).attempts
    assert [(one.claim, one.attempt, one.state, one.kind, one.decision) for one in found] == [
        (1, None, TaskState.REFUSED, None, None),
        (2, 1, TaskState.FAILED, FailureKind.LOST, "released"),
        (3, 2, TaskState.SUCCEEDED, None, None),
    ]
    assert [one.cost and one.cost.usd for one in found] == [0, 0.1, 0.2]


def image(source: str, digest: str = "sha256:ab", **more: Any) -> InputImage:
    return InputImage(source=source, digest=digest, **more)


UUID = "0b1f5f3e-5c0b-4a5b-9d0e-0123456789ab"
SENT = [
    (image("https://a.example/k.png"), "url", "sha256:ab", "https://a.example/k.png"),
    (image("https://a.example/k.png", "url:12"), "url", None, "https://a.example/k.png"),
    (image(UUID, f"uuid:{UUID}"), "uuid", None, UUID),
    (image("images/k.png"), "inline", "sha256:ab", "images/k.png (sha256:ab)"),
    (
        image("data:image/png;… (900 characters)"),
        "inline",
        "sha256:ab",
        "data:image/png;… (900 characters) (sha256:ab)",
    ),
    (image("k.tif", sent_as="staged", sent_digest="sha256:cd"), "staged", "sha256:cd", "k.tif"),
]


@pytest.mark.parametrize(("checked", "sent_as", "sent_digest", "text"), SENT)
def test_an_image_is_told_as_it_was_read_and_as_it_was_sent(
    checked: InputImage, sent_as: str, sent_digest: str | None, text: str
):
    """By its address, as bytes, as an id at the provider or through the store; a digest only of known bytes."""
    found = made(task_of(RUNWARE, {"k": checked}, image="k"))
    (one,) = found.images
    assert (one.role, one.name, one.source, one.digest) == ("image", "", checked.source, checked.digest)
    assert (one.sent_as, one.sent_digest) == (sent_as, sent_digest)
    assert found.request_sent["inputs"]["frameImages"] == [{"image": text, "frame": "first"}]


ROLES: list[tuple[str, dict[str, Any], list[tuple[str, str, str]]]] = [
    (RUNWARE, {"image": "a.png", "last_image": "a.png"}, [("image", "", "a.png"), ("last_image", "", "a.png")]),
    (RUNWARE, {"prompt": "a.png", "image": "a.png"}, [("image", "", "a.png")]),
    (
        RUNWARE,
        {"frames": [{"image": "a.png", "frame": 0}, {"image": "b.png"}]},
        [("frames", "0", "a.png"), ("frames", "", "b.png")],
    ),
    (
        C1,
        {
            "prompt": "@hero in @park ",
            "references": [
                {"type": "subject", "name": "hero", "image": "https://a.example/a.png"},
                {"type": "background", "name": "park", "image": "https://a.example/b.png"},
            ],
        },
        [("references", "hero", "https://a.example/a.png"), ("references", "park", "https://a.example/b.png")],
    ),
    (HIGHWAY, {"image": "https://a.example/a.png"}, [("image", "", "https://a.example/a.png")]),
    (RUNWARE, {}, []),
]


@pytest.mark.parametrize(("model", "cells", "images"), ROLES)
def test_each_image_has_the_role_that_the_row_gave_it(
    model: str, cells: dict[str, Any], images: list[tuple[str, str, str]]
):
    """The column, and the name of a reference or a frame; an image that stands twice is told twice."""
    found = made(task_of(model, **cells))
    assert [(one.role, one.name, one.source) for one in found.images] == images


@pytest.mark.parametrize("model", CELLS)
def test_every_model_has_what_was_sent_to_it(model: str):
    """The provider's own names beside the table's."""
    found = made(task_of(model))
    task = task_of(model)
    assert found.request_sent == json.loads(json.dumps(task.request.body(str)))


def test_a_manifest_keeps_no_permission():
    """Texts of a provider or a person may quote a signed URL; links of a row may be permissions."""
    signed = "see https://v.example/1.mp4?X-Amz-Signature=s3cret"
    origin = Origin("1", "r", "0", NOW, provider_data={"trace": signed})
    row = {
        "image": "https://me:s3cret@a.example/k.png?sig=s3cret",
        "webhook_url": "https://h.example/done?token=s3cret",
        "upload_endpoint": "https://u.example/put?X-Amz-Signature=s3cret",
    }
    task = task_of(RUNWARE, {row["image"]: image(row["image"])}, **row)
    other = make_task(id="0", state=TaskState.UNKNOWN, note=signed, reason=signed, decision=signed)
    text = build_manifest(task, [other, task], [OUTPUT], origin).model_dump_json()
    for seen in ("https://v.example/1.mp4", "https://a.example/k.png", "h.example/done", "u.example/put"):
        assert seen in text
    assert "s3cret" not in text


@pytest.mark.parametrize("name", ["account", "task_id", "client_reference"])
def test_whose_a_document_is(name: str):
    """A manifest is its task's own if all three are: each of them alone may be another's."""
    task = task_of()
    manifest = made(task)
    assert task.owns(manifest)
    assert not task.owns(manifest.model_copy(update={name: "another"}))
    assert not replace(task, **{name: "another"}).owns(manifest)


def test_a_manifest_reads_back_as_it_was_written():
    """Through JSON, as the store has it."""
    found = made(claims()[2], *claims()[:2])
    assert ClipManifest.model_validate_json(found.model_dump_json()) == found
    assert ClipManifest.parse(found.model_dump_json(indent=2).encode(), "here") == found


# --- releases


def golden() -> str:
    refused, failed, _ = claims()
    task = task_of(
        RUNWARE,
        {"images/kite.png": image("images/kite.png", f"sha256:{'ab' * 32}", format="png", width=640, height=360)},
        image="images/kite.png", campaign="spring", webhook_url="https://hooks.example/done?token=s3cret", take=2,
    )  # fmt: skip
    values: dict[str, Any] = {name: getattr(task, name) for name in task.__dataclass_fields__}
    values |= {
        "id": "3", "claim": 3, "attempt": 2, "account": "runware:studio", "digest": "ef" * 32, "cost_usd": 0.1495,
        "address_digest": "cd" * 32, "note": "done",
    }  # fmt: skip
    origin = Origin("1ed9e4", "run-2", "0.1.0", NOW + 60, provider_data={"trace_id": "7f"})
    return build_manifest(Task(**values), [refused, failed, Task(**values)], [OUTPUT], origin).model_dump_json(indent=2)


def test_a_manifest_is_written_as_it_always_was():
    """Byte for byte: `WRITE_PINS=1 pytest …/test_manifest.py` writes it anew, where something was added."""
    if os.environ.get("WRITE_PINS"):
        GOLDEN.write_text(golden())
    assert golden() == GOLDEN.read_text()


def test_the_manifest_of_the_first_release_is_read():
    """And says the same as it did."""
    assert ClipManifest.parse(GOLDEN.read_bytes(), "here").model_dump_json(indent=2).encode() == GOLDEN.read_bytes()


def with_new_keys(value: Any) -> Any:
    if isinstance(value, dict):
        return {"added_later": [1], **{key: with_new_keys(one) for key, one in cast("dict[str, Any]", value).items()}}
    return [with_new_keys(one) for one in cast("list[Any]", value)] if isinstance(value, list) else value


def test_keys_that_a_later_release_adds_are_ignored():
    """On every level; and a state or kind that is not known yet is read as its text."""
    document = with_new_keys(json.loads(GOLDEN.read_text()))
    for free in ("labels", "request", "request_sent", "provider_data"):
        document[free] = json.loads(GOLDEN.read_text())[free]
    assert ClipManifest.model_validate(document) == ClipManifest.model_validate_json(GOLDEN.read_text())
    document["attempts"][0] |= {"state": "mislaid", "kind": "rained_off"}
    assert ClipManifest.model_validate(document).attempts[0].state == "mislaid"


def test_known_states_and_kinds_are_themselves():
    """Not their texts only."""
    first, second, _ = ClipManifest.parse(GOLDEN.read_bytes(), "here").attempts
    assert (first.state, second.kind) == (TaskState.REFUSED, FailureKind.LOST)
    assert (type(first.state), type(second.kind)) == (TaskState, FailureKind)


@pytest.mark.parametrize(
    ("version", "words"),
    [
        (1, ["version 1", "before the first release", "nothing is read from it", "nothing is paid", "of its own"]),
        (3, ["version 3", "reads version 2", "nothing was changed", "nothing is paid", "Upgrade pixverse-dagster"]),
    ],
)
def test_a_manifest_of_another_form_is_refused_in_one_sentence(tmp_path: Path, version: int, words: list[str]):
    """However it is read: what it is, what that means for the money, and what to do."""
    text = json.dumps({**json.loads(GOLDEN.read_text()), "version": version})
    place = tmp_path / "m.json"
    place.write_text(text)
    with pytest.raises(ValueError, match=f"version {version}"):
        ClipManifest.model_validate_json(text)
    for read in (
        lambda: ClipManifest.parse(text.encode(), str(place)),
        lambda: ClipManifest.load(str(place)),
        lambda: read_manifest(LocalStore(tmp_path), "m.json"),
    ):
        with pytest.raises(StoreConflict) as refused:
            read()
        assert str(place) in str(refused.value)
        assert [word for word in words if word not in str(refused.value)] == []


@pytest.mark.parametrize(
    "text", [b"", b"{}", b"[]", b"null", b'{"version": 2}', b'{"version": "x"}', b"\xff", b"9" * 5000]
)
def test_what_is_no_manifest_is_not_taken_for_one(text: bytes):
    """It is named, and nothing is written over it."""
    with pytest.raises(StoreConflict, match=r"here is not a manifest .* nothing was overwritten"):
        ClipManifest.parse(text, "here")


def test_a_manifest_is_loaded_by_its_address(tmp_path: Path):
    """A path or a file URL, as text; percent signs in a path are its own."""
    place = tmp_path / "kite%207" / "manifest.json"
    place.parent.mkdir()
    place.write_bytes(GOLDEN.read_bytes())
    found = ClipManifest.parse(GOLDEN.read_bytes(), "here")
    for uri in (str(place), place.as_uri(), place.as_uri().replace("file://", "FILE://localhost")):
        assert ClipManifest.load(uri) == found
    with pytest.raises(FileNotFoundError):
        ClipManifest.load(str(place) + "x")
    for uri in ("ftp://a.example/manifest.json", "file://elsewhere/manifest.json", "https://a.example/manifest.json"):
        with pytest.raises(ValueError, match="give"):
            ClipManifest.load(uri)
