"""Whatever was done to the store or the ledger behind the pipeline's back, `verify` names it and its place."""

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from pixverse_dagster.core.commands import CommandLine
from pixverse_dagster.core.errors import StoreConflict
from pixverse_dagster.core.layout import clip_folder
from pixverse_dagster.ledger import schema
from pixverse_dagster.ledger.engine import open_engine
from pixverse_dagster.ledger.ledger import Ledger
from pixverse_dagster.reports.verify import KINDS, Discrepancy, Kind, Verification, kinds, verify
from pixverse_dagster.reports.verify.remedies import find_remedy
from pixverse_dagster.stages.collect import collect_tasks
from pixverse_dagster.storage.local import LocalStore
from pixverse_dagster_tests.harness.factories import HIGHWAY, NAME, make_row, session_in, submit_all, succeeded_tasks
from pixverse_dagster_tests.harness.ledgers import ledger_in
from pixverse_dagster_tests.harness.servers import running_simulator

ROWS = (make_row("kite", outputs=2), make_row("a b", HIGHWAY), make_row("boat", output_format="WEBM"))
KITE, BOAT = (str(clip_folder(NAME, row.id, row.digest, row.take)) for row in (ROWS[0], ROWS[2]))


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a ledger and a store of three rows, four clips; copied for each test."""
    folder = tmp_path_factory.mktemp("stored")
    store, place = LocalStore(folder / "store"), tmp_path_factory.mktemp("simulator")
    with running_simulator(place, generation_seconds=0) as server, session_in(folder, server.url) as session:
        for collected in collect_tasks(session, store, succeeded_tasks(session, ROWS)):
            assert collected.manifest is not None, collected.problem
        submit_all(session, [make_row("under way")])
    return folder


@pytest.fixture
def home(stored: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(stored, tmp_path / "home"))


@pytest.fixture
def engine(home: Path) -> Iterator[sa.Engine]:
    engine = open_engine(ledger_in(home))
    yield engine
    engine.dispose()


Check = Callable[..., Verification]


@pytest.fixture
def check(home: Path, engine: sa.Engine) -> Check:
    def check(*, deep: bool = True) -> Verification:
        return verify(Ledger(engine), LocalStore(home / "store"), NAME, deep=deep)

    return check


@pytest.mark.parametrize("deep", [True, False])
def test_an_untouched_store_has_no_disagreement(check: Check, *, deep: bool):
    """Four clips with posters and three manifests are counted, and nothing is found."""
    found = check(deep=deep)
    assert (found.clips, found.files, found.disagreements) == (3, 11, ())


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def reformat(path: Path) -> None:
    path.write_text(json.dumps(json.loads(path.read_text())))


@pytest.mark.parametrize(
    ("tamper", "where", "message", "seen_quickly"),
    [
        (flip, f"{KITE}/2.mp4", "sha256 is not the manifest's", False),
        (truncate, f"{KITE}/2.mp4", r"holds \d+ bytes, the manifest says \d+", True),
        (flip, f"{KITE}/2.jpg", "sha256 is not the manifest's", False),
        (truncate, f"{KITE}/2.jpg", r"holds \d+ bytes, the manifest says \d+", True),
        (reformat, f"{KITE}/manifest.json", "sha256 is not the ledger's", True),
        (Path.unlink, f"{KITE}/2.mp4", "is missing", True),
        (Path.unlink, f"{KITE}/2.jpg", "is missing", True),
        (Path.unlink, f"{KITE}/manifest.json", "there is no manifest", True),
        (truncate, f"{KITE}/manifest.json", "is not a manifest", True),
    ],
)
def test_a_file_that_was_changed_or_deleted_is_named(
    home: Path, check: Check, tamper: Callable[[Path], None], where: str, message: str, *, seen_quickly: bool
):
    """The row, the file and what is wrong with it; sizes and absence are seen without reading the bytes."""
    place = home / "store" / where
    tamper(place)
    (found,) = (one for one in check().disagreements if one.where == str(place))
    assert found.row == "kite"
    assert re.search(message, found.message)
    assert seen_quickly is bool(check(deep=False).disagreements)


def test_every_disagreement_is_named_not_only_the_first(home: Path, check: Check):
    """Several damages, in one row and in others, are several findings."""
    damaged = [
        home / "store" / where for where in (f"{KITE}/1.jpg", f"{KITE}/1.mp4", f"{KITE}/2.mp4", f"{BOAT}/1.webm")
    ]
    damaged[0].unlink()
    for place in damaged[1:]:
        flip(place)
    assert {one.where for one in check().disagreements} == {str(place) for place in damaged}


def test_the_manifest_of_another_row_is_named(home: Path, check: Check):
    """A manifest that says it belongs elsewhere disagrees with the ledger on row, digest and task."""
    place = home / "store" / KITE / "manifest.json"
    shutil.copyfile(home / "store" / BOAT / "manifest.json", place)
    found = [one.message for one in check().disagreements if one.where == str(place)]
    for what in ("row is 'kite' in the ledger and 'boat' in the manifest", "digest is", "task id is"):
        assert any(message.startswith(what) for message in found), found


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("account", "another", "account is '.+' in the ledger and 'another' in the manifest"),
        ("world", "live", "world is 'simulator' in the ledger and 'live' in the manifest"),
        ("task_id", "t9", "task id is '.+' in the ledger and 't9' in the manifest"),
        ("client_reference", "r9", "client reference is '.+' in the ledger and 'r9' in the manifest"),
        ("attempt", 2, "attempt is 1 in the ledger and 2 in the manifest"),
        ("claim", 2, "claim is 1 in the ledger and 2 in the manifest"),
    ],
)
def test_whatever_a_manifest_says_differently_is_named(
    home: Path, check: Check, field: str, value: object, message: str
):
    """What the ledger says and what the manifest says, beside that its bytes are not those that were written."""
    place = home / "store" / KITE / "manifest.json"
    place.write_text(json.dumps(json.loads(place.read_text()) | {field: value}))
    found = [one.message for one in check(deep=False).disagreements if one.where == str(place)]
    assert [one for one in found if re.fullmatch(message, one)], found
    assert [one for one in found if "sha256 is not the ledger's" in one], found


def test_files_in_another_folder_than_the_tasks_are_named(home: Path, check: Check):
    """A manifest that points elsewhere, where its files are: the task's clip is not where the ledger has it."""
    place = home / "store" / KITE / "manifest.json"
    place.write_text(place.read_text().replace(f"{KITE}/", f"{BOAT}/").replace(f"{BOAT}/2.mp4", f"{BOAT}/1.webm"))
    found = [one.message for one in check(deep=False).disagreements if one.where == str(place)]
    assert [one for one in found if re.match(f"output 1 is in {KITE} by the ledger and is {BOAT}/1.mp4", one)], found


