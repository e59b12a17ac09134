"""A ledger that is made again from what the store holds: nothing is paid for twice, and nothing is taken for known."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pixverse_dagster.core.errors import PixverseError
from pixverse_dagster.core.lifecycle import FailureKind, TaskState
from pixverse_dagster.core.outcomes import Accepted
from pixverse_dagster.core.row import Row, retake
from pixverse_dagster.core.task import task_cost
from pixverse_dagster.core.tombstone import bury_task
from pixverse_dagster.core.values import iso
from pixverse_dagster.ledger.claims import ClaimTerms, client_reference
from pixverse_dagster.policy.advice import describe_trouble
from pixverse_dagster.policy.plan import Verdict
from pixverse_dagster.recovery.ledgers import Wish
from pixverse_dagster.recovery.rebuild import Outcome, Rebuilding, rebuild
from pixverse_dagster.reports.verify import verify
from pixverse_dagster.stages.adopt import adopt
from pixverse_dagster.stages.plan import plan_rows
from pixverse_dagster.stages.poll import poll_due
from pixverse_dagster.stages.read import read_table
from pixverse_dagster.stages.session import Session
from pixverse_dagster.stages.store import enter_store
from pixverse_dagster.storage.local import LocalStore
from pixverse_dagster.tables import ValueTable
from pixverse_dagster_tests.harness.factories import (
    CELLS,
    NAME,
    NOW,
    PIXWITH,
    RUNWARE,
    Clock,
    make_row,
    moved,
    poll_until,
    put_row,
    record_rows,
    session_in,
    submit_all,
)
from pixverse_dagster_tests.harness.manifests import LEDGER, manifest_for, put_document, put_manifest, task_of
from pixverse_dagster_tests.harness.servers import Simulator
from pixverse_dagster_tests.harness.stored import collect_all

NOWHERE = "http://127.0.0.1:9"


def cells_of(row_id: str, model: str = RUNWARE, **cells: Any) -> dict[str, Any]:
    return {"id": row_id, "model": model, **CELLS[model], **cells}


@contextmanager
def opened(
    folder: Path, *rows: Mapping[str, Any], url: str = NOWHERE, clock: Callable[[], float] = time.time
) -> Generator[Session]:
    """A session with a ledger of its own, on a pipeline with this table."""
    folder.mkdir(exist_ok=True)
    with session_in(folder, url, clock=clock) as session:
        yield replace(session, pipeline=replace(session.pipeline, table=ValueTable(list(rows))))


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "store")


def lost(store: LocalStore, *rows: Row, ledger: str = LEDGER, **values: Any) -> None:
    """What a lost ledger left: its name, and a clip of each of these rows."""
    enter_store(store, ledger, NAME)
    for row in rows:
        put_manifest(store, manifest_for(row, ledger=ledger, **values))


def outcomes(done: Rebuilding) -> list[tuple[str, Outcome]]:
    return [(line.row, line.outcome) for line in done.lines]


def verdicts(session: Session) -> dict[str, Verdict]:
    reading = read_table(session)
    return {line.row: line.verdict for line in plan_rows(session, reading.rows, reading.problems).lines}


def everything(session: Session) -> list[Any]:
    """All that the ledger holds of the pipeline."""
    ledger = session.ledger
    known = (ledger.id, ledger.ledgers.epoch, ledger.ledgers.acknowledged, ledger.ledgers.unread)
    return [ledger.tasks.find(NAME), ledger.rows.find(NAME), ledger.rows.takes(NAME), known]


def without_ids(done: Rebuilding) -> list[Any]:
    """What is printed of it."""
    numbers = [(line.task.take, line.task.attempt, line.task.state) if line.task else None for line in done.lines]
    return [(line.row, line.outcome, line.cost_usd, n) for line, n in zip(done.lines, numbers, strict=True)]


def test_what_the_store_holds_is_known_again(tmp_path: Path, store: LocalStore):
    """Clips, their cost on their day, their failed attempts, their takes; and the ledger goes on as the lost one."""
    kite, dog = make_row("kite"), make_row("dog")
    gone = make_row("gone", prompt="a row that left the table")
    refused = task_of(dog, id="a", claim=1, attempt=None, task_id=None, state=TaskState.REFUSED)
    failed = task_of(
        dog, id="b", claim=2, attempt=1, state=TaskState.FAILED, kind=FailureKind.PROVIDER_ERROR, cost_usd=0.2
    )
    lost(store, kite, retake(kite, 2), gone)
    put_manifest(store, manifest_for(dog, refused, failed, claim=3, attempt=2))
    with opened(tmp_path / "new", cells_of("kite"), cells_of("dog")) as session:
        own = session.ledger.id
        done = rebuild(session, store, Wish())
        assert sorted(outcomes(done)) == [(row, Outcome.TAKEN_IN) for row in ("dog", "gone", "kite", "kite")]
        assert session.ledger.rows.takes(NAME) == {"kite": 2}
        assert verdicts(session) == {"kite": Verdict.STORED, "dog": Verdict.STORED}
        claims = [task for task in session.ledger.tasks.find(NAME) if task.row == "dog"]
        assert sorted((t.claim, t.attempt, t.state) for t in claims) == [
            (1, None, TaskState.REFUSED),
            (2, 1, TaskState.FAILED),
            (3, 2, TaskState.STORED),
        ]
        spent = session.ledger.spent(NAME, "", NOW, "simulator")
        assert (round(spent.day_usd, 6), round(spent.total_usd, 6)) == (0.6, 0.6)
        account = session.clients["runware"].account
        assert round(session.ledger.spent_at(account, NOW).total_usd, 6) == 0.6
        assert (session.ledger.id, session.ledger.salt) == (LEDGER, own)
        assert {task.paid_by for task in session.ledger.tasks.find(NAME)} == {None}
        stored = [task for task in session.ledger.tasks.find(NAME) if task.state is TaskState.STORED]
        assert all(session.ledger.files.find(task) for task in stored), "their files are on record"


def test_a_dry_run_writes_nothing_and_prints_the_same(tmp_path: Path, store: LocalStore):
    """Neither to the ledger nor to the store; and what was done once is done, so that it is safe to repeat."""
    kite, dog = make_row("kite"), make_row("dog")
    lost(store, kite, retake(kite, 2), make_row("gone"))
    rows = [cells_of("kite"), cells_of("dog"), cells_of("boat", PIXWITH)]
    with opened(tmp_path / "new", *rows) as session:
        put_row(session.ledger, dog)
        files = {path: path.stat().st_mtime_ns for path in Path(store.uri("")).rglob("*")}
        before = everything(session)
        shown = rebuild(session, store, Wish(), dry_run=True)
        assert everything(session) == before
        assert {path: path.stat().st_mtime_ns for path in Path(store.uri("")).rglob("*")} == files
        done = rebuild(session, store, Wish())
        assert without_ids(done) == without_ids(shown)
        assert [outcome for row, outcome in outcomes(done) if row in {"dog", "boat"}] == [Outcome.MAY_BE_PENDING] * 2
        after = everything(session)
        again = rebuild(session, store, Wish())
        assert everything(session) == after
        assert again.counts == {Outcome.KNOWN: 3, Outcome.MAY_BE_PENDING: 2}


def test_rows_without_a_clip_may_have_been_pending(tmp_path: Path, store: LocalStore):
    """They are not paid for: asked about where the provider takes our references, else a person is told what to do."""
    lost(store, make_row("kite"))
    long = "a boat " * 40
    rows = [cells_of("kite"), cells_of("dog"), cells_of("boat", PIXWITH, prompt=long)]
    with opened(tmp_path / "new", *rows) as session:
        rebuild(session, store, Wish())
        assert verdicts(session) == {"kite": Verdict.STORED, "dog": Verdict.UNKNOWN, "boat": Verdict.UNKNOWN}
        current = session.ledger.tasks.current(NAME)
        dog, boat = current["dog"], current["boat"]
        assert dog.resolves_itself
        assert dog.client_reference == client_reference(LEDGER, NAME, "dog", dog.digest, 1)
        assert not boat.resolves_itself
        assert session.ledger.spent(NAME, "", NOW, "simulator").total_usd == pytest.approx(0.1)
        words = describe_trouble(boat, session.commands)
        since = iso(NOW + 3 - session.options.pace.task_deadline_seconds)
        for part in (
            "may have been paid for", "no budget counts it", "pixwith's console", since, long[:30],
            "pixverse-dagster tasks resolve boat --adopt TASK_ID", "pixverse-dagster ledger rebuild --nothing-pending",
        ):  # fmt: skip
            assert part in words
        assert long not in words
        found = session.ledger.adopt(boat, "t-boat", NOW, "a person, today")
        assert session.ledger.tasks.current(NAME)["boat"].task_id == "t-boat", found
        assert task_cost(dog).usd is None
        session.ledger.adopt(dog, "t-dog", NOW, "a person, today")
        # From now on it is known that it was paid for.
        assert session.ledger.spent(NAME, "", NOW, "simulator").total_usd == pytest.approx(0.1 + 0.1121)


def test_a_person_who_looked_frees_the_rows(tmp_path: Path, store: LocalStore):
    """At once, or after it was first said that they may have been pending; what is known stays known."""
    lost(store, make_row("kite"))
    rows = [cells_of("kite"), cells_of("dog"), cells_of("boat", PIXWITH)]
    with opened(tmp_path / "one", *rows) as session:
        assert rebuild(session, store, Wish(nothing_pending=True)).counts == {Outcome.TAKEN_IN: 1, Outcome.NEW: 2}
        assert (verdicts(session)["dog"], session.ledger.id) == (Verdict.NEW, LEDGER)
    with opened(tmp_path / "two", *rows) as session:
        rebuild(session, store, Wish())
        shown = rebuild(session, store, Wish(nothing_pending=True), dry_run=True)
        assert verdicts(session)["dog"] is Verdict.UNKNOWN
        done = rebuild(session, store, Wish(nothing_pending=True))
        assert outcomes(done) == outcomes(shown)
        assert done.counts == {Outcome.KNOWN: 1, Outcome.NOT_PENDING: 2}
        assert verdicts(session) == {"kite": Verdict.STORED, "dog": Verdict.AGAIN, "boat": Verdict.AGAIN}
        decisions = [task.decision or "" for task in session.ledger.tasks.find(NAME, [TaskState.REFUSED])]
        assert all(decision.endswith("ledger rebuild --nothing-pending") for decision in decisions)


def test_a_second_deployment_keeps_its_own_id(tmp_path: Path, store: LocalStore):
    """The other ledger is in use: its clips count, its rows are not held back, and its id stays its own."""
    lost(store, make_row("kite"))
    with opened(tmp_path / "new", cells_of("kite"), cells_of("dog")) as session:
        own = session.ledger.id
        done = rebuild(session, store, Wish(beside=True))
        assert done.counts == {Outcome.TAKEN_IN: 1, Outcome.NEW: 1}
        assert (session.ledger.id, session.ledger.ledgers.acknowledged) == (own, {LEDGER: "beside"})
        assert session.ledger.tasks.current(NAME)["kite"].paid_by == LEDGER
        assert rebuild(session, store, Wish()).counts == {Outcome.KNOWN: 1, Outcome.NEW: 1}


def test_of_several_ledgers_a_person_says_which(tmp_path: Path, store: LocalStore):
    """Nothing is changed before; the message has the commands, and an id that nobody has is refused."""
    lost(store, make_row("kite"), ledger="older")
    lost(store, make_row("dog"), ledger="newer")
    with opened(tmp_path / "new", cells_of("kite"), cells_of("dog")) as session:
        before = everything(session)
        with pytest.raises(PixverseError) as refused:
            rebuild(session, store, Wish())
        for part in ("2 ledgers", "nothing was changed", "ledger rebuild --ledger newer", "--beside --ledger older"):
            assert part in str(refused.value)
        with pytest.raises(PixverseError, match="no ledger 'nobody'"):
            rebuild(session, store, Wish("nobody"))
        assert everything(session) == before
        rebuild(session, store, Wish("older", beside=True))
        rebuild(session, store, Wish())
        assert session.ledger.id == "newer"
        assert set(verdicts(session).values()) == {Verdict.STORED}


@pytest.mark.parametrize("beside", [True, False])
def test_what_was_said_of_a_ledger_is_not_said_again(tmp_path: Path, store: LocalStore, *, beside: bool):
    """The same command once more: rows that came into the table since then are new ones, and are not held back."""
    lost(store, make_row("kite"), ledger="older")
    with opened(tmp_path / "new", cells_of("kite")) as session:
        rebuild(session, store, Wish("older", beside=beside))
    with opened(tmp_path / "new", cells_of("kite"), cells_of("dog")) as session:
        done = rebuild(session, store, Wish("older", beside=beside))
        assert sorted(outcomes(done)) == [("dog", Outcome.NEW), ("kite", Outcome.KNOWN)]


def test_a_ledger_that_was_in_use_may_be_lost_later(tmp_path: Path, store: LocalStore):
    """Then its rows may have been pending, as those of any lost one."""
    lost(store, make_row("kite"))
    with opened(tmp_path / "new", cells_of("kite"), cells_of("dog")) as session:
        rebuild(session, store, Wish(beside=True))
        done = rebuild(session, store, Wish(LEDGER))
        assert sorted(outcomes(done)) == [("dog", Outcome.MAY_BE_PENDING), ("kite", Outcome.KNOWN)]
        assert session.ledger.id == LEDGER


@pytest.mark.parametrize("model", sorted(CELLS))
def test_what_was_deleted_is_taken_in_whatever_its_model(tmp_path: Path, store: LocalStore, model: str):
    """Its words are nowhere any more, and its task can be read all the same."""
    enter_store(store, LEDGER, NAME)
    row = make_row("gone", model)
    tombstone = bury_task(task_of(row), LEDGER, "a person, today", NOW)
    key = f"{NAME}/clips/gone/{row.digest[:12]}-t1/tombstone.json"
    assert put_document(store, key, tombstone.model_dump_json().encode())
    with opened(tmp_path / "new", cells_of("kite")) as session:
        rebuild(session, store, Wish(nothing_pending=True))
        (task,) = session.ledger.tasks.find(NAME)
        assert (task.state, task.request.MODEL) == (TaskState.FORGOTTEN, model)


def test_a_pipeline_of_the_lost_ledger_is_unread_until_it_is_rebuilt(tmp_path: Path, store: LocalStore):
    """The id alone says nothing of the other's rows: they are kept from being paid for in the same way."""
    lost(store, make_row("kite"))
    enter_store(store, LEDGER, "posters")
    with opened(tmp_path / "new", cells_of("dog")) as session:
        rebuild(session, store, Wish())
        assert session.ledger.ledgers.unread == {"posters"}
        posters = replace(session, pipeline=replace(session.pipeline, name="posters"))
        done = rebuild(posters, store, Wish())
        assert (outcomes(done), session.ledger.ledgers.unread) == ([("dog", Outcome.MAY_BE_PENDING)], frozenset())


