"""The store is asked before anybody is paid: what is there is taken in, and what nobody can tell of is withheld."""

from __future__ import annotations

import errno
import json
import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from pixverse_dagster.core.layout import MARKER, task_folder
from pixverse_dagster.core.lifecycle import FailureKind, TaskState
from pixverse_dagster.core.outcomes import Accepted, Failed
from pixverse_dagster.core.row import Row, retake
from pixverse_dagster.core.tombstone import bury_task
from pixverse_dagster.ledger.backup import backup
from pixverse_dagster.ledger.claims import ClaimTerms
from pixverse_dagster.ledger.engine import open_engine, sqlite_url
from pixverse_dagster.ledger.ledger import Ledger
from pixverse_dagster.ledger.renaming import Renaming
from pixverse_dagster.policy.budget import Budget
from pixverse_dagster.policy.plan import Verdict
from pixverse_dagster.recovery.rename import rename
from pixverse_dagster.reports.verify import verify
from pixverse_dagster.stages.ask import begin_paying
from pixverse_dagster.stages.places import queued_row
from pixverse_dagster.stages.plan import plan_with_store
from pixverse_dagster.stages.queue import queue_new_rows
from pixverse_dagster.stages.session import Session
from pixverse_dagster.stages.store import enter_store, sign
from pixverse_dagster.stages.submission import Submission
from pixverse_dagster.stages.submit import submit_rows
from pixverse_dagster.storage.base import ClipStore
from pixverse_dagster.storage.local import LocalStore
from pixverse_dagster.storage.s3 import S3Store
from pixverse_dagster_tests.harness.factories import (
    HIGHWAY,
    NAME,
    NOW,
    PIXWITH,
    RUN,
    Setup,
    deliver,
    make_row,
    make_rows,
    make_session,
    poll_until,
    record_rows,
    submit_all,
)
from pixverse_dagster_tests.harness.ledgers import ledger_in
from pixverse_dagster_tests.harness.manifests import LEDGER, manifest_for, put_document, put_manifest, task_of
from pixverse_dagster_tests.harness.servers import S3Server, Simulator, drop_database, new_database
from pixverse_dagster_tests.harness.stored import collect_all

KITE = make_row("kite")


@dataclass
class World:
    """A store, and a new ledger as often as one is lost; `audit` is what the provider charged for."""

    store: ClipStore
    server: Simulator
    new_ledger: Callable[[], str]

    @contextmanager
    def ledger(self, setup: Setup | None = None, ledger: str = "") -> Generator[Session]:
        engine = open_engine(ledger or self.new_ledger())
        try:
            with make_session(Ledger(engine), self.server.url, setup) as session:
                yield replace(session, open_store=lambda: self.store)
        finally:
            engine.dispose()

    @property
    def charged(self) -> int:
        return len(self.server.tasks())


@pytest.fixture
def world(tmp_path: Path, server: Simulator) -> World:
    numbers = iter(range(100))
    store = LocalStore(tmp_path / "store")
    enter_store(store, "elsewhere", "posters")
    return World(store, server, lambda: ledger_in(tmp_path, f"ledger-{next(numbers)}.db"))


def store_all(session: Session, store: ClipStore, rows: list[Row]) -> None:
    """Submit these rows and store their clips."""
    submit_all(session, rows)
    tasks = poll_until(session, lambda tasks: all(task.state is not TaskState.SUBMITTED for task in tasks), 30)
    collect_all(session, store, [task for task in tasks if task.state is TaskState.SUCCEEDED])


def listing(store: ClipStore) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for key in store.keys(""):
        if "replace.lock" not in key:
            with store.open(key) as file:
                found[key] = file.read()
    return found


def plan(session: Session, *rows: Row) -> dict[str, tuple[Verdict, str]]:
    assert session.open_store
    made, _ = plan_with_store(session, session.open_store(), rows or session.ledger.rows.find(NAME).values())
    return {line.row: (line.verdict, line.note) for line in made.lines}


# --- a ledger that was lost


def a_full_table() -> list[Row]:
    """Several providers, images, a second take, and what fails at first."""
    return [*make_rows(3), make_row("seen", HIGHWAY), make_row("pix", PIXWITH), retake(make_row("again"), 2)]


