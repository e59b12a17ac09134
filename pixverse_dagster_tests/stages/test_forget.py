"""One row's clips are deleted because a person asked for it: its own and nothing else, and never paid for again."""

import hashlib
import json
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from pixverse_dagster.core.errors import PixverseError
from pixverse_dagster.core.layout import ImageKey, clip_folder, task_folder
from pixverse_dagster.core.lifecycle import TaskState
from pixverse_dagster.core.manifest import InputImage
from pixverse_dagster.core.row import Row, retake
from pixverse_dagster.core.task import Task
from pixverse_dagster.core.tombstone import Tombstone
from pixverse_dagster.core.values import Digest
from pixverse_dagster.ledger import schema
from pixverse_dagster.ledger.engine import open_engine
from pixverse_dagster.ledger.files import ClipFile
from pixverse_dagster.ledger.ledger import Ledger
from pixverse_dagster.policy.plan import Verdict
from pixverse_dagster.recovery.forget import Forgotten, forget_row, plan_forget
from pixverse_dagster.reports.verify import verify
from pixverse_dagster.stages.collect import collect_tasks
from pixverse_dagster.stages.plan import plan_rows
from pixverse_dagster.stages.session import Session
from pixverse_dagster.stages.submit import submit_rows
from pixverse_dagster.storage.base import ClipStore
from pixverse_dagster.storage.local import LocalStore
from pixverse_dagster.storage.s3 import S3Store
from pixverse_dagster_tests.harness.factories import (
    HIGHWAY,
    NAME,
    NOW,
    make_row,
    moved,
    poll_until,
    session_in,
    submit_all,
)
from pixverse_dagster_tests.harness.ledgers import ledger_in
from pixverse_dagster_tests.harness.putting import putting
from pixverse_dagster_tests.harness.servers import S3Server, running_simulator
from pixverse_dagster_tests.harness.stored import read

KITE = make_row("kite", outputs=2, prompt="the secret kite", campaign="spring")
AGAIN = retake(KITE, 2)
BOAT = make_row("boat", HIGHWAY)
WHY = "by hand: forgotten"
FILES = ("manifest.json", "1.jpg", "1.mp4", "2.jpg", "2.mp4")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a ledger and a store of two takes of a row and of another row; copied for each test."""
    folder = tmp_path_factory.mktemp("stored")
    store, place = LocalStore(folder / "store"), tmp_path_factory.mktemp("simulator")
    with running_simulator(place, generation_seconds=0) as server, session_in(folder, server.url) as session:
        for rows in ([KITE, BOAT], [AGAIN, BOAT]):
            ready = [task for task in finished(session, rows) if task.state is TaskState.SUCCEEDED]
            for collected in collect_tasks(session, store, ready):
                assert collected.manifest is not None, collected.problem
        submit_all(session, [AGAIN, BOAT, make_row("under way")])
    return folder


def finished(session: Session, rows: list[Row]) -> list[Task]:
    """Submit these rows and wait until the provider has made them all."""
    submit_all(session, rows)
    done = {TaskState.SUCCEEDED, TaskState.STORED}
    return poll_until(session, lambda tasks: all(task.state in done for task in tasks))


class Home:
    """A ledger and a store of the test's own."""

    def __init__(self, folder: Path, store: ClipStore) -> None:
        self.folder = folder
        self.store = store
        self.engine = open_engine(ledger_in(folder))
        self.ledger = Ledger(self.engine)

    def forget(self, row: str = "kite", take: int | None = None, store: ClipStore | None = None) -> Forgotten:
        store = store or self.store
        return forget_row(self.ledger, store, plan_forget(self.ledger, store, NAME, row, take), WHY, NOW)

    def files(self, row: str = "kite") -> set[str]:
        return set(self.store.keys(f"{NAME}/clips/{row}/"))

    def tasks(self, row: str = "kite") -> list[Task]:
        return self.ledger.tasks.find(NAME, keys=[row])

    def complaints(self) -> list[str]:
        return [f"{one.row}: {one.message}" for one in verify(self.ledger, self.store, NAME).disagreements]


@pytest.fixture
def home(made: Path, tmp_path: Path) -> Iterator[Home]:
    folder = Path(shutil.copytree(made, tmp_path / "home"))
    found = Home(folder, LocalStore(folder / "store"))
    yield found
    found.engine.dispose()


def folder_of(row: Row) -> str:
    return str(clip_folder(NAME, row.id, row.digest, row.take))


def test_every_take_of_a_row_goes_and_tombstones_stay(home: Home):
    """Videos, posters and manifests of all takes; the other row's are where they were, and `verify` finds nothing."""
    others = home.files("boat")
    done = home.forget()
    assert home.files() == {f"{folder_of(row)}/tombstone.json" for row in (KITE, AGAIN)}
    assert set(done.deleted) == {f"{folder_of(row)}/{name}" for row in (KITE, AGAIN) for name in FILES}
    assert {task.state for task in home.tasks()} == {TaskState.FORGOTTEN}
    assert (home.files("boat"), home.complaints()) == (others, [])