def test_a_ledger_of_yesterday_beside_a_store_of_today(tmp_path: Path, store: LocalStore):
    """What was pending then and is stored now is stored; rows that were submitted since may be pending."""
    kite, dog = make_row("kite"), make_row("dog")
    rows = [cells_of("kite"), cells_of("dog"), cells_of("boat", PIXWITH)]
    with opened(tmp_path / "backup", *rows) as session:
        ledger = session.ledger
        lost(store, ledger=ledger.id)
        put_row(ledger, kite)
        terms = ClaimTerms("run-1", NOW, 60, 0.1, account=session.clients["runware"].account, world="simulator")
        task, _ = ledger.claim(NAME, kite, terms)
        task = ledger.accept(task, Accepted("t-kite"), NOW, NOW).task
        put_manifest(store, manifest_for(kite, ledger=ledger.id, task_id="t-kite", account=task.account,
                                         client_reference=task.client_reference))  # fmt: skip
        put_manifest(store, manifest_for(dog, ledger=ledger.id))
        entry = {"ledger_id": ledger.id, "pipelines": [NAME], "epoch": 4}
        Path(store.uri(f"ledgers/{ledger.id}.json")).write_text(json.dumps(entry))
        shown = rebuild(session, store, Wish(), dry_run=True)
        done = rebuild(session, store, Wish())
        assert without_ids(shown) == without_ids(done)
        assert sorted(outcomes(done)) == [
            ("boat", Outcome.MAY_BE_PENDING),
            ("dog", Outcome.TAKEN_IN),
            ("kite", Outcome.COMPLETED),
        ]
        assert ledger.tasks.refresh(task).state is TaskState.STORED
        assert ledger.ledgers.epoch == 4
        assert rebuild(session, store, Wish()).counts == {Outcome.KNOWN: 2, Outcome.MAY_BE_PENDING: 1}


