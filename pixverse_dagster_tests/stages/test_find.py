"""Searching a store: what answers for a row, what does not, and what cannot be told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from pixverse_dagster.core.layout import ClipFolder, clip_folder
from pixverse_dagster.core.lifecycle import FailureKind, TaskState
from pixverse_dagster.core.manifest import InputImage
from pixverse_dagster.core.row import Row, retake
from pixverse_dagster.core.tombstone import bury_task
from pixverse_dagster.stages.find import (
    MAX_ROWS_BY_PREFIX,
    Forgotten,
    ImageChanged,
    InStore,
    StoreAnswer,
    Unclear,
    read_folders,
    search_store,
)
from pixverse_dagster.storage.local import LocalStore
from pixverse_dagster_tests.harness.factories import HIGHWAY, IMAGE, NAME, NOW, make_row, make_rows
from pixverse_dagster_tests.harness.manifests import manifest_for, put_document, put_manifest, task_of

WORLDS: Any = {"runware": "simulator", "highway": "simulator", "pixwith": "simulator"}
KITE = make_row("kite")


class Counting(LocalStore):
    """A store that counts what is asked of it."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.opened: list[str] = []
        self.listed: list[str] = []

    def open(self, key: str) -> BinaryIO:
        self.opened.append(key)
        return super().open(key)

    def keys(self, prefix: str) -> Iterator[str]:
        self.listed.append(prefix)
        return super().keys(prefix)


@pytest.fixture
def store(tmp_path: Path) -> Counting:
    return Counting(tmp_path / "store")


def search(store: LocalStore, *rows: Row) -> dict[str, StoreAnswer]:
    return search_store(store, NAME, rows, WORLDS)


def folder_of(row: Row, attempt: int = 1) -> ClipFolder:
    return clip_folder(NAME, row.id, row.digest, row.take, attempt)


def test_what_is_there_answers_and_what_is_not_does_not(store: Counting):
    """One listing and one read for the row; other rows, other takes and other words are other requests."""
    put_manifest(store, manifest_for(KITE))
    answers = search(store, KITE, retake(make_row("boat"), 1))
    assert list(answers) == ["kite"]
    answer = answers["kite"]
    assert isinstance(answer, InStore)
    assert (answer.newest.manifest.task_id, answer.newest.folder) == ("task-kite-1-1", folder_of(KITE))
    assert (len(store.opened), len(store.listed)) == (1, 3)
    assert search(store, retake(KITE, 2)) == {}
    assert search(store, make_row("kite", prompt="another")) == {}
    assert len(store.opened) == 1


def test_a_copy_under_another_rows_name_is_not_that_rows(store: Counting):
    """Two rows with the same words are two requests."""
    put_manifest(store, manifest_for(make_row("boat")))
    assert search(store, KITE) == {}


@pytest.mark.parametrize("world", ["live", None])
def test_the_other_world_does_not_count(store: Counting, world: str | None):
    """Nor is a row looked for whose provider nobody here can reach: it is not paid for anyway."""
    put_manifest(store, manifest_for(KITE))
    assert search_store(store, NAME, [KITE], {"runware": world} if world else {}) == {}  # type: ignore[dict-item]


def test_many_rows_are_found_in_one_listing(store: Counting):
    """And each matching folder is read once, however many others there are."""
    rows = make_rows(MAX_ROWS_BY_PREFIX + 1)
    for row in rows[:3]:
        put_manifest(store, manifest_for(row))
        put_manifest(store, manifest_for(retake(row, 2)))
    assert list(search(store, *rows)) == ["r000", "r001", "r002"]
    assert (store.listed, len(store.opened)) == ([f"{NAME}/names/", f"{NAME}/clips/"], 3)


def test_the_newest_attempt_wins(store: Counting):
    """Every attempt that is there comes along, the newest last."""
    failed = task_of(KITE, state=TaskState.FAILED, kind=FailureKind.PROVIDER_ERROR)
    put_manifest(store, manifest_for(KITE, failed, claim=2, attempt=2))
    put_manifest(store, manifest_for(KITE))
    answer = search(store, KITE)["kite"]
    assert isinstance(answer, InStore)
    assert [clip.manifest.attempt for clip in answer.clips] == [1, 2]
    assert answer.newest.folder == folder_of(KITE, 2)


def tombstone(row: Row, **values: Any) -> bytes:
    known = bury_task(task_of(row), "another-ledger", "a person, today", NOW)
    return known.model_copy(update=values).model_dump_json().encode()


def test_a_forgotten_request_is_told_as_such(store: Counting):
    """Also while its files are still being deleted; one that was forgotten in the other world is no answer."""
    put_document(store, folder_of(KITE).tombstone, tombstone(KITE))
    put_manifest(store, manifest_for(KITE))
    answer = search(store, KITE)["kite"]
    assert isinstance(answer, Forgotten)
    assert (answer.tombstone.cost.usd, answer.folder) == (0.1, folder_of(KITE))
    boat = make_row("boat")
    put_document(store, folder_of(boat).tombstone, tombstone(boat, world="live"))
    assert search(store, boat) == {}


def broken(row: Row) -> list[tuple[str, Any]]:
    good = json.loads(manifest_for(row).model_dump_json())
    return [
        ("not a manifest", b"<html>"),
        ("not a manifest", {}),
        ("version 3", good | {"version": 3}),
        ("before the first release", good | {"version": 1}),
        ("'other'", good | {"row": "other"}),
        ("'posters'", good | {"name": "posters"}),
        ("take 7", good | {"take": 7}),
        ("digest 000000000000", good | {"request_digest": "0" * 64}),
    ]