def test_a_tombstone_says_what_it_cost_and_whose_it_was_and_nothing_else(home: Home):
    """Digest, take, cost, account, world, ids, ledger, attempt, when and why; none of the words."""
    (task,) = (task for task in home.tasks() if task.take == 1)
    home.forget(take=1)
    text = read(home.store, task_folder(task).tombstone)
    found = Tombstone.read(text, "")
    assert (found.request_digest, found.take, found.attempt, found.claim) == (KITE.digest, 1, 1, 1)
    assert (found.account, found.world) == (task.account, task.world)
    assert (found.task_id, found.client_reference) == (task.task_id, task.client_reference)
    assert (found.ledger_id, found.decision, found.when) == (home.ledger.id, WHY, "2023-11-14T22:13:20.000+00:00")
    assert (found.cost.usd, found.cost.source) == (task.cost_usd, "provider")
    assert b"secret" not in text
    assert b"spring" not in text


def test_one_take_alone_goes_and_the_other_is_handed_out(home: Home):
    """`--take`: of two clips of a row the one stays, is whole, and is the row's."""
    home.forget(take=2)
    assert home.files() == {f"{folder_of(AGAIN)}/tombstone.json", *(f"{folder_of(KITE)}/{name}" for name in FILES)}
    assert home.ledger.tasks.newest_stored(NAME, ["kite"])["kite"].take == 1
    assert home.complaints() == []


def test_a_forgotten_row_is_not_paid_for_again(home: Home):
    """Submitted with the rest it is passed over with a word, which fails nothing; and plan says so."""
    spent = home.ledger.spent(NAME, "", NOW)
    home.forget()
    with session_in(home.folder, "http://127.0.0.1:9") as session:
        (line,) = plan_rows(session, [AGAIN]).lines
        (found,) = submit_rows(session, ["kite"])
    assert (line.verdict, line.cost_usd) == (Verdict.FORGOTTEN, 0)
    assert (found.sent, found.problem) == (False, "")
    assert "was deleted on demand (by hand: forgotten) and is not paid for again" in found.skipped
    assert "tasks retry kite --take" in found.skipped
    assert home.ledger.spent(NAME, "", NOW) == spent
    assert home.ledger.tasks.newest_stored(NAME, ["kite"]) == {}
    assert "kite" not in home.ledger.rows.unsubmitted(NAME, 10)


class Breaks(LocalStore):
    """A store whose n-th write or deletion from now on ends the process, as a kill does: after it, or before it."""

    def __init__(self, root: Path, steps: int) -> None:
        super().__init__(root)
        self.steps = steps

    def _step(self) -> None:
        self.steps -= 1
        if self.steps < 0:
            raise KeyboardInterrupt

    def put_new(self, key: str, path: Path, *, sha256: str, content_type: str) -> bool:
        self._step()
        return super().put_new(key, path, sha256=sha256, content_type=content_type)

    def delete(self, key: str) -> bool:
        self._step()
        return super().delete(key)


@pytest.mark.parametrize("steps", range(12))
def test_killed_at_any_step_it_goes_on_where_it_was(home: Home, steps: int):
    """Before each write and each deletion: nothing is handed out that is half there, and a second run ends it."""
    with pytest.raises(KeyboardInterrupt):
        home.forget(store=Breaks(home.folder / "store", steps))
    for task in home.ledger.tasks.newest_stored(NAME, ["kite"]).values():
        assert {f"{task_folder(task)}/{name}" for name in FILES} <= home.files()
    if home.files() & {f"{folder_of(row)}/tombstone.json" for row in (KITE, AGAIN)}:
        assert home.complaints()
    home.forget()
    assert home.files() == {f"{folder_of(row)}/tombstone.json" for row in (KITE, AGAIN)}
    assert home.complaints() == []
    again = home.forget()
    assert (again.deleted, again.failed) == ((), {})


class Refuses(LocalStore):
    """A store that deletes no posters."""

    def delete(self, key: str) -> bool:
        if key.endswith(".jpg"):
            raise PermissionError(key)
        return super().delete(key)


def test_a_deletion_that_half_fails_says_what_is_left(home: Home):
    """The rest goes all the same, and `verify` names the rest until it is gone."""
    done = home.forget(take=1, store=Refuses(home.folder / "store"))
    left = {f"{folder_of(KITE)}/1.jpg", f"{folder_of(KITE)}/2.jpg"}
    assert set(done.failed) == left
    assert "PermissionError" in done.failed[f"{folder_of(KITE)}/1.jpg"]
    assert set(done.deleted) == {f"{folder_of(KITE)}/{name}" for name in FILES if name[1:] != ".jpg"}
    assert home.complaints() == ["kite: is left of a clip that was forgotten"] * 2
    assert set(home.forget(take=1).deleted) == left


def test_a_row_whose_clip_is_still_to_come_is_refused(home: Home):
    """It is paid for: nothing is deleted before it is there."""
    plan = plan_forget(home.ledger, home.store, NAME, "under way")
    assert [task.state for task in plan.pending] == [TaskState.SUBMITTED]
    with pytest.raises(PixverseError, match="has a task that is submitted: nothing was deleted"):
        home.forget("under way")


