"""Keys and accounts: what belongs to one account is never replayed, settled, adopted or ended by another's answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import pytest

from pixverse_dagster.core.lifecycle import FailureKind, TaskState
from pixverse_dagster.core.task import Task
from pixverse_dagster.policy.identity import Standing
from pixverse_dagster.policy.quality import CheckRules
from pixverse_dagster.stages.adopt import AdoptionUnanswered, adopt
from pixverse_dagster.stages.collect import collect_tasks
from pixverse_dagster.stages.poll import PollReport, poll_due
from pixverse_dagster.stages.resolve import resolve_rows
from pixverse_dagster.stages.sending import Sending
from pixverse_dagster.stages.session import Session
from pixverse_dagster.stages.standing import find_standing
from pixverse_dagster.storage.local import LocalStore
from pixverse_dagster_tests.harness.factories import (
    HIGHWAY,
    NAME,
    PIXWITH,
    QUICK,
    RUNWARE,
    Clock,
    Setup,
    deliver,
    make_row,
    make_rows,
    moved,
    poll_until,
    record_rows,
    session_in,
    submit_all,
    succeeded_tasks,
)
from pixverse_dagster_tests.harness.servers import Simulator, StartSimulator

KEYS = {"first-key": "a", "rotated-key": "a", "foreign-key": "b"}
FIRST, ROTATED, FOREIGN = KEYS
MODELS = (RUNWARE, HIGHWAY, PIXWITH)
OPEN_SLOTS = 15
DAYS = 3 * 86_400
Open = Callable[..., AbstractContextManager[Session]]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def open_with(tmp_path: Path, clock: Clock) -> Open:
    """A function that opens the home's session with a key, as a process that has this key now would."""

    def open_(server: Simulator, key: str, **setup: object) -> AbstractContextManager[Session]:
        return session_in(tmp_path, server.url, Setup(key, **setup), clock)  # pyright: ignore[reportArgumentType]

    return open_


def poll_for_days(session: Session, clock: Clock) -> PollReport:
    """Poll again and again, past every time limit that a task has."""
    for _ in range(3):
        clock.ahead_seconds += DAYS
        poll_due(session, 10)
    clock.ahead_seconds += DAYS
    return poll_due(session, 10)


def states(session: Session) -> Counter[TaskState]:
    return Counter(task.state for task in session.ledger.tasks.find(NAME))


def test_a_rotated_key_goes_on_by_itself(simulator: StartSimulator, open_with: Open, tmp_path: Path):
    """Tasks are pending and as many rows wait when the key changes: everything is stored, and charged once."""
    server, rows = simulator(generation_seconds=0.5, keys=KEYS), make_rows(2 * OPEN_SLOTS)
    setup = {"max_open_tasks": OPEN_SLOTS, "checks": CheckRules(enabled=False)}
    with open_with(server, FIRST, **setup) as session:
        sent = submit_all(session, rows)
        assert Counter(bool(one.waits) for one in sent.values()) == {True: OPEN_SLOTS, False: OPEN_SLOTS}
    with open_with(server, ROTATED, **setup) as session:
        account = session.clients["runware"].account
        assert session.ledger.accounts.open_tasks([account], session.clock()) == {account: OPEN_SLOTS}
        _, problems = deliver(session, LocalStore(tmp_path), [row.id for row in rows], 120)
        assert problems == []
        assert states(session) == {TaskState.STORED: len(rows)}
        keys = session.ledger.accounts.find_keys(account)
        assert (len(keys), len({key.identity for key in keys})) == (2, 1)
    assert len(server.tasks()) == len(rows)