def test_what_cannot_be_taken_in_is_named_and_stops_nothing(tmp_path: Path, store: LocalStore):
    """A damaged manifest, one of an unknown model, one of a task that the ledger has as another row's."""
    kite, dog, boat, own = (make_row(one) for one in ("kite", "dog", "boat", "own"))
    lost(store, kite)
    assert put_document(store, f"{NAME}/clips/broken/0123456789ab-t1/manifest.json", b"{")
    put_manifest(store, manifest_for(dog).model_copy(update={"model": "highway/pixverse-v9"}))
    put_manifest(store, manifest_for(boat, task_id="t-own"))
    with opened(tmp_path / "new", *(cells_of(row.id) for row in (kite, dog, boat, own))) as session:
        put_row(session.ledger, own)
        terms = ClaimTerms("run-1", NOW, 60, 0.1, account=session.clients["runware"].account, world="simulator")
        session.ledger.accept(session.ledger.claim(NAME, own, terms)[0], Accepted("t-own"), NOW, NOW)
        done = rebuild(session, store, Wish())
        notes = {line.row: line.note for line in done.lines if line.outcome is Outcome.SKIPPED}
        assert notes.keys() == {"broken", "dog", "boat"}
        assert "does not know the model" in notes["dog"]
        assert "task t-own as submitted, of row 'own'" in notes["boat"]
        assert ("kite", Outcome.TAKEN_IN) in outcomes(done)