def test_a_clip_that_another_ledger_paid_for_keeps_that_ones_words(home: Path, engine: sa.Engine, check: Check):
    """Its claim, attempt and reference are those of another ledger: adopted as it is."""
    place = home / "store" / KITE / "manifest.json"
    other = {"ledger_id": "another", "claim": 4, "attempt": 1, "client_reference": "theirs"}
    place.write_text(json.dumps(json.loads(place.read_text()) | other))
    with engine.begin() as connection:
        sha256 = hashlib.sha256(place.read_bytes()).hexdigest()
        taken_in = {"manifest_sha256": sha256, "paid_by": "another", "found_at": 1.0, "client_reference": "theirs"}
        connection.execute(sa.update(schema.tasks).where(schema.tasks.c.row == "kite").values(taken_in))
        of_kite = sa.update(schema.history).where(schema.history.c.row == "kite", schema.history.c.event == "store")
        connection.execute(of_kite.values(event="find"))
    assert check().disagreements == ()


def test_the_other_documents_of_the_layout_are_no_disagreement(home: Path, check: Check):
    """Input images, names and the gallery are the pipeline's, and no clip's files; they are not counted."""
    sha256 = hashlib.sha256(b"other").hexdigest()
    names = home / "store" / NAME / "names" / "1.json"
    names.parent.mkdir(parents=True)
    names.write_text(json.dumps({"pipeline": NAME, "at": "2026-01-01T00:00:00Z", "folders": {}}))
    for key in (
        f"{NAME}/images/{sha256}.png",
        f"{NAME}/gallery/index.html", f"{NAME}/gallery/posters/1.jpg",
    ):  # fmt: skip
        place = home / "store" / key
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(b"other")
    assert (check().files, check().disagreements) == (11, ())


def test_a_store_without_its_marker_is_refused_in_words(home: Path, check: Check):
    """Nothing is compared with what may be of an earlier form."""
    (home / "store" / "pixverse-store.json").unlink()
    with pytest.raises(StoreConflict, match=r"before the first release.*nothing is paid against it"):
        check()