def test_under_another_accounts_key_pending_tasks_stay_as_they_are(
    simulator: StartSimulator, open_with: Open, clock: Clock, tmp_path: Path
):
    """Days of polls end nothing, whatever missing_seconds says; they are named, and go on with the right key."""
    server = simulator(generation_seconds=0, keys=KEYS)
    rows = [make_row(f"{number}-{model[:3]}", model) for model in MODELS for number in range(2)]
    with open_with(server, FIRST) as session:
        submit_all(session, rows)
    with open_with(server, FOREIGN, pace=replace_pace(missing_seconds=0.1, task_deadline_seconds=0.2)) as session:
        report = poll_for_days(session, clock)
        assert states(session) == {TaskState.SUBMITTED: len(rows)}
        assert "2 tasks belong to account runware/simulator under key" in str(report)
        assert "accounts confirm highway/simulator" in report.aside
        assert not report.ended
    with open_with(server, FIRST) as session:
        assert deliver(session, LocalStore(tmp_path), [row.id for row in rows], 60)[1] == []
        assert poll_due(session, 1).aside == ""
    assert {task["account"] for task in server.tasks()} == {"a"}
    assert len(server.tasks()) == len(rows)


def replace_pace(**values: float) -> object:
    return QUICK.model_copy(update=values)


@pytest.mark.parametrize("arrived", [True, False], ids=["arrived", "never arrived"])
def test_a_submit_of_unknown_outcome_is_replayed_at_its_own_account_only(
    simulator: StartSimulator, open_with: Open, clock: Clock, tmp_path: Path, *, arrived: bool
):
    """Within the replay window under another account's key it is asked about, and never sent; with its own, it ends."""
    server, row = simulator(generation_seconds=0, keys=KEYS), make_row("kite", RUNWARE)
    with open_with(server, FIRST) as session:
        record_rows(session.ledger, [row])
        sending = Sending(session, session.clients["runware"], row, lambda: None)
        _ = session.clients["runware"].submit(sending.begin) if arrived else sending.begin()
        sending.doubt("no answer came", session.clock())
    with open_with(server, FOREIGN) as session:
        for _ in range(3):
            clock.ahead_seconds += 5
            poll_due(session, 10)
            list(resolve_rows(session, ["kite"]))
        assert states(session) == {TaskState.UNKNOWN: 1}
        assert session.ledger.tasks.unresolved(NAME) == [], "no person is asked to look"
    assert [task["account"] for task in server.tasks()] == ["a"] * arrived
    with open_with(server, FIRST) as session:
        assert deliver(session, LocalStore(tmp_path), ["kite"], 60)[1] == []
    assert [task["account"] for task in server.tasks()] == ["a"]
    assert server.tasks()[0]["outputs"][0]["downloads"] == 1


def test_a_failure_that_names_the_task_shows_whose_it_is(simulator: StartSimulator, open_with: Open):
    """As a finished task does: the account is the same."""
    server = simulator(generation_seconds=0, faults={"task.failed": 1.0}, keys=KEYS)
    with open_with(server, FIRST) as session:
        submit_all(session, [make_row(model[:3], model) for model in MODELS])
    with open_with(server, ROTATED) as session:
        found = poll_until(session, lambda tasks: all(task.state is TaskState.FAILED for task in tasks))
        assert {task.kind for task in found} == {FailureKind.PROVIDER_ERROR}
        assert {find_standing(session, task) for task in found} == {Standing.OWN}


def test_processing_shows_nothing_and_a_person_may_say_so(simulator: StartSimulator, open_with: Open, clock: Clock):
    """Under a rotated key a task that is still being made is never given up; once confirmed, it is like any other."""
    server = simulator(generation_seconds=600, keys=KEYS)
    with open_with(server, FIRST) as session:
        submit_all(session, [make_row(model[:3], model) for model in MODELS])
    with open_with(server, ROTATED) as session:
        poll_for_days(session, clock)
        assert states(session) == {TaskState.SUBMITTED: 3}
        for task in session.ledger.tasks.find(NAME):
            present = session.clients[task.provider].provider.fingerprint(session.ledger.salt)
            session.ledger.accounts.confirm(task.account, present, [task.key], session.clock())
        assert poll_for_days(session, clock).aside == ""
        assert states(session) == {TaskState.FAILED: 3}, "past their deadline, as with the first key"