def lose_the_ledger(world: World) -> None:
    rows = a_full_table()
    with world.ledger() as session:
        first = retake(make_row("again"), 1)
        store_all(session, world.store, [first])
        record_rows(session.ledger, [make_row("failed")])
        terms = ClaimTerms(RUN, NOW, 60, account="runware/simulator", world="simulator", estimate_usd=0.25)
        task, _ = session.ledger.claim(NAME, make_row("failed"), terms)
        task = session.ledger.accept(task, Accepted("gone"), NOW, NOW).task
        session.ledger.fail(task, Failed(FailureKind.PROVIDER_ERROR, "no"), NOW)
        session.ledger.release(session.ledger.tasks.refresh(task), "a person")
        store_all(session, world.store, [*rows, make_row("failed")])
        lost, before = session.ledger.id, {t.task_id: t for t in session.ledger.tasks.find(NAME)}
    paid = world.charged
    rows = [*rows, make_row("failed")]
    with world.ledger(Setup(run_id="run-2")) as session:
        ledger = session.ledger
        new = make_row("new")
        record_rows(ledger, [*rows, new])
        assert {row: verdict for row, (verdict, _) in plan(session).items()} == {
            **{row.id: Verdict.IN_STORE for row in rows}, "new": Verdict.WITHHELD
        }  # fmt: skip
        found = submit_all(session, [*rows, new])
        assert world.charged == paid
        assert {row for row, one in found.items() if one.found} == {row.id for row in rows}
        assert [row for row, one in found.items() if one.problem] == ["new"]
        for word in (lost, "ledger rebuild", "--beside", "may be paid for"):
            assert word in found["new"].problem
        after = {task.task_id: task for task in ledger.tasks.find(NAME)}
        assert set(after) == {one for one, t in before.items() if t.take == 2 or t.row != "again"}
        for task_id, task in after.items():
            was = before[task_id]
            assert (task.state, task.claim, task.attempt, task.cost_usd, task.kind, task.paid_by) == (
                was.state, was.claim, was.attempt, was.cost_usd, was.kind, lost
            )  # fmt: skip
            assert task.found_at is not None
            assert abs(task.claimed_at - was.claimed_at) < 0.01
        assert after["gone"].state is TaskState.FAILED
        spent = ledger.spent(NAME, "run-2", session.clock(), "simulator")
        assert spent.run_usd == 0
        assert spent.total_usd == pytest.approx(sum((t.cost_usd or t.estimate_usd or 0) for t in after.values()))
        assert {verdict for verdict, _ in plan(session, *rows).values()} == {Verdict.STORED}
        # The first take is nobody's request now: `ledger rebuild` takes in what the table does not ask for.
        left = verify(ledger, world.store, NAME).disagreements
        assert {one.where.split("/clips/")[1].rpartition("/")[0] for one in left} == {
            f"again/{retake(make_row('again'), 1).digest[:12]}-t1"
        }


def test_a_lost_ledger_charges_nothing_the_second_time(world: World):
    """Every provider, images, a second take, a failed first attempt; what is not there waits for a person."""
    lose_the_ledger(world)


def test_a_lost_ledger_on_s3_and_postgresql_charges_nothing_either(
    s3_bucket: tuple[S3Server, str], postgres_url: str, ledger_template: str, server: Simulator
):
    """The same, where stores and ledgers are servers."""
    made: list[str] = []

    def new() -> str:
        made.append(new_database(postgres_url, template=ledger_template))
        engine = open_engine(made[-1])
        with engine.begin() as connection:
            # All copies have one id: each is to be a ledger of its own.
            connection.execute(
                sa.text("UPDATE pixverse_meta SET value = :id WHERE key = 'ledger_id'"), {"id": made[-1][-32:]}
            )
        engine.dispose()
        return made[-1]

    s3, bucket = s3_bucket
    client = s3.client()
    try:
        lose_the_ledger(World(S3Store(client, bucket, "team/films"), server, new))
    finally:
        client.close()
        for url in made:
            drop_database(url)


