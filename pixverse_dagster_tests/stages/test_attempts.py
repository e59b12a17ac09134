"""Whose folder, whose files: a clip goes beside what is not its own, and nothing of it is fetched twice."""

from __future__ import annotations

import hashlib
import json
import os
import re
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest

from pixverse_dagster.core.layout import clip_folder, parse_folder, task_folder
from pixverse_dagster.core.lifecycle import FailureKind, TaskState
from pixverse_dagster.core.manifest import ClipManifest
from pixverse_dagster.core.outcomes import Failed
from pixverse_dagster.core.task import Task
from pixverse_dagster.core.tombstone import bury_task
from pixverse_dagster.reports.verify import kinds, verify
from pixverse_dagster.stages.collect import collect_tasks
from pixverse_dagster.stages.session import Session
from pixverse_dagster.stages.store import enter_store
from pixverse_dagster.storage.base import ClipStore
from pixverse_dagster.storage.local import LocalStore
from pixverse_dagster.storage.s3 import S3Store
from pixverse_dagster_tests.harness.factories import NAME, NOW, QUICK, Clock, make_row, moved, session_in
from pixverse_dagster_tests.harness.finished import ROW, Clips, linked, serving, succeeded
from pixverse_dagster_tests.harness.places import Place, killed_at
from pixverse_dagster_tests.harness.stored import collect_all, manifest_of, read

GOLDEN = Path(__file__).parents[1] / "data" / "manifest.json"
NOWHERE = "http://127.0.0.1:9"
"""Where no provider answers."""
GONE = NOW + QUICK.result_lifetime_seconds + 60


