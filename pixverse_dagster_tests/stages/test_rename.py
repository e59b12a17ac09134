"""After a renaming the store says what its clips are called: they are found by the new name, without the ledger."""

import uuid
from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pixverse_dagster.core.lifecycle import TaskState
from pixverse_dagster.core.row import Row
from pixverse_dagster.core.task import Task
from pixverse_dagster.ledger.engine import open_engine
from pixverse_dagster.ledger.ledger import Ledger
from pixverse_dagster.ledger.renaming import Renaming
from pixverse_dagster.recovery.rename import rename
from pixverse_dagster.reports.verify import verify
from pixverse_dagster.stages.find import InStore, read_folders, search_store
from pixverse_dagster.stages.generate import GenerateRun
from pixverse_dagster.stages.store import enter_store
from pixverse_dagster.stages.submission import Submission
from pixverse_dagster.stages.submit import submit_rows
from pixverse_dagster.storage.base import ClipStore
from pixverse_dagster.storage.local import LocalStore
from pixverse_dagster.storage.marker import read_entry
from pixverse_dagster.storage.names import read_names
from pixverse_dagster.storage.s3 import S3Store
from pixverse_dagster_tests.harness.factories import NAME, NOW, make_row, make_session, moved, put_row, record_rows
from pixverse_dagster_tests.harness.ledgers import ledger_in
from pixverse_dagster_tests.harness.manifests import manifest_for, put_manifest, task_of
from pixverse_dagster_tests.harness.servers import S3Server, Simulator

KITE, BOAT = make_row("kite"), make_row("boat")