def test_two_runs_take_in_the_same_rows_at_once(world: World):
    """Each has the row's task in the end, there is one of each, and nothing is charged."""
    rows = make_rows(6)
    with world.ledger() as session:
        store_all(session, world.store, rows)
    paid, url = world.charged, world.new_ledger()
    with world.ledger(ledger=url) as first, world.ledger(Setup(run_id="run-2"), url) as second:
        keys = record_rows(first.ledger, rows)
        barrier = threading.Barrier(2)

        def run(session: Session) -> list[Submission]:
            barrier.wait()
            return list(submit_rows(session, keys))

        with ThreadPoolExecutor(2) as pool:
            found = list(pool.map(run, (first, second)))
        assert [{one.row for one in of_run if one.task and not one.problem} for of_run in found] == [set(keys)] * 2
        assert sorted(task.row for task in first.ledger.tasks.find(NAME)) == keys
    assert world.charged == paid


def test_what_is_in_the_store_costs_nothing_whatever_the_budget(world: World):
    """It is taken in although nothing more could be paid for."""
    put_manifest(world.store, manifest_for(KITE))
    with world.ledger(Setup(budget=Budget(per_run_usd=0.0))) as session:
        assert submit_all(session, [KITE])["kite"].found
    assert world.charged == 0


def test_a_claim_that_the_ledger_knows_is_that_of_the_manifest(world: World):
    """A ledger that was restored from a copy: its own failed or refused claim turns out to have its clip."""
    with world.ledger() as session:
        ledger = session.ledger
        record_rows(ledger, [KITE])
        claim, _ = ledger.claim(NAME, KITE, ClaimTerms(RUN, NOW, 60, account="runware/simulator", world="simulator"))
        ledger.refuse(claim, "no room")
        put_manifest(world.store, manifest_for(KITE, ledger=ledger.id, client_reference=claim.client_reference))
        submission = submit_all(session, [KITE])["kite"]
        assert submission.found
        assert [(t.id, t.state, t.paid_by) for t in ledger.tasks.find(NAME)] == [(claim.id, TaskState.STORED, None)]
    assert world.charged == 0


# --- what nobody can tell of, and what is not wanted


def test_a_second_deployment_finds_the_first_ones_clips_and_says_whose_they_are(world: World):
    """Rows that are not there are withheld until a person said that both are in use; then they are paid for."""
    with world.ledger() as session:
        store_all(session, world.store, [KITE])
        first = session.ledger.id
    boat = make_row("boat")
    with world.ledger() as session:
        found = submit_all(session, [KITE, boat])
        task = found["kite"].task
        assert task
        assert (found["kite"].found, task.paid_by) == (True, first)
        assert found["boat"].problem
        assert sorted(world.store.keys("ledgers/")) == sorted([f"ledgers/{first}.json", "ledgers/elsewhere.json"])
        assert world.charged == 1
        session.ledger.ledgers.acknowledge(first, "beside")
        assert submit_all(session, [boat])["boat"].sent
    assert world.charged == 2


def test_a_first_ledger_and_one_alone_notice_nothing(world: World):
    """Nor does one whose other ledgers kept other pipelines there."""
    with world.ledger() as session:
        assert [submit_all(session, [row])[row.id].sent for row in make_rows(2)] == [True, True]
        (entry,) = [key for key in world.store.keys("ledgers/") if session.ledger.id in key]
        with world.store.open(entry) as file:
            assert json.load(file) == {"ledger_id": session.ledger.id, "pipelines": [NAME], "epoch": 3}
        # Once before the first row was paid for, and once after each of the two submissions.
        assert session.ledger.ledgers.epoch == 3


def test_a_ledger_that_was_restored_from_a_copy_withholds_what_is_not_there(world: World):
    """The store has seen more runs of it that paid than it knows of."""
    put_manifest(world.store, manifest_for(KITE))
    with world.ledger() as session:
        enter_store(world.store, session.ledger.id, NAME)
        sign(world.store, session.ledger.id, NAME, 3)
        found = submit_all(session, [KITE, make_row("boat")])
        assert found["kite"].found
        for word in ("older than the store", "at epoch 0", "epoch 3", "ledger rebuild"):
            assert word in found["boat"].problem
        assert plan(session, make_row("boat"))["boat"][0] is Verdict.WITHHELD
        while session.ledger.ledgers.raise_epoch() < 3:
            pass
        assert submit_all(session, [make_row("boat")])["boat"].sent