def test_what_was_deleted_on_demand_stays_deleted(tmp_path: Path, store: LocalStore):
    """With its cost: neither shown nor paid for again."""
    kite, gone = make_row("kite"), make_row("gone", prompt="its words are nowhere")
    enter_store(store, LEDGER, NAME)
    for row in (kite, gone):
        tombstone = bury_task(task_of(row), LEDGER, "a person, today", NOW)
        key = f"{NAME}/clips/{row.id}/{row.digest[:12]}-t1/tombstone.json"
        assert put_document(store, key, tombstone.model_dump_json().encode())
    with opened(tmp_path / "new", cells_of("kite")) as session:
        done = rebuild(session, store, Wish())
        assert sorted(outcomes(done)) == [("gone", Outcome.FORGOTTEN), ("kite", Outcome.FORGOTTEN)]
        assert verdicts(session) == {"kite": Verdict.FORGOTTEN}
        assert session.ledger.spent(NAME, "", NOW, "simulator").total_usd == pytest.approx(0.2)
        assert rebuild(session, store, Wish()).counts == {Outcome.KNOWN: 2}


def test_what_was_made_in_the_other_world_is_known_and_does_not_count(tmp_path: Path, store: LocalStore):
    """The row's clip of a real provider is taken in; for a pipeline that works with a simulator it has none."""
    lost(store, make_row("kite"), world="live", account="runware/live")
    with opened(tmp_path / "new", cells_of("kite")) as session:
        done = rebuild(session, store, Wish())
        assert sorted(outcomes(done)) == [("kite", Outcome.MAY_BE_PENDING), ("kite", Outcome.TAKEN_IN)]
        assert session.ledger.spent(NAME, "", NOW, "live").total_usd == pytest.approx(0.1)
        assert session.ledger.spent(NAME, "", NOW, "simulator").total_usd == 0