@pytest.fixture(params=["local", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ClipStore]:
    if request.param == "local":
        yield LocalStore(tmp_path / "store")
        return
    bucket: tuple[S3Server, str] = request.getfixturevalue("s3_bucket")
    server, name = bucket
    client: Any = server.client()
    yield S3Store(client, name, uuid.uuid4().hex)
    client.close()


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """A ledger in a file: what is asked here is the store's part, and the ledger's is asked of both databases."""
    engine = open_engine(ledger_in(tmp_path))
    yield Ledger(engine)
    engine.dispose()


def keep(ledger: Ledger, store: ClipStore, row: Row, pipeline: str = NAME) -> Task:
    """A stored clip: its task in the ledger and its manifest in the store."""
    enter_store(store, ledger.id, pipeline)
    values = {"pipeline": pipeline, "task_id": uuid.uuid4().hex, "client_reference": uuid.uuid4().hex}
    manifest = manifest_for(row, ledger=ledger.id, **values)
    key = put_manifest(store, manifest)
    task = task_of(row, **values)
    stored = replace(task, id=uuid.uuid4().hex, state=TaskState.STORED, stored_at=NOW, folder=key.rsplit("/", 1)[0])
    put_row(ledger, row, pipeline)
    return moved(ledger.restore(stored))


def found(store: ClipStore, pipeline: str, *rows: Row) -> dict[str, list[str]]:
    """Which folders a search without a ledger finds for these rows."""
    answers = search_store(store, pipeline, rows, {"runware": "simulator"})
    assert all(isinstance(one, InStore) for one in answers.values()), answers
    return {row: [str(c.folder) for c in one.clips] for row, one in answers.items() if isinstance(one, InStore)}


def named(ledger: Ledger, store: ClipStore, pipeline: str) -> list[str]:
    """What `verify` says of names."""
    return [one.message for one in verify(ledger, store, pipeline).disagreements
            if "name" in one.message or "row is" in one.message]  # fmt: skip


def called(row: Row, name: str) -> Row:
    return replace(row, id=name)


def test_a_row_is_found_by_its_new_name_where_it_was(ledger: Ledger, store: ClipStore):
    """By the store alone, and not by the old name any more; the other row is as it was. `verify` knows the names."""
    kite, boat = keep(ledger, store, KITE), keep(ledger, store, BOAT)
    rename(ledger, store, Renaming(NAME, "dragon", "kite"), NOW)
    assert found(store, NAME, called(KITE, "dragon"), KITE, BOAT) == {"dragon": [kite.folder], "boat": [boat.folder]}
    assert {(one.row, str(one.folder), one.problem) for one in read_folders(store, NAME)} == {
        ("dragon", kite.folder, ""),
        ("boat", boat.folder, ""),
    }
    assert named(ledger, store, NAME) == []


def test_a_pipelines_clips_are_found_by_its_new_name_and_not_by_the_old_one(ledger: Ledger, store: ClipStore):
    """The ledger's own document has the new name too."""
    folders = {row.id: [keep(ledger, store, row).folder] for row in (KITE, BOAT)}
    rename(ledger, store, Renaming(NAME, "reels"), NOW)
    assert found(store, "reels", KITE, BOAT) == folders
    assert found(store, NAME, KITE, BOAT) == {}
    assert [str(one.folder) for one in read_folders(store, NAME)] == []
    assert "reels" in read_entry(store, f"ledgers/{ledger.id}.json").pipelines
    assert (named(ledger, store, "reels"), named(ledger, store, NAME)) == ([], [])


def test_chains_of_rows_and_pipelines_lead_to_the_last_name(ledger: Ledger, store: ClipStore):
    """A → b → c, the pipeline as well, and with a clip that was made in between."""
    first = keep(ledger, store, KITE)
    rename(ledger, store, Renaming(NAME, "b", "kite"), NOW)
    between = keep(ledger, store, make_row("b", prompt="another"))
    rename(ledger, store, Renaming(NAME, "reels"), NOW)
    rename(ledger, store, Renaming("reels", "c", "b"), NOW)
    rename(ledger, store, Renaming("reels", "posters"), NOW)
    assert found(store, "posters", called(KITE, "c")) == {"c": [first.folder]}
    assert found(store, "posters", make_row("c", prompt="another")) == {"c": [between.folder]}
    for pipeline in (NAME, "reels"):
        assert found(store, pipeline, KITE, called(KITE, "b"), called(KITE, "c")) == {}
    assert named(ledger, store, "posters") == []


def test_a_new_row_of_an_old_name_has_its_own_clips(ledger: Ledger, store: ClipStore):
    """With the same request, beside the other's; and rows that swap their names by way of a third one."""
    old = keep(ledger, store, KITE)
    rename(ledger, store, Renaming(NAME, "dragon", "kite"), NOW)
    values: dict[str, Any] = {"attempt": 2, "task_id": "new", "client_reference": "new"}
    key = put_manifest(store, manifest_for(KITE, ledger=ledger.id, **values))
    new = replace(task_of(KITE, **values), id="new", state=TaskState.STORED, folder=key.rsplit("/", 1)[0])
    moved(ledger.restore(new))
    assert found(store, NAME, KITE, called(KITE, "dragon")) == {"kite": [new.folder], "dragon": [old.folder]}
    for before, after in (("kite", "x"), ("dragon", "kite"), ("x", "dragon")):
        rename(ledger, store, Renaming(NAME, after, before), NOW)
    assert found(store, NAME, KITE, called(KITE, "dragon")) == {"kite": [old.folder], "dragon": [new.folder]}
    assert named(ledger, store, NAME) == []


def test_a_name_that_comes_back_needs_no_document(ledger: Ledger, store: ClipStore):
    """The newest document says nothing, and the earlier ones stay."""
    folder = keep(ledger, store, KITE).folder
    rename(ledger, store, Renaming(NAME, "dragon", "kite"), NOW)
    rename(ledger, store, Renaming(NAME, "kite", "dragon"), NOW)
    names = read_names(store, NAME)
    assert (dict(names.folders), sorted(names.documents)) == ({}, [1, 2])
    assert found(store, NAME, KITE) == {"kite": [folder]}


class Killed(LocalStore):
    """A store whose n-th write of a name ends the process."""

    def __init__(self, root: Path, writes: int) -> None:
        super().__init__(root)
        self.writes = writes

    def put_new(self, key: str, path: Path, *, sha256: str, content_type: str) -> bool:
        self.writes -= "/names/" in key
        if self.writes < 0:
            raise KeyboardInterrupt
        return super().put_new(key, path, sha256=sha256, content_type=content_type)


@pytest.mark.parametrize("writes", [0, 1])
def test_killed_half_way_it_is_named_and_goes_on(ledger: Ledger, tmp_path: Path, writes: int):
    """The ledger is as it was, `verify` names what the store says already, and the same command ends it."""
    store = LocalStore(tmp_path / "store")
    folder = keep(ledger, store, KITE).folder
    with pytest.raises(KeyboardInterrupt):
        rename(ledger, Killed(tmp_path / "store", writes), Renaming(NAME, "reels"), NOW)
    assert [task.folder for task in ledger.tasks.find(NAME)] == [folder]
    assert len(named(ledger, store, NAME)) == writes
    rename(ledger, store, Renaming(NAME, "reels"), NOW)
    assert found(store, "reels", KITE) == {"kite": [folder]}
    before = sorted(store.keys(""))
    rename(ledger, store, Renaming(NAME, "reels"), NOW)
    assert sorted(store.keys("")) == before


def test_a_ledger_that_was_renamed_while_the_store_was_not_told_is_brought_to_its_end(ledger: Ledger, tmp_path: Path):
    """The same command again; until then `verify` names it."""
    store = LocalStore(tmp_path / "store")
    folder = keep(ledger, store, KITE).folder
    ledger.names.make(Renaming(NAME, "dragon", "kite"), NOW)
    (complaint,) = named(ledger, store, NAME)
    assert "a `ledger rename` did not come to its end" in complaint
    rename(ledger, store, Renaming(NAME, "dragon", "kite"), NOW)
    assert found(store, NAME, called(KITE, "dragon")) == {"dragon": [folder]}
    assert named(ledger, store, NAME) == []


def test_a_run_that_waits_for_a_row_that_is_renamed_meanwhile_stores_its_clip_and_ends(
    server: Simulator, ledger: Ledger, tmp_path: Path
):
    """Under the new name, and the run's other rows are stored as well; nothing is paid for again."""
    store = LocalStore(tmp_path / "store")
    with make_session(ledger, server.url) as session:

        def submit_and_rename(rows: Sequence[str]) -> Generator[Submission]:
            yield from submit_rows(session, rows)
            rename(ledger, store, Renaming(NAME, "dragon", "kite"), NOW)

        run = GenerateRun(session, store, submit_and_rename)
        done = list(run.run(record_rows(ledger, [KITE, BOAT]), 60))
    assert {one.task.row for one in done if one.manifest} == {"dragon", "boat"}
    assert run.problems == {}
    assert {task.row: task.state for task in ledger.tasks.find(NAME)} == dict.fromkeys(["dragon", "boat"], "stored")
    assert len(server.tasks()) == 2