def test_a_copy_that_was_made_while_a_run_paid_is_older_than_the_store(world: World, tmp_path: Path):
    """So what that run went on to pay for is not paid for by whoever goes on with the copy."""
    url, copy = world.new_ledger(), tmp_path / "copy.db"
    with world.ledger(ledger=url) as session:
        record_rows(session.ledger, [KITE, make_row("boat")])
        for submission in submit_rows(session, ["kite"]):
            assert submission.sent
            backup(url, copy)
        submit_all(session, [KITE, make_row("boat")])
    with world.ledger(ledger=sqlite_url(copy)) as session:
        assert "older than the store" in submit_all(session, [KITE, make_row("boat")])["boat"].problem
    assert world.charged == 2


def test_a_copy_is_older_than_the_store_as_soon_as_a_run_may_pay(world: World, tmp_path: Path):
    """Also where that run is killed before it says that it has paid."""
    url, copy = world.new_ledger(), tmp_path / "copy.db"
    with world.ledger(ledger=url) as session:
        enter_store(world.store, session.ledger.id, NAME)
        record_rows(session.ledger, [KITE])
        backup(url, copy)
        assert begin_paying(session, world.store) == ""
    with world.ledger(ledger=sqlite_url(copy)) as session:
        assert "older than the store" in submit_all(session, [KITE])["kite"].problem
    assert world.charged == 0


def test_what_was_renamed_before_its_ledger_was_lost_is_not_paid_for_again(world: World):
    """The store's index of names leads a new ledger to the clip, which is called by its new name there."""
    dragon = replace(KITE, id="dragon")
    with world.ledger() as session:
        store_all(session, world.store, [KITE])
        rename(session.ledger, world.store, Renaming(NAME, "dragon", "kite"), NOW)
        assert plan(session, dragon)["dragon"][0] is Verdict.STORED
    with world.ledger() as session:
        submission = submit_all(session, [dragon])["dragon"]
        assert submission.found
        assert verify(session.ledger, world.store, NAME).disagreements == ()
    assert world.charged == 1


def test_a_pipeline_of_a_ledger_that_was_taken_over_waits_until_it_is_taken_in(world: World):
    """Its other pipelines may have been pending, too."""
    with world.ledger() as session:
        session.ledger.take_over(LEDGER, 0, "posters", [NAME, "posters"])
        assert "goes on as one that was lost" in submit_all(session, [KITE])["kite"].problem
        session.ledger.take_over(LEDGER, 0, NAME)
        assert submit_all(session, [KITE])["kite"].sent


def test_of_two_new_ledgers_that_begin_at_once_one_at_least_sees_the_other(world: World):
    """Whoever looks again after both have signed."""
    with world.ledger() as one, world.ledger() as other:
        sign(world.store, other.ledger.id, NAME, 1)
        problem = submit_all(one, [KITE])["kite"].problem
        assert other.ledger.id in problem
    assert world.charged == 0


def test_a_forgotten_request_is_not_paid_for_again(world: World):
    """It is known to the ledger from then on, with what it had cost."""
    stone = bury_task(task_of(KITE), LEDGER, "a person, today", NOW)
    put_document(world.store, task_folder(task_of(KITE)).tombstone, stone.model_dump_json().encode())
    with world.ledger() as session:
        record_rows(session.ledger, [KITE])
        assert plan(session)["kite"][0] is Verdict.FORGOTTEN
        submission = submit_all(session, [KITE])["kite"]
        assert "deleted on demand" in submission.problem
        (task,) = session.ledger.tasks.find(NAME)
        assert (task.state, task.cost_usd) == (TaskState.FORGOTTEN, 0.1)
        assert plan(session)["kite"][0] is Verdict.FORGOTTEN
    assert world.charged == 0