def test_a_forgotten_task_without_its_tombstone_is_named(home: Home):
    """Without the ledger, it would be paid for again."""
    home.forget(take=1)
    home.store.delete(f"{folder_of(KITE)}/tombstone.json")
    (complaint,) = home.complaints()
    assert "the ledger says forgotten, but there is no tombstone" in complaint


def test_what_landed_of_an_attempt_without_a_clip_goes_too(home: Home):
    """Its own bytes alone: those that are on record for it, and not another's under a key of which it had others."""
    (task,) = home.tasks("under way")
    folder, own = task_folder(task), b"own"
    put = putting(home.store, home.folder)
    for n, data in ((1, own), (2, b"another's"), (3, b"nobody's")):
        put(folder.output(n, "mp4"), data)
    digest = Digest(hashlib.sha256(own).hexdigest(), len(own))
    home.ledger.files.record(task, [ClipFile(n, folder.output(n, "mp4"), digest) for n in (1, 2)], NOW)
    moved(home.ledger.abandon(task, "given up", WHY))
    assert home.forget("under way").deleted == (folder.output(1, "mp4"),)


def test_another_tasks_clip_in_the_folder_is_left_alone_and_named(home: Home):
    """By account, task id and reference."""
    place = home.folder / "store" / folder_of(KITE) / "manifest.json"
    place.write_text(json.dumps(json.loads(place.read_text()) | {"task_id": "theirs"}))
    plan = plan_forget(home.ledger, home.store, NAME, "kite", 1)
    assert plan.files == ()
    assert "is another task's, and was left alone" in plan.left[0]


def test_another_ledgers_clip_of_the_row_is_left_alone_and_named(home: Home):
    """A second deployment on the same store, or a ledger that was lost and not taken in."""
    putting(home.store, home.folder)(f"{NAME}/clips/kite/0123456789ab-t1/manifest.json", b"theirs")
    (left,) = plan_forget(home.ledger, home.store, NAME, "kite").left
    assert left.endswith("0123456789ab-t1 is no clip that this ledger knows, and was left alone")
    assert plan_forget(home.ledger, home.store, NAME, "kite", 2).left == ()
    home.forget()
    assert f"{NAME}/clips/kite/0123456789ab-t1/manifest.json" in home.files()


def test_an_input_image_goes_if_no_other_row_was_made_from_it(home: Home):
    """Converted or staged: the row's own goes with its thumbnail; one that another row's task or manifest has stays."""
    own, shared, in_store = ("ab" * 32, "cd" * 32, "ef" * 32)
    put = putting(home.store, home.folder)
    keys = {digest: str(ImageKey(NAME, digest, "png")) for digest in (own, shared, in_store, "99" * 32)}
    thumb = str(ImageKey(NAME, own))
    for key in (*keys.values(), thumb):
        put(key, b"image")
    give_images(home, "kite", [own, shared, in_store])
    give_images(home, "boat", [shared])
    place = home.folder / "store" / folder_of(BOAT) / "manifest.json"
    document = json.loads(place.read_text())
    document["images"][0]["sent_digest"] = f"sha256:{in_store}"
    place.write_text(json.dumps(document))
    assert not {keys[own], thumb} & set(home.forget(take=1).deleted)  # take 2 was made from it as well
    assert {keys[own], thumb} <= set(home.forget().deleted)
    assert set(home.store.keys(f"{NAME}/images/")) == {keys[shared], keys[in_store], keys["99" * 32]}


def give_images(home: Home, row: str, digests: list[str]) -> None:
    images = {
        str(n): InputImage(source="a.png", digest="url:a", sent_digest=f"sha256:{one}").model_dump(exclude_none=True)
        for n, one in enumerate(digests)
    }
    with home.engine.begin() as connection:
        connection.execute(sa.update(schema.tasks).where(schema.tasks.c.row == row).values(images=json.dumps(images)))


def test_words_leave_no_byte_in_the_ledger(home: Home):
    """Prompt and labels of the row: in no table, and in no byte of the file."""
    home.forget()
    assert home.ledger.forget_words(NAME, "kite") is True
    home.engine.dispose()
    for word in (b"secret", b"spring"):
        assert [path.name for path in home.folder.glob("ledger.db*") if word in path.read_bytes()] == []
    with sqlite3.connect(home.folder / "ledger.db") as connection:
        assert connection.execute("SELECT count(*) FROM pixverse_rows WHERE row = 'kite'").fetchone() == (0,)


def test_on_s3_as_on_disk(home: Home, s3_bucket: tuple[S3Server, str]):
    """The same files go, and the same tombstones stay."""
    server, bucket = s3_bucket
    client: Any = server.client()
    store = S3Store(client, bucket, "clips")
    put = putting(store, home.folder)
    for path in (home.folder / "store").rglob("*.*"):
        if path.is_file():
            put(path.relative_to(home.folder / "store").as_posix(), path.read_bytes())
    home.store = store
    done = home.forget(take=1)
    assert (len(done.deleted), done.failed, done.keeps_versions) == (5, {}, False)
    assert f"{folder_of(KITE)}/tombstone.json" in home.files()
    assert home.complaints() == []
    client.close()