# --- rows that were pending when their ledger was lost


def test_what_was_pending_at_runware_is_found_by_itself_and_not_paid_for_again(
    tmp_path: Path, store: LocalStore, server: Simulator
):
    """Under the references of the lost ledger, also where a refused submit had come before; then stored like any."""
    rows = [cells_of("kite"), cells_of("dog"), cells_of("boat")]
    kite, dog, boat = (make_row(one) for one in ("kite", "dog", "boat"))
    with opened(tmp_path / "lost", *rows, url=server.url) as session:
        record_rows(session.ledger, [dog])
        terms = ClaimTerms("run-1", NOW, 60, 0.1, account=session.clients["runware"].account, world="simulator")
        session.ledger.refuse(session.ledger.claim(NAME, dog, terms)[0], "no credit left")
        submit_all(session, [kite, dog, boat])
        tasks = poll_until(session, lambda found: all(t.state is not TaskState.SUBMITTED for t in found))
        first = next(task for task in tasks if task.row == "kite")
        assert collect_all(session, store, [first])["kite"].manifest
        lost_id = session.ledger.id
    charged = len(server.tasks())
    with opened(tmp_path / "new", *rows, url=server.url) as session:
        done = rebuild(session, store, Wish())
        assert done.counts == {Outcome.TAKEN_IN: 1, Outcome.MAY_BE_PENDING: 2}
        poll_until(session, lambda found: all(t.state in {TaskState.SUCCEEDED, TaskState.STORED} for t in found))
        current = session.ledger.tasks.current(NAME)
        assert current["boat"].task_id == client_reference(lost_id, NAME, "boat", boat.digest, 1)
        assert current["dog"].task_id == client_reference(lost_id, NAME, "dog", dog.digest, 2)
        collected = collect_all(session, store, [current["dog"], current["boat"]])
        assert [one.problem for one in collected.values()] == ["", ""]
        assert verify(session.ledger, store, NAME).disagreements == ()
        assert set(verdicts(session).values()) == {Verdict.STORED}
        assert submit_all(session, [kite, dog, boat])["dog"].task == session.ledger.tasks.current(NAME)["dog"]
    assert len(server.tasks()) == charged == 3