@pytest.fixture(params=["local", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "local":
        return Place(LocalStore(tmp_path / "store"), tmp_path)
    client, bucket = request.getfixturevalue("shared_bucket")
    prefix = uuid.uuid4().hex
    return Place(S3Store(client, bucket, prefix), tmp_path, client, bucket, prefix)


@pytest.fixture
def store(place: Place) -> ClipStore:
    return place.store


LOCAL = pytest.mark.parametrize("place", ["local"], indirect=True)
"""Where a second kind of store would show nothing more."""


class Late(Clock):
    """A clock at which every link is past its lifetime."""

    def __call__(self) -> float:
        return GONE + self.ahead_seconds


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    """A session that can ask no provider."""
    with session_in(tmp_path, NOWHERE, clock=Late()) as session:
        yield session


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Clips]:
    with serving(tmp_path) as clips:
        yield clips


def stored(session: Session, store: ClipStore, task: Task) -> ClipManifest:
    return manifest_of(collect_all(session, store, [task])[task.row])


def problem(session: Session, store: ClipStore, task: Task) -> str:
    (found,) = collect_tasks(session, store, [task])
    assert found.manifest is None
    return found.problem


def named(session: Session, store: ClipStore) -> set[str]:
    """The keys at which `verify` finds something. The rows of a test share the bytes of a clip."""
    found = [one for one in verify(session.ledger, store, NAME).disagreements if one.kind is not kinds.BYTES_TWICE]
    return {one.where.removeprefix(store.uri("")).lstrip("/") for one in found}


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


# --- what is not the task's own


def another(**differs: Any) -> Callable[[Task], bytes]:
    """A manifest like the task's own, but for this."""

    def make(task: Task) -> bytes:
        own = {"account": task.account, "task_id": task.task_id, "client_reference": task.client_reference}
        same = {"row": task.row, "request_digest": task.digest, "name": task.pipeline}
        return json.dumps(json.loads(GOLDEN.read_text()) | same | own | differs).encode()

    return make


def junk(_: Task) -> bytes:
    return b"not what anybody expects"


IN_THE_WAY: dict[str, tuple[str, Callable[[Task], bytes]]] = {
    "another task's manifest": ("manifest.json", another(task_id="t9", client_reference="r9")),
    "the id at another account": ("manifest.json", another(account="highway/live")),
    "the id under another reference": ("manifest.json", another(client_reference="r9")),
    "a manifest that cannot be read": ("manifest.json", junk),
    "a manifest of a later version": ("manifest.json", another(version=3)),
    "an output without a manifest": ("1.mp4", junk),
    "an output of another kind": ("1.webm", junk),
    "an output that is not asked for": ("4.mp4", junk),
    "a poster alone": ("1.jpg", junk),
    "a tombstone": ("tombstone.json", junk),
}


@pytest.mark.parametrize(
    ("place", "what"),
    [*(("local", what) for what in IN_THE_WAY), ("s3", "another task's manifest"), ("s3", "a poster alone")],
    indirect=["place"],
)
def test_a_clip_goes_beside_what_is_not_its_own(session: Session, place: Place, serve: Clips, what: str):
    """In the next free folder, whole; what stood in the way is as it was, and `verify` names it alone."""
    store, task = place.store, succeeded(session, "t1", serve("moving"))
    first, (name, make) = task_folder(task), IN_THE_WAY[what]
    enter_store(store, session.ledger.id, NAME)
    place.put(f"{first}/{name}", make(task))
    before = place.contents(f"{first}/")
    manifest = stored(session, store, task)
    assert (manifest.task_id, manifest.client_reference, manifest.attempt) == ("t1", task.client_reference, 1)
    assert [output.key for output in manifest.outputs] == [f"{first}-a2/1.mp4"]
    assert manifest.outputs[0].sha256 == sha256(serve.path("moving"))
    after = session.ledger.tasks.refresh(task)
    assert (after.state, after.folder) == (TaskState.STORED, f"{first}-a2")
    assert place.contents(f"{first}/") == before
    assert named(session, store) == {f"{first}/{name}"}
    assert stored(session, store, after) == manifest
    assert serve.downloads() == {"moving": 1}


@LOCAL
def test_the_next_folder_is_one_that_nobody_has(session: Session, place: Place, serve: Clips):
    """Neither one with files nor that of another attempt, which may still be without."""
    first = succeeded(session, "t1", serve("moving"))
    session.ledger.expire(first, Failed(FailureKind.EXPIRED, "gone"), NOW)
    session.ledger.release(session.ledger.tasks.refresh(first), "a person, today")
    second = succeeded(session, "t2", serve("black"))
    folder = task_folder(first)
    enter_store(place.store, session.ledger.id, NAME)
    place.put(f"{folder}/1.mp4", b"another ledger's")
    place.put(f"{folder}-a3/1.jpg", b"another ledger's")
    late = linked(session, session.ledger.tasks.refresh(first), serve("gradient"))
    assert stored(session, place.store, late).outputs[0].key == f"{folder}-a4/1.mp4"
    assert stored(session, place.store, second).outputs[0].key == f"{folder}-a2/1.mp4"


@pytest.mark.parametrize("attempts", [1, 2])
def test_two_ledgers_in_one_store_never_share_a_folder(
    session: Session, place: Place, serve: Clips, tmp_path: Path, attempts: int
):
    """The same row and words, twice paid for: each manifest has its own task and its own bytes, also half way."""
    (tmp_path / "other").mkdir()
    with session_in(tmp_path / "other", NOWHERE, clock=Late()) as other:
        theirs = succeeded(other, "t8", serve("black"), serve("gradient"))
        if attempts == 2:
            theirs = linked(other, theirs, serve("black"))
            other.ledger.expire(theirs, Failed(FailureKind.EXPIRED, "gone"), NOW)
            other.ledger.release(other.ledger.tasks.refresh(theirs), "a person, today")
            theirs = succeeded(other, "t9", serve("black"), serve("gradient"))
        assert "killed" in problem(other, place.hooked(before=killed_at("2.mp4")), theirs)
        mine = stored(session, place.store, succeeded(session, "t1", serve("moving"), serve("still")))
        assert [one.sha256 for one in mine.outputs] == [sha256(serve.path(name)) for name in ("moving", "still")]
        again = stored(other, place.store, other.ledger.tasks.refresh(theirs))
        assert [one.sha256 for one in again.outputs] == [sha256(serve.path(name)) for name in ("black", "gradient")]
        assert again.outputs[0].key.startswith(f"{task_folder(theirs)}/")
    assert {parse_folder(one.outputs[0].key.rpartition("/")[0]) for one in (mine, again)} == {
        clip_folder(NAME, ROW.id, ROW.digest, 1, 2 if attempts == 1 else 1),
        clip_folder(NAME, ROW.id, ROW.digest, 1, 1 if attempts == 1 else 2),
    }
    assert named(session, place.store) == set(place.contents(f"{task_folder(theirs)}/"))


@pytest.mark.parametrize("there", ["a directory", "a file"])
def test_a_directory_in_the_place_of_a_file_is_not_in_the_way(
    session: Session, serve: Clips, tmp_path: Path, there: str
):
    """Nor is a file in the place of the folder."""
    store, task = LocalStore(tmp_path / "store"), succeeded(session, "t1", serve("moving"))
    path = Path(store.uri(str(task_folder(task))))
    if there == "a file":
        path.parent.mkdir(parents=True)
        path.write_bytes(b"a file")
    else:
        (path / "1.mp4").mkdir(parents=True)
        (path / "1.mp4" / "inside").write_bytes(b"a file")
    assert stored(session, store, task).outputs[0].key == f"{task_folder(task)}-a2/1.mp4"


@LOCAL
def test_a_file_that_changed_after_it_was_put_is_not_described(session: Session, place: Place, serve: Clips):
    """The clip goes to the next folder with its own bytes, and the changed file is left."""
    task = succeeded(session, "t1", serve("moving"))
    assert "killed" in problem(session, place.hooked(before=killed_at("manifest.json")), task)
    key = f"{task_folder(task)}/1.mp4"
    place.change(key, serve.path("black").read_bytes())
    manifest = stored(session, place.store, session.ledger.tasks.refresh(task))
    assert manifest.outputs[0].key == f"{task_folder(task)}-a2/1.mp4"
    assert manifest.outputs[0].sha256 == sha256(serve.path("moving"))
    assert read(place.store, key) == serve.path("black").read_bytes()


@LOCAL
def test_a_file_of_which_one_byte_changed_is_not_described(session: Session, place: Place, serve: Clips):
    """Of the same size, and perhaps as good a clip: it is not what the provider made."""
    task = succeeded(session, "t1", serve("moving"))
    assert "killed" in problem(session, place.hooked(before=killed_at("manifest.json")), task)
    key = f"{task_folder(task)}/1.mp4"
    own = read(place.store, key)
    place.change(key, own[:-1] + bytes([own[-1] ^ 1]))
    manifest = stored(session, place.store, session.ledger.tasks.refresh(task))
    assert manifest.outputs[0].sha256 == hashlib.sha256(own).hexdigest() == sha256(serve.path("moving"))
    assert read(place.store, manifest.outputs[0].key) == own


@LOCAL
def test_what_is_complete_in_a_folder_that_is_taken_since_needs_no_link(session: Session, place: Place, serve: Clips):
    """Somebody wrote a manifest there: the bytes that are on record go to the next folder, from the store."""
    task = succeeded(session, "t1", serve("moving"))
    assert "killed" in problem(session, place.hooked(before=killed_at("manifest.json")), task)
    place.put(task_folder(task).manifest, b"{}")
    task = linked(session, session.ledger.tasks.refresh(task), serve("gone"))
    manifest = stored(session, place.store, task)
    assert manifest.outputs[0].key == f"{task_folder(task)}-a2/1.mp4"
    assert manifest.outputs[0].sha256 == sha256(serve.path("moving"))
    assert serve.downloads() == {"moving": 1}


def test_two_collectors_at_once_end_in_one_folder(session: Session, place: Place, serve: Clips, tmp_path: Path):
    """Also where something is in the way, and one of them knows the task as it was before the other moved it."""
    rows = [make_row(f"r{number}") for number in range(5)]
    tasks = [succeeded(session, f"t{row.id}", serve("moving"), serve("black"), row=row) for row in rows]
    enter_store(place.store, session.ledger.id, NAME)
    for task, name in zip(tasks, ("1.mp4", "2.mp4", "1.jpg", "manifest.json", "2.webm"), strict=True):
        place.put(f"{task_folder(task)}/{name}", b"another's")
    together = Barrier(2)

    def run(one: Session) -> dict[str, ClipManifest]:
        together.wait()
        return {row: manifest_of(found) for row, found in collect_all(one, place.store, tasks).items()}

    with session_in(tmp_path, NOWHERE, clock=Late()) as other, ThreadPoolExecutor(2) as pool:
        found = list(pool.map(run, (session, other)))
    assert found[0] == found[1]
    stale = {row: manifest_of(one) for row, one in collect_all(session, place.store, tasks).items()}
    assert stale == found[0]
    after = {task.row: task for task in session.ledger.tasks.find(NAME)}
    assert {task.state for task in after.values()} == {TaskState.STORED}
    assert {task.folder for task in after.values()} == {f"{task.folder}-a2" for task in tasks}
    assert len(named(session, place.store)) == len(tasks)


# --- the store is looked at before the link


@pytest.mark.parametrize(
    ("place", "when", "ending"),
    [
        ("local", "after", "2.mp4"),
        ("local", "before", "2.jpg"),
        ("local", "after", "2.jpg"),
        ("local", "before", "manifest.json"),
        ("local", "after", "manifest.json"),
        ("s3", "before", "2.jpg"),
        ("s3", "before", "manifest.json"),
    ],
    indirect=["place"],
)
def test_all_bytes_in_the_store_need_no_link(session: Session, place: Place, serve: Clips, ending: str, when: str):
    """Killed at any put after the last video: the link is gone, past its lifetime, and the clip is stored."""
    task = succeeded(session, "t1", serve("moving"), serve("black"))
    assert "killed" in problem(session, place.hooked(**{when: killed_at(ending)}), task)
    left = place.contents(f"{task_folder(task)}/")
    task = linked(session, session.ledger.tasks.refresh(task), serve("gone"), serve("gone"))
    manifest = stored(session, place.store, task)
    assert session.ledger.tasks.refresh(task).state is TaskState.STORED
    assert serve.downloads() == {"moving": 1, "black": 1}
    whole = place.contents(f"{task_folder(task)}/")
    assert {key: whole[key] for key in left} == left
    assert [one.sha256 for one in manifest.outputs] == [sha256(serve.path(name)) for name in ("moving", "black")]
    assert named(session, place.store) == set()


def test_only_what_is_missing_is_fetched(session: Session, place: Place, serve: Clips):
    """Of two outputs one is there: its link is not asked, and without the other's link the task waits or expires."""
    task = succeeded(session, "t1", serve("moving"), serve("black"))
    assert "killed" in problem(session, place.hooked(after=killed_at("1.mp4")), task)
    task = linked(session, session.ledger.tasks.refresh(task), serve("gone"), serve("black"))
    manifest = stored(session, place.store, task)
    assert serve.downloads() == {"moving": 1, "black": 1}
    assert [one.sha256 for one in manifest.outputs] == [sha256(serve.path(name)) for name in ("moving", "black")]


@LOCAL
def test_a_task_whose_bytes_are_nowhere_waits_for_a_fresh_link(session: Session, place: Place, serve: Clips):
    """The store was looked at: half a clip is no clip. Nobody can be asked, so nothing shows that the rest is gone."""
    task = succeeded(session, "t1", serve("moving"), serve("black"))
    assert "killed" in problem(session, place.hooked(before=killed_at("2.mp4")), task)
    task = linked(session, session.ledger.tasks.refresh(task), serve("gone"), serve("gone"))
    assert "no fresh link could be had" in problem(session, place.store, task)
    after = session.ledger.tasks.refresh(task)
    assert (after.state, after.kind) == (TaskState.SUCCEEDED, None)
    assert after in session.ledger.tasks.stalled(NAME)


@LOCAL
class Halving(LocalStore):
    """A directory on a disk that is full, and whose file system says nothing."""

    def put_new(self, key: str, path: Path, *, sha256: str, content_type: str) -> bool:
        if key.endswith(".mp4"):
            os.truncate(path, path.stat().st_size // 2)
        return super().put_new(key, path, sha256=sha256, content_type=content_type)


def test_a_store_that_keeps_half_of_a_file_has_no_clip(tmp_path: Path, serve: Clips):
    """The size in the store is compared before the manifest is written, and the task stays to be collected."""
    with session_in(tmp_path, NOWHERE) as session:
        store = Halving(tmp_path / "store")
        task = succeeded(session, "t1", serve("red"))
        assert re.search(r"holds \d+ bytes, not \d+; nothing was overwritten", problem(session, store, task))
        assert session.ledger.tasks.refresh(task).state is TaskState.SUCCEEDED
        assert [key for key in store.keys(f"{NAME}/") if key.endswith(".json")] == []


def test_every_file_is_on_record_before_it_is_put(session: Session, place: Place, serve: Clips):
    """So that nothing that stands there can be taken for the task's own, and its own never for another's."""
    task = succeeded(session, "t1", serve("moving"), serve("black"))
    known: dict[str, set[str]] = {}

    def look(key: str) -> None:
        known[key] = {file.key for file in session.ledger.files.find(task)}

    stored(session, place.hooked(before=look), task)
    assert len(known) == 5
    assert [key for key, files in known.items() if key not in files] == [task_folder(task).manifest]


@LOCAL
@pytest.mark.parametrize("landed", [False, True])
def test_what_the_provider_renders_anew_counts_only_until_something_is_there(
    session: Session, place: Place, serve: Clips, *, landed: bool
):
    """Bytes on record that never reached the store give way to other ones; those that did stay, and are described."""
    task = succeeded(session, "t1", serve("moving"))
    hooks: dict[str, Any] = {"after" if landed else "before": killed_at("1.mp4")}
    assert "killed" in problem(session, place.hooked(**hooks), task)
    task = linked(session, session.ledger.tasks.refresh(task), serve("black"))
    (output,) = stored(session, place.store, task).outputs
    assert output.sha256 == sha256(serve.path("moving" if landed else "black"))
    assert output.key == f"{task_folder(task)}/1.mp4"
    assert hashlib.sha256(read(place.store, output.key)).hexdigest() == output.sha256
    assert named(session, place.store) == set()


@LOCAL
def test_of_two_collectors_with_other_bytes_both_describe_what_is_there(session: Session, place: Place, serve: Clips):
    """One has its bytes on record and is about to put them when the other, with newer ones, is done."""
    task = succeeded(session, "t1", serve("moving"))
    first: list[ClipManifest] = []

    def meanwhile(key: str) -> None:
        if key.endswith("1.mp4") and not first:
            first.append(stored(session, place.store, replace(task, urls=(serve("black"),))))

    second = stored(session, place.hooked(before=meanwhile), task)
    assert first == [second]
    assert second.outputs[0].sha256 == sha256(serve.path("black"))
    assert named(session, place.store) == set()


# --- posters and manifests that are gone


@pytest.mark.parametrize(("place", "outputs"), [("local", 1), ("local", 2), ("s3", 2)], indirect=["place"])
def test_a_poster_that_is_gone_is_made_again(session: Session, place: Place, serve: Clips, outputs: int):
    """From the video in the store, without a link, when the row is materialised again; then nothing differs."""
    task = succeeded(session, "t1", *[serve(name) for name in ("moving", "black")[:outputs]])
    before = collect_all(session, place.store, [task])["kite"]
    place.remove(f"{task_folder(task)}/{outputs}.jpg")
    assert named(session, place.store) == {f"{task_folder(task)}/{outputs}.jpg"}
    again = collect_all(session, place.store, [session.ledger.tasks.refresh(task)])["kite"]
    assert (again.problem, again.manifest, again.poster) == ("", before.manifest, before.poster)
    assert named(session, place.store) == set()


@LOCAL
def test_a_poster_that_is_gone_before_its_manifest_is_made_again(session: Session, place: Place, serve: Clips):
    task = succeeded(session, "t1", serve("moving"))
    assert "killed" in problem(session, place.hooked(before=killed_at("manifest.json")), task)
    place.remove(f"{task_folder(task)}/1.jpg")
    task = linked(session, session.ledger.tasks.refresh(task), serve("gone"))
    stored(session, place.store, task)
    assert named(session, place.store) == set()


@LOCAL
def test_a_damaged_poster_is_left_and_named_and_not_shown(session: Session, place: Place, serve: Clips):
    """Nothing in a clip's folder is overwritten; the event shows the picture that it should be."""
    task = succeeded(session, "t1", serve("moving"))
    before = collect_all(session, place.store, [task])["kite"]
    key = f"{task_folder(task)}/1.jpg"
    place.change(key, b"")
    again = collect_all(session, place.store, [session.ledger.tasks.refresh(task)])["kite"]
    assert (again.problem, again.poster) == ("", before.poster)
    assert read(place.store, key) == b""
    assert named(session, place.store) == {key}


@pytest.mark.parametrize(("place", "also"), [("local", ""), ("local", "2.jpg"), ("s3", "2.jpg")], indirect=["place"])
def test_a_manifest_that_is_gone_is_written_again(session: Session, place: Place, serve: Clips, also: str):
    """From the ledger and the files, free, in the same words each time; a process may die on the way."""
    task = succeeded(session, "t1", serve("moving"), serve("black"))
    before = stored(session, place.store, task)
    folder = task_folder(task)
    texts: list[bytes] = []
    for hooks in ({}, {"before": killed_at("manifest.json")}, {"after": killed_at("manifest.json")}):
        place.remove(folder.manifest)
        if also:
            place.remove(f"{folder}/{also}")
        task = session.ledger.tasks.refresh(task)
        if hooks:
            assert "killed" in problem(session, place.hooked(**hooks), task)
        again = stored(session, place.store, session.ledger.tasks.refresh(task))
        assert (again.outputs, again.task_id, again.cost) == (before.outputs, before.task_id, before.cost)
        assert named(session, place.store) == set()
        texts.append(read(place.store, folder.manifest))
    assert len(set(texts)) == 1
    assert session.ledger.tasks.refresh(task).state is TaskState.STORED
    assert serve.downloads() == {"moving": 1, "black": 1}


@LOCAL
def test_two_collectors_write_a_lost_manifest_once(session: Session, place: Place, serve: Clips, tmp_path: Path):
    task = succeeded(session, "t1", serve("moving"))
    stored(session, place.store, task)
    place.remove(task_folder(task).manifest)
    task, together = session.ledger.tasks.refresh(task), Barrier(2)

    def run(one: Session) -> ClipManifest:
        together.wait()
        return stored(one, place.store, task)

    with session_in(tmp_path, NOWHERE, clock=Late()) as other, ThreadPoolExecutor(2) as pool:
        found = list(pool.map(run, (session, other)))
    assert found[0] == found[1]
    assert named(session, place.store) == set()


# --- what cannot be had again is said


LOST = {
    "the video": (["1.mp4"], ("1.mp4 is missing", "its manifest is there")),
    "manifest and video": (["1.mp4", "manifest.json"], ("neither the manifest nor output 1",)),
    "everything": (["1.mp4", "1.jpg", "manifest.json"], ("neither the manifest nor output 1",)),
}


@pytest.mark.parametrize(
    ("place", "what"), [*(("local", what) for what in LOST), ("s3", "manifest and video")], indirect=["place"]
)
def test_a_stored_clip_that_is_not_there_is_said_with_what_to_do(
    session: Session, place: Place, serve: Clips, what: str
):
    """Where it was, that it is paid for, that putting it back is free, and what another one takes; nothing changes."""
    task = succeeded(session, "t1", serve("moving"))
    stored(session, place.store, task)
    names, words = LOST[what]
    kept = {name: read(place.store, f"{task_folder(task)}/{name}") for name in names}
    for name in names:
        place.remove(f"{task_folder(task)}/{name}")
    task = session.ledger.tasks.refresh(task)
    said = problem(session, place.store, task)
    for word in (*words, "is paid for", "not paid for again", "Put the file back", "tasks retry kite --take", "stored"):
        assert word in said
    assert session.ledger.tasks.refresh(task) == task
    place.put(f"{task_folder(task)}/1.mp4", kept["1.mp4"])
    stored(session, place.store, task)
    assert named(session, place.store) == set()


@LOCAL
def test_a_video_of_another_size_than_its_manifest_says_is_said(session: Session, place: Place, serve: Clips):
    task = succeeded(session, "t1", serve("moving"))
    stored(session, place.store, task)
    place.change(f"{task_folder(task)}/1.mp4", b"half")
    assert "holds 4 bytes" in problem(session, place.store, session.ledger.tasks.refresh(task))


@LOCAL
def test_something_else_in_the_place_of_a_stored_manifest_is_said(session: Session, place: Place, serve: Clips):
    """The clip stays where the ledger says; taking away what stands there is enough."""
    task = succeeded(session, "t1", serve("moving"))
    stored(session, place.store, task)
    place.change(task_folder(task).manifest, b"{}")
    task = session.ledger.tasks.refresh(task)
    said = problem(session, place.store, task)
    assert "Nothing was overwritten" in said
    assert "is stored, and not as it was" in said
    assert session.ledger.tasks.refresh(task) == task
    place.remove(task_folder(task).manifest)
    stored(session, place.store, task)
    assert named(session, place.store) == set()


@pytest.mark.parametrize(
    ("place", "picture"), [("local", "moving"), ("local", "black"), ("s3", "moving")], indirect=["place"]
)
def test_a_video_that_went_before_the_ledger_knew_is_fetched_again(
    session: Session, place: Place, serve: Clips, picture: str
):
    """While its link lives, and only if it brings the bytes that the manifest describes."""
    task = succeeded(session, "t1", serve("moving"))
    assert "killed" in problem(session, place.hooked(after=killed_at("manifest.json")), task)
    place.remove(f"{task_folder(task)}/1.mp4")
    task = linked(session, session.ledger.tasks.refresh(task), serve(picture))
    if picture == "moving":
        stored(session, place.store, task)
        assert named(session, place.store) == set()
    else:
        assert "its manifest is there" in problem(session, place.store, task)
        assert session.ledger.tasks.refresh(task).state is TaskState.SUCCEEDED


# --- what was taken in, and what was deleted on demand


@LOCAL
def test_a_manifest_of_a_task_that_was_taken_in_is_written_again_too(session: Session, place: Place, serve: Clips):
    """Its files go on record when it is first seen here; the ledger that paid for it stays named."""
    (place.folder / "lost").mkdir()
    with session_in(place.folder / "lost", NOWHERE, clock=Late()) as lost:
        task = succeeded(lost, "t1", serve("moving"))
        before = stored(lost, place.store, task)
        task = replace(lost.ledger.tasks.refresh(task), paid_by=lost.ledger.id)
    moved(session.ledger.restore(task))
    stored(session, place.store, task)
    place.remove(task_folder(task).manifest)
    again = stored(session, place.store, session.ledger.tasks.refresh(task))
    assert (again.ledger_id, again.outputs, again.stored_at) == (before.ledger_id, before.outputs, before.stored_at)
    assert named(session, place.store) == set()


@LOCAL
@pytest.mark.parametrize("own", [False, True])
def test_a_clip_that_was_deleted_on_demand_is_not_stored_again(
    session: Session, place: Place, serve: Clips, *, own: bool
):
    """By a ledger from a backup, which did not know; another task's tombstone is beside the clip's own folder."""
    task = succeeded(session, "t1", serve("moving"))
    buried = bury_task(task if own else replace(task, task_id="t9"), session.ledger.id, "deleted by hand", NOW)
    enter_store(place.store, session.ledger.id, NAME)
    place.put(task_folder(task).tombstone, buried.model_dump_json().encode())
    if own:
        assert "was deleted on demand (deleted by hand)" in problem(session, place.store, task)
        assert session.ledger.tasks.refresh(task).state is TaskState.FORGOTTEN
        assert serve.downloads() == {}
    else:
        assert stored(session, place.store, task).outputs[0].key == f"{task_folder(task)}-a2/1.mp4"