def test_a_result_whose_links_are_gone_is_not_given_up_under_another_key(
    simulator: StartSimulator, open_with: Open, clock: Clock, tmp_path: Path
):
    """Its own key may still get fresh links. A download needs no key, and is made under any."""
    server, store = simulator(generation_seconds=0, faults={"media.expired": 1.0}, keys=KEYS), LocalStore(tmp_path)
    with open_with(server, FIRST) as session:
        (task,) = succeeded_tasks(session, make_rows(1))
    clock.ahead_seconds += DAYS
    with open_with(server, FOREIGN) as session:
        (collected,) = collect_tasks(session, store, [task])
        assert (collected.manifest, collected.task.state) == (None, TaskState.SUCCEEDED)
    with open_with(server, FIRST) as session:
        (collected,) = collect_tasks(session, store, [task])
        assert (collected.task.state, collected.task.kind) == (TaskState.FAILED, FailureKind.EXPIRED)


def test_an_id_is_adopted_under_a_key_only_if_its_answer_shows_whose_it_is(simulator: StartSimulator, open_with: Open):
    """Another account does not know it, and one that is renamed is not asked; a finished task of the same one does."""
    server = simulator(generation_seconds=0, faults={"submit.lost_response": 1.0}, keys=KEYS)
    with open_with(server, FIRST) as session:
        submit_all(session, [make_row("kite", HIGHWAY)])
    task_id = server.tasks()[0]["task_id"]

    def unknown(session: Session) -> Task:
        return session.ledger.tasks.unresolved(NAME)[0]

    for setup in ({}, {"account": "studio"}):
        with open_with(server, FOREIGN, **setup) as session, pytest.raises(AdoptionUnanswered):
            adopt(session, unknown(session), task_id, "by hand")
    with open_with(server, ROTATED) as session:
        assert moved(adopt(session, unknown(session), task_id, "by hand")).state is TaskState.SUBMITTED
        poll_until(session, lambda tasks: all(task.state is TaskState.SUCCEEDED for task in tasks))


def test_a_submit_that_perhaps_never_was_needs_a_person_in_the_end(
    simulator: StartSimulator, open_with: Open, clock: Clock
):
    """Of a ledger that was lost, nobody knows under which key: it is asked about until the deadline, never sent."""
    server, row = simulator(generation_seconds=0, keys=KEYS), make_row("kite", RUNWARE)
    with open_with(server, FIRST) as session:
        record_rows(session.ledger, [row])
        sending = Sending(session, session.clients["runware"], row, lambda: None)
        sending.begin()
        lost, now = sending.claimed, session.clock()
    with open_with(server, FIRST, account="studio") as session:
        found = replace(
            lost,
            id="found",
            row="lost",
            client_reference="7" * 8 + "-7777-4777-8777-" + "7" * 12,
            account=session.clients["runware"].account,
            key="",
            state=TaskState.UNKNOWN,
            found_at=now,
            next_poll_at=now,
        )
        moved(session.ledger.restore(found))
        poll_due(session, 5)
        assert session.ledger.tasks.unresolved(NAME) == []
        assert server.requests()["runware"]["poll"], "it was asked about"
        clock.ahead_seconds += DAYS
        assert "found" in {task.id for task in poll_due(session, 5).ended}
        assert "found" in {task.id for task in session.ledger.tasks.unresolved(NAME)}
    assert server.tasks() == []


def test_an_account_of_another_name_is_another_one_unless_the_key_is_the_same(
    simulator: StartSimulator, open_with: Open, clock: Clock
):
    """A name that is given later changes nothing; with another name and key, nothing is asked and all is named."""
    server = simulator(generation_seconds=0, keys=KEYS)
    with open_with(server, FIRST) as session:
        submit_all(session, make_rows(2))
    with open_with(server, ROTATED, account="studio") as session:
        polls = server.requests()["runware"].get("poll", {})
        report = poll_for_days(session, clock)
        assert server.requests()["runware"].get("poll", {}) == polls
        assert report.aside.startswith("2 tasks belong to account runware/simulator, and this pipeline works with")
    with open_with(server, FIRST, account="studio") as session:
        poll_until(session, lambda tasks: all(task.state is TaskState.SUCCEEDED for task in tasks))