def test_a_row_that_was_never_sent_needs_a_person_after_the_deadline(
    tmp_path: Path, store: LocalStore, server: Simulator
):
    """Runware answers alike about unknown and running ids: until then it is asked about, and nothing is sent for it."""
    lost(store, make_row("kite"))
    clock = Clock()
    with opened(tmp_path / "new", cells_of("kite"), cells_of("dog"), url=server.url, clock=clock) as session:
        rebuild(session, store, Wish())
        poll_due(session, 10)
        dog = session.ledger.tasks.current(NAME)["dog"]
        assert (dog.state, dog.resolves_itself, dog.polls) == (TaskState.UNKNOWN, True, 1)
        clock.ahead_seconds = session.options.pace.task_deadline_seconds + 1
        poll_due(session, 10)
        dog = session.ledger.tasks.current(NAME)["dog"]
        assert (dog.state, dog.resolves_itself) == (TaskState.UNKNOWN, False)
        assert "ledger rebuild --nothing-pending" in describe_trouble(dog, session.commands)
        assert submit_all(session, [make_row("dog")])["dog"].sent is False
    assert server.tasks() == []


def test_what_was_pending_elsewhere_is_adopted_by_a_person(tmp_path: Path, store: LocalStore, server: Simulator):
    """Pixwith knows none of our references: nothing is sent until its id is given, and then it is stored."""
    row = make_row("boat", PIXWITH)
    with opened(tmp_path / "lost", url=server.url) as session:
        enter_store(store, session.ledger.id, NAME)
        task_id = submit_all(session, [row])["boat"].task
    assert task_id is not None
    with opened(tmp_path / "new", cells_of("boat", PIXWITH), url=server.url) as session:
        rebuild(session, store, Wish())
        assert submit_all(session, [row])["boat"].sent is False
        boat = session.ledger.tasks.current(NAME)["boat"]
        moved(adopt(session, boat, task_id.task_id or "", "a person, today"))
        (task,) = poll_until(session, lambda found: all(t.state is TaskState.SUCCEEDED for t in found))
        assert collect_all(session, store, [task])["boat"].manifest
        assert rebuild(session, store, Wish()).counts == {Outcome.KNOWN: 1}
    assert len(server.tasks()) == 1


def test_a_manifest_whose_list_of_attempts_leaves_out_its_own_is_taken_in_all_the_same(
    tmp_path: Path, store: LocalStore
):
    """The rest of it tells of the attempt; one such manifest keeps no ledger from being made again."""
    row = make_row("kite")
    manifest = manifest_for(row, ledger=LEDGER)
    enter_store(store, LEDGER, NAME)
    put_manifest(store, manifest.model_copy(update={"attempts": ()}))
    with opened(tmp_path / "ledger", cells_of("kite")) as session:
        assert outcomes(rebuild(session, store, Wish())) == [("kite", Outcome.TAKEN_IN)]
        (task,) = session.ledger.tasks.find(NAME)
    assert (task.state, task.task_id, task.attempt) == (TaskState.STORED, manifest.task_id, manifest.attempt)
    assert task.cost_usd == manifest.cost.usd or manifest.cost.source != "provider"