@pytest.mark.parametrize("document", [b"<html>", b"{}", "later"])
def test_a_manifest_that_cannot_be_read_withholds_its_row_alone(world: World, document: Any):
    """Nothing is paid for it, and the reason is named; the other rows are submitted."""
    if isinstance(document, str):
        document = json.loads(manifest_for(KITE).model_dump_json()) | {"version": 3}
    put_document(world.store, task_folder(task_of(KITE)).manifest, document)
    with world.ledger() as session:
        found = submit_all(session, [KITE, make_row("boat")])
        assert (found["boat"].sent, found["kite"].sent, found["kite"].task) == (True, False, None)
        assert "withheld" in found["kite"].problem
    assert [one["status"] for one in world.server.tasks()] != []
    assert world.charged == 1


def test_a_manifest_that_leaves_out_its_own_attempt_is_taken_in_by_what_else_it_says(world: World):
    """One was written of a row that was renamed meanwhile: its task, cost and times stand beside the list."""
    kept = json.loads(manifest_for(KITE).model_dump_json()) | {"attempts": []}
    put_document(world.store, task_folder(task_of(KITE)).manifest, kept)
    with world.ledger() as session:
        found = submit_all(session, [KITE])["kite"]
        assert found.task is not None
        assert (found.sent, found.task.state, found.task.task_id) == (False, TaskState.STORED, kept["task_id"])
    assert world.charged == 0


def image_row(digest: str) -> Row:
    row = make_row("seen", HIGHWAY)
    ((reference, image),) = row.images.items()
    known = image.model_copy(update={"digest": f"sha256:{digest * 64}", "address": f"url:{reference}"})
    return retake(replace(row, images={reference: known}), 1)


def test_an_image_that_changed_is_not_paid_for(world: World):
    """The row keeps its clip, of the earlier image, as where the ledger has the task; and no sensor asks again."""
    put_manifest(world.store, manifest_for(image_row("a")))
    now = image_row("b")
    with world.ledger() as session:
        record_rows(session.ledger, [now])
        verdict, note = plan(session)["seen"]
        assert (verdict, note.startswith("image changed")) == (Verdict.WITHHELD, True)
        submission = next(iter(submit_rows(session, ["seen"])))
        assert "image changed" in submission.problem
        assert "--take" in submission.problem
        assert plan(session)["seen"][0] is Verdict.STORED
        assert session.ledger.rows.find(NAME)["seen"].digest == image_row("a").digest
        assert session.ledger.rows.unsubmitted(NAME, 10) == []
        (row,) = session.ledger.rows.find(NAME).values()
        assert [image.newer for image in row.images.values()] == [f"sha256:{'b' * 64}"]
    assert world.charged == 0


def test_rows_that_are_withheld_keep_their_place_and_are_not_asked_for_at_every_tick(world: World):
    """What is in the store leaves the queue; what needs a person stays there, and says why."""
    put_manifest(world.store, manifest_for(KITE))
    enter_store(world.store, LEDGER, NAME)
    with world.ledger() as session:
        queue, ledger = session.ledger.queue, session.ledger
        record_rows(ledger, [KITE, make_row("boat")])
        wanted = queue_new_rows(session, 10).wanted
        assert wanted == ["kite", "boat"]
        assert len(list(submit_rows(session, wanted))) == 2
        (entry,) = queue.find(NAME)
        assert (entry.row, LEDGER in entry.reason) == ("boat", True)
        assert queue.due(NAME, session.clock() + 1800) == []
        assert [one.row for one in queue.due(NAME, session.clock() + 3601)] == ["boat"]
        assert queue_new_rows(session, 10).wanted == []


def test_what_was_not_there_is_not_looked_for_at_every_turn(world: World):
    """Rows wait for their turn in one run, which asks the store once in ten minutes."""
    listed: list[str] = []

    class Counting(LocalStore):
        def keys(self, prefix: str) -> Iterator[str]:
            listed.append(prefix)
            return super().keys(prefix)

    world.store = Counting(world.store.uri(""))
    with world.ledger(Setup(max_open_tasks=0)) as session:
        record_rows(session.ledger, [KITE])
        for _ in range(3):
            (submission,) = submit_rows(session, ["kite"])
            assert submission.waits
    assert listed.count(f"{NAME}/clips/kite/") == 1


# --- the store itself