@pytest.mark.parametrize(
    "extra",
    [
        f"{KITE}/3.mp4",
        f"{KITE}/notes.txt",
        f"{NAME}/clips/nobody/0123456789ab-t1/1.mp4",
        f"{NAME}/clips/stray",
        f"{NAME}/images/notes.txt",
        f"{NAME}/stray",
    ],
)
def test_a_file_that_no_task_has_is_named(home: Path, check: Check, extra: str):
    """An extra file in a clip's folder and a folder of nobody are both found, and are nobody's row."""
    place = home / "store" / extra
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(b"extra")
    (found,) = check(deep=False).disagreements
    assert (found.row, found.where) == ("", str(place))
    assert "no stored task of the ledger has it" in found.message


def test_clips_without_their_task_are_named(home: Path, check: Check, engine: sa.Engine):
    """With a task gone from the ledger, every file of its clip is one that nobody knows."""
    with engine.begin() as connection:
        connection.execute(sa.delete(schema.tasks).where(schema.tasks.c.row == "boat"))
    names = {one.where.removeprefix(str(home / "store" / BOAT)) for one in check().disagreements}
    assert names == {"/1.webm", "/1.jpg", "/manifest.json", "the ledger: history"}


def test_other_pipelines_and_clips_under_way_are_no_disagreement(home: Path, check: Check):
    """What another pipeline stores, and what a task that is not done has stored so far, is left out."""
    row = make_row("under way")
    for folder in (clip_folder("posters", "kite", row.digest, 1), clip_folder(NAME, row.id, row.digest, 1)):
        place = home / "store" / folder.output(1, "mp4")
        place.parent.mkdir(parents=True)
        place.write_bytes(b"clip")
    assert check().disagreements == ()


def test_what_a_failed_attempt_left_is_no_disagreement_and_a_complete_clip_is_one(
    home: Path, engine: sa.Engine, check: Check
):
    """Half of an attempt whose result was gone before the rest came stays where it is; a manifest says more."""
    with engine.begin() as connection:
        of_kite = sa.update(schema.tasks).where(schema.tasks.c.row == "kite")
        connection.execute(of_kite.values(state="failed", kind="expired"))
        of_kite = sa.update(schema.history).where(schema.history.c.row == "kite", schema.history.c.event == "store")
        connection.execute(of_kite.values(event="expire", state="failed"))
    (found,) = check().disagreements
    assert found.where.endswith(f"{KITE}/manifest.json")
    (home / "store" / KITE / "manifest.json").unlink()
    (home / "store" / KITE / "2.mp4").unlink()
    assert check().disagreements == ()


def test_verifying_changes_nothing(home: Path, check: Check):
    """Reading the store and the ledger leaves both as they were, whatever is found."""
    flip(home / "store" / KITE / "1.mp4")
    before = {path: path.read_bytes() for path in (home / "store").rglob("*") if path.is_file()}
    assert check().disagreements
    assert {path: path.read_bytes() for path in (home / "store").rglob("*") if path.is_file()} == before


def set_task(engine: sa.Engine, **values: object) -> None:
    with engine.begin() as connection:
        connection.execute(sa.update(schema.tasks).where(schema.tasks.c.row == "kite").values(values))


def set_history(engine: sa.Engine, **values: object) -> None:
    of_kite = schema.history.c.row == "kite"
    with engine.begin() as connection:
        connection.execute(sa.update(schema.history).where(of_kite, schema.history.c.event == "store").values(values))