@pytest.mark.parametrize("n", range(8))
def test_what_cannot_be_read_stops_its_own_row_alone(store: Counting, n: int):
    """Damaged, of a later or an earlier form, or of another row: nobody knows whether the row was paid for."""
    words, document = broken(KITE)[n]
    put_document(store, folder_of(KITE).manifest, document)
    boat = make_row("boat")
    put_manifest(store, manifest_for(boat))
    answers = search(store, KITE, boat)
    problem = answers["kite"]
    assert isinstance(problem, Unclear)
    assert words in problem.problem
    assert isinstance(answers["boat"], InStore)


def test_a_manifest_that_only_shares_its_folders_twelve_digits_is_another_request(store: Counting):
    """Its digest is compared as a whole."""
    other = manifest_for(KITE, digest=KITE.digest[:12] + "0" * 52)
    put_manifest(store, other)
    assert search(store, KITE) == {}


def test_a_broken_tombstone_is_no_free_row(store: Counting):
    put_document(store, folder_of(KITE).tombstone, b"{}")
    assert isinstance(search(store, KITE)["kite"], Unclear)


def test_a_broken_attempt_beside_a_good_one_changes_nothing(store: Counting):
    put_document(store, folder_of(KITE, 2).manifest, b"<html>")
    put_manifest(store, manifest_for(KITE))
    assert isinstance(search(store, KITE)["kite"], InStore)


def test_a_folder_that_cannot_be_listed_is_not_an_empty_one(store: Counting):
    """Nothing is known of any row then."""

    class Refuses(LocalStore):
        def keys(self, prefix: str) -> Iterator[str]:
            raise PermissionError(prefix)

    with pytest.raises(PermissionError):
        search(Refuses(store.uri("")), KITE)


def with_image(digest: str, row_id: str = "kite", **cells: Any) -> Row:
    """A row whose image, behind the same address, has these bytes."""
    row = make_row(row_id, HIGHWAY, **cells)
    address = {IMAGE: InputImage(source=IMAGE, digest=f"sha256:{digest}", address=f"url:{IMAGE}")}
    return retake(Row(row.id, row.line, row.take, row.labels, row.request, address, row.digest), row.take)


def test_the_same_address_with_other_bytes_is_an_image_that_changed(store: Counting):
    """It is answered with the row as it was paid for. Other words are another request; and so is what is meant."""
    paid, now = with_image("a" * 64), with_image("b" * 64)
    put_manifest(store, manifest_for(paid))
    answer = search(store, now)["kite"]
    assert isinstance(answer, ImageChanged)
    assert answer.row.digest == paid.digest
    assert answer.row.images[IMAGE].newer == f"sha256:{'b' * 64}"
    assert search(store, with_image("b" * 64, prompt="another")) == {}
    assert search(store, retake(now, 2)) == {}
    assert search_store(store, NAME, [now], WORLDS, pay_for_changed_images=True) == {}
    assert isinstance(search(store, paid)["kite"], InStore)


def test_a_local_file_that_was_replaced_is_meant(store: Counting):
    """As where the ledger has the task itself."""

    def local(digest: str) -> Row:
        row = with_image(digest)
        images = {IMAGE: row.images[IMAGE].model_copy(update={"address": "file:kite.png"})}
        return retake(Row(row.id, row.line, row.take, row.labels, row.request, images, row.digest), row.take)

    put_manifest(store, manifest_for(local("a" * 64)))
    assert search(store, local("b" * 64)) == {}


def test_everything_of_a_pipeline_is_gone_through(store: Counting):
    """Each folder once; what cannot be read is a reading with a problem; an incomplete clip is none."""
    rows = make_rows(70)
    for row in rows:
        put_manifest(store, manifest_for(row))
    put_document(store, folder_of(KITE).manifest, b"<html>")
    put_document(store, folder_of(make_row("boat")).tombstone, tombstone(make_row("boat")))
    put_document(store, folder_of(make_row("half")).output(1, "mp4"), b"half")
    put_document(store, f"{NAME}/clips/README.txt", b"clips go here")
    put_manifest(store, manifest_for(KITE, pipeline="posters"))
    found = {reading.folder.row: reading for reading in read_folders(store, NAME)}
    assert set(found) == {*(row.id for row in rows), "kite", "boat"}
    assert [row for row, one in found.items() if one.problem] == ["kite"]
    assert [row for row, one in found.items() if one.tombstone] == ["boat"]
    assert all(found[row.id].manifest for row in rows)


@pytest.mark.parametrize("others", [0, MAX_ROWS_BY_PREFIX])
def test_what_was_renamed_is_found_under_its_new_name_alone(store: Counting, others: int):
    """A row of this pipeline, and one that came from another pipeline; a new row may have the old name."""
    put_manifest(store, manifest_for(KITE))
    put_manifest(store, manifest_for(make_row("boat"), pipeline="posters"))
    folders = {
        str(folder_of(KITE)): {"pipeline": NAME, "row": "falcon"},
        str(clip_folder("posters", "boat", make_row("boat").digest, 1)): {"pipeline": NAME, "row": "ship"},
    }
    put_document(store, f"{NAME}/names/1.json", {"pipeline": NAME, "at": "2026-01-01", "folders": folders})
    rows = [KITE, make_row("falcon"), make_row("ship"), make_row("boat"), *make_rows(others)]
    answers = search(store, *rows)
    assert {row: type(answer) for row, answer in answers.items()} == {"falcon": InStore, "ship": InStore}
    assert {(reading.row, reading.folder.row) for reading in read_folders(store, NAME)} == {
        ("falcon", "kite"), ("ship", "boat")
    }  # fmt: skip