class Broken(LocalStore):
    """A store that answers as its server would, where `error` says so."""

    def __init__(self, store: ClipStore, error: Exception | None, *keys: str) -> None:
        super().__init__(store.uri(""))
        self.error, self.broken = error, keys

    def put_new(self, key: str, path: Path, *, sha256: str, content_type: str) -> bool:
        if not key.startswith(self.broken):
            return super().put_new(key, path, sha256=sha256, content_type=content_type)
        if self.error is not None:
            raise self.error
        super().put_new(key, path, sha256=sha256, content_type=content_type)
        return True

    def replace(self, key: str, path: Path, *, was: str, sha256: str, content_type: str) -> bool:
        if key.startswith(self.broken) and self.error is not None:
            raise self.error
        return super().replace(key, path, was=was, sha256=sha256, content_type=content_type)

    def keys(self, prefix: str) -> Iterator[str]:
        if ("list " + prefix).startswith(self.broken) and self.error is not None:
            raise self.error
        return super().keys(prefix)


READ_ONLY = OSError(errno.EROFS, "Read-only file system")


@pytest.mark.parametrize(
    ("error", "broken", "words"),
    [
        (None, MARKER, ("overwrites what is there", "If-None-Match")),
        (READ_ONLY, MARKER, ("cannot be written to", "Read-only")),
        (PermissionError("ledgers"), "ledgers/", ("ledgers", "cannot be written to", "PermissionError")),
        (PermissionError("ledgers"), "list ledgers/", ("ledgers", "cannot be read", "PermissionError")),
        (PermissionError("clips"), f"list {NAME}/clips/", ("could not be asked", "PermissionError")),
    ],
)
def test_nothing_is_paid_for_that_the_store_could_not_keep(
    world: World, error: Exception | None, broken: str, words: tuple[str, ...]
):
    """One clear sentence; what was asked for stays; what was paid before goes on, and is stored where it can be."""
    store = world.store
    with world.ledger() as session:
        under_way = submit_all(session, [KITE])["kite"].task
        assert under_way
        world.store = Broken(store, error, broken)
        session.asked.may_pay = False
        session.asked.not_there.clear()
        keys = record_rows(session.ledger, [KITE, make_row("boat"), make_row("queued")])
        session.ledger.queue.add(NAME, [queued_row(session, make_row("queued"), "a slot")], session.clock())
        found = {one.row: one for one in submit_rows(session, keys)}
        for row in ("boat", "queued"):
            assert [word for word in (*words, "othing was sent") if word not in found[row].problem] == []
        assert found["kite"].task
        assert found["kite"].task.id == under_way.id
        assert {entry.row for entry in session.ledger.queue.find(NAME)} == {"boat", "queued"}
        assert world.charged == 1
        world.store = store
        assert {one.row for one in submit_rows(session, keys) if one.sent} == {"boat", "queued"}


def test_a_direct_materialisation_takes_in_what_is_there_and_goes_on_without_the_rest(world: World):
    """Rows whose clips are found are yielded with them; withheld ones are problems."""
    with world.ledger() as session:
        store_all(session, world.store, [KITE])
    with world.ledger() as session:
        keys = record_rows(session.ledger, [KITE, make_row("boat")])
        collected, problems = deliver(session, world.store, keys, 30)
        assert [(one.task.row, one.manifest is not None, one.poster[:2]) for one in collected] == [
            ("kite", True, b"\xff\xd8")
        ]
        assert len(problems) == 1
        assert "'boat' is withheld" in problems[0]
    assert world.charged == 1


def test_a_plan_writes_nothing(world: World):
    """Neither to a store that is not there yet, nor to one with clips."""
    before = listing(world.store)
    nowhere = LocalStore(Path(world.store.uri("")).with_name("nowhere"))
    with world.ledger() as session:
        assert plan(replace(session, open_store=lambda: nowhere), KITE)["kite"][0] is Verdict.NEW
        assert not Path(nowhere.uri("")).exists()
    with world.ledger() as session:
        record_rows(session.ledger, [KITE])
        assert plan(session)["kite"][0] is Verdict.NEW
        assert listing(world.store) == before
        put_manifest(world.store, manifest_for(KITE))
        before = listing(world.store)
        session.asked.not_there.clear()
        assert plan(session)["kite"][0] is Verdict.IN_STORE
        assert listing(world.store) == before
        assert session.ledger.tasks.find(NAME) == []