def drop_history(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        connection.execute(sa.delete(schema.history).where(schema.history.c.row == "kite"))


def share_task_id(engine: sa.Engine) -> None:
    """As where the constraint was lost: with a copy of the table, or by a hand."""
    with engine.begin() as connection:
        tasks = schema.tasks
        connection.execute(sa.text(f"CREATE TABLE copied AS SELECT * FROM {tasks.name}"))  # noqa: S608 - our constant
        connection.execute(sa.text(f"DROP TABLE {tasks.name}"))
        connection.execute(sa.text(f"ALTER TABLE copied RENAME TO {tasks.name}"))
        (kite,) = connection.execute(sa.select(tasks.c.task_id).where(tasks.c.row == "kite")).scalars()
        connection.execute(sa.update(tasks).where(tasks.c.row == "boat").values(task_id=kite))


def set_row(engine: sa.Engine, **values: object) -> None:
    with engine.begin() as connection:
        connection.execute(sa.update(schema.rows).values(values))


LEDGER_CHANGES: dict[str, tuple[Callable[[sa.Engine], None], Kind]] = {
    "labels": (lambda engine: set_task(engine, labels='{"campaign": "another"}'), kinds.MANIFEST_FIELD),
    "cost": (lambda engine: set_task(engine, cost_usd=0.01), kinds.MANIFEST_FIELD),
    "account": (lambda engine: set_task(engine, account="another"), kinds.MANIFEST_FIELD),
    "time of the submit": (lambda engine: set_task(engine, submitted_at=1.0), kinds.MANIFEST_FIELD),
    "time of the claim": (lambda engine: set_task(engine, claimed_at=1.0), kinds.MANIFEST_FIELD),
    "no sha256 of the manifest": (lambda engine: set_task(engine, manifest_sha256=None), kinds.MANIFEST_UNKEPT),
    "request": (lambda engine: set_task(engine, request='{"prompt": "another"}'), kinds.DIGEST),
    "request that is none": (lambda engine: set_task(engine, request='{"xprompt": "another"}'), kinds.MANIFEST_FIELD),
    "request of a row": (lambda engine: set_row(engine, request='{"prompt": "another"}'), kinds.DIGEST),
    "digest of a row": (lambda engine: set_row(engine, digest="f" * 64), kinds.DIGEST),
    "state": (lambda engine: set_task(engine, state="refused"), kinds.HISTORY),
    "found": (lambda engine: set_task(engine, found_at=1.0), kinds.HISTORY),
    "folder": (lambda engine: set_task(engine, folder="nowhere"), kinds.HISTORY),
    "state in the history": (lambda engine: set_history(engine, state="failed"), kinds.HISTORY),
    "event in the history": (lambda engine: set_history(engine, event="stored"), kinds.HISTORY),
    "history": (drop_history, kinds.HISTORY),
    "task id": (share_task_id, kinds.TASK_ID_TWICE),
}


@pytest.mark.parametrize("what", LEDGER_CHANGES)
def test_what_was_changed_in_the_ledger_is_named_with_its_row(engine: sa.Engine, check: Check, what: str):
    """By what the manifest, the history or the digest says."""
    change, kind = LEDGER_CHANGES[what]
    change(engine)
    found = check(deep=False).disagreements
    row = "under way" if "of a row" in what else "kite"
    assert (row, kind) in {(one.row, one.kind) for one in found}, found


def test_an_image_with_other_bytes_than_its_name_says_is_named(home: Path, check: Check):
    """And a thumbnail that is no picture. Only where every byte is read."""
    images = home / "store" / NAME / "images"
    images.mkdir(parents=True)
    for name in (f"{'ab' * 32}.png", f"{'ab' * 32}-thumb.jpg"):
        (images / name).write_bytes(b"other")
    assert {one.kind for one in check().disagreements} == {kinds.IMAGE_CHANGED}
    assert len(check().disagreements) == 2
    assert check(deep=False).disagreements == ()


def test_bytes_that_two_tasks_have_are_named_with_both(home: Path, check: Check, engine: sa.Engine):
    """Though manifest and ledger agree on each: one row has another one's clip."""
    boat = json.loads((home / "store" / BOAT / "manifest.json").read_text())["outputs"][0]
    place = home / "store" / KITE / "manifest.json"
    document = json.loads(place.read_text())
    document["outputs"][1]["sha256"] = boat["sha256"]
    place.write_text(json.dumps(document))
    rows = {one.row for one in check(deep=False).disagreements if one.kind is kinds.BYTES_TWICE}
    assert rows == {"kite", "boat"}


def test_a_store_that_does_not_name_its_ledger_is_named(home: Path, check: Check):
    """And one that counts more than the ledger: that was restored from a copy."""
    (place,) = (home / "store" / "ledgers").iterdir()
    document = json.loads(place.read_text())
    place.write_text(json.dumps(document | {"epoch": 10**6}))
    assert {one.kind for one in check(deep=False).disagreements} == {kinds.LEDGER_BEHIND}
    place.write_text(json.dumps(document | {"pipelines": ["another"]}))
    assert {one.kind for one in check(deep=False).disagreements} == {kinds.LEDGER_UNSIGNED}


def test_every_kind_says_what_it_means_and_what_to_do(check: Check):
    """With a command that is complete, for every kind there is."""
    commands = CommandLine(pipeline=NAME, home="/home of the data")
    for kind in KINDS:
        one = Discrepancy("kite", "/store/films/clips/kite/x/1.mp4", "differs", kind, key="films/clips/kite/x/1.mp4")
        remedy = find_remedy(one, commands)
        assert "{" not in remedy, kind.name
        assert kind.money
        assert remedy
