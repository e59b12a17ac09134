"""Everything that a task, a row, a slot, a wait or a hold can be in has an end: by itself, or by what a person does.

Each condition is brought about, and then brought to its end, by the code that `policy.endings` names for it.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pixverse_dagster.core import errors
from pixverse_dagster.core.errors import PixverseError, Refused
from pixverse_dagster.core.lifecycle import OCCUPIES_SLOT, FailureKind, TaskState
from pixverse_dagster.core.outcomes import Failed, Succeeded
from pixverse_dagster.core.task import AccountHold, HoldCause, Task, latest
from pixverse_dagster.ledger.pauses import Pause
from pixverse_dagster.ledger.schema import metadata
from pixverse_dagster.policy.budget import Budget
from pixverse_dagster.policy.endings import HOLDS, MOMENTS, ROWS, SLOTS, TASKS, WAITS, condition
from pixverse_dagster.policy.plan import Verdict
from pixverse_dagster.stages.collect import collect_tasks
from pixverse_dagster.stages.poll import poll_due
from pixverse_dagster.stages.queue import find_room
from pixverse_dagster.stages.resolve import resolve_rows
from pixverse_dagster.stages.sending import Sending
from pixverse_dagster.stages.session import Session
from pixverse_dagster.stages.submit import submit_rows
from pixverse_dagster.storage.local import LocalStore
from pixverse_dagster.transport.sender import Limits
from pixverse_dagster_tests.harness.factories import (
    HIGHWAY,
    NAME,
    QUICK,
    RUNWARE,
    Clock,
    Setup,
    make_row,
    record_rows,
    session_in,
)
from pixverse_dagster_tests.harness.servers import Simulator, StartSimulator

DEAD = "http://127.0.0.1:9"
"""A port that nobody listens at."""
ANOTHER_KEY = "k3y-of-somebody-else"
DAY = 86_400.0
BY_HAND = "by hand"


class World:
    """A home with one row, a simulator, and a clock that is set by hand."""

    def __init__(self, folder: Path, server: Simulator) -> None:
        self.folder, self.server, self.clock = folder, server, Clock()
        self.store = LocalStore(folder / "clips")

    @contextmanager
    def session(self, *, url: str = "", **setup: Any) -> Generator[Session]:
        """A session; with `url`, one whose providers are elsewhere."""
        quick = Setup(limits=Limits(connect_timeout_seconds=2, submit_timeout_seconds=10), **setup)
        with session_in(self.folder, url or self.server.url, quick, self.clock) as session:
            yield session

    def task(self) -> Task:
        """The task that answers for the row."""
        with self.session() as session:
            return session.ledger.tasks.current(NAME, ["kite"])["kite"]

    def submit(self, model: str = RUNWARE, **setup: Any) -> None:
        with self.session(**setup) as session:
            list(submit_rows(session, record_rows(session.ledger, [make_row(model=model)])))

    def submit_again(self) -> None:
        with self.session() as session:
            list(submit_rows(session, ["kite"]))

    def poll(self, ahead_seconds: float = 1, **setup: Any) -> None:
        """Poll when so much time has passed."""
        self.clock.ahead_seconds += ahead_seconds
        with self.session(**setup) as session:
            poll_due(session, 10)

    def collect(self, ahead_seconds: float = 1, **setup: Any) -> None:
        self.clock.ahead_seconds += ahead_seconds
        with self.session(**setup) as session:
            list(collect_tasks(session, self.store, [self.task()]))

    def claim(self, model: str = RUNWARE) -> None:
        """Claim the row, and die before anything is sent."""
        with self.session() as session:
            row = make_row(model=model)
            record_rows(session.ledger, [row])
            Sending(session, session.clients[row.request.provider()], row, lambda: None).begin()

    def resolve(self) -> None:
        """What a run does that a tick asks for."""
        with self.session() as session:
            list(resolve_rows(session, ["kite"]))

    def due(self) -> list[str]:
        """The rows of the queue whose turn it is."""
        with self.session() as session:
            return [entry.row for entry in session.ledger.queue.due(NAME, session.clock(), session.worlds)]

    def refuse(self) -> None:
        """The provider refuses the row: nothing is paid for."""
        self.claim()
        self.by_hand(lambda s, task: s.ledger.refuse(task, "as it is said"))

    def by_hand(self, decide: Callable[[Session, Task], object]) -> None:
        """What a command does, in the ledger."""
        with self.session() as session:
            decide(session, session.ledger.tasks.current(NAME, ["kite"])["kite"])

    def another_take(self) -> None:
        """What `tasks retry ROW --take` does."""
        with self.session() as session:
            session.ledger.rows.raise_take(NAME, "kite")

    def fail(self, kind: FailureKind) -> None:
        """Submit, and have it fail."""
        self.submit()
        self.by_hand(lambda s, task: s.ledger.fail(task, Failed(kind, "as it is said"), s.clock()))

    def stall(self) -> None:
        """Nobody can be asked about the task, for longer than its deadline."""
        self.submit()
        self.poll(url=DEAD)
        self.poll(2 * DAY, url=DEAD)

    def finish(self) -> None:
        """Submit, and have the clips ready."""
        self.submit()
        self.poll()


def unknown(world: World, model: str) -> None:
    """The answer to the submit never came."""
    world.claim(model)
    world.poll(QUICK.claim_lease_seconds + 1)


def presumed(world: World) -> None:
    """A lost ledger may have paid for it."""
    world.claim()
    with world.session() as session:
        task = session.ledger.tasks.current(NAME, ["kite"])["kite"]
        lost = {"state": TaskState.UNKNOWN, "found_at": session.clock(), "claim": 2, "lease_until": None}
        session.ledger.abandon(latest(session.ledger.mark_unknown(task, "gone", None)), "", BY_HAND)
        session.ledger.restore(replace(task, id="2", client_reference="another", next_poll_at=session.clock(), **lost))


def of_another_key(world: World) -> None:
    world.submit()
    world.poll(key=ANOTHER_KEY)


def not_shown(world: World) -> None:
    world.submit()
    world.server.reset()
    world.poll()


def unreachable(world: World) -> None:
    """The clips are ready at a host that cannot be reached."""
    world.submit()
    elsewhere = Succeeded((f"{DEAD}/1.mp4",), 0.1, (None,))
    world.by_hand(lambda s, task: s.ledger.succeed(task, elsewhere, s.clock()))


Step = Callable[[World], object]
CASES: dict[str, tuple[Step, Step, str]] = {
    # how it comes about, what ends it, and what it is then
    "claimed": (World.claim, lambda w: w.poll(QUICK.claim_lease_seconds + 1), "unknown, asked about"),
    "unknown, asked about": (lambda w: unknown(w, RUNWARE), World.resolve, "submitted"),
    "unknown, presumed": (presumed, lambda w: w.poll(2 * DAY), "unknown"),
    "unknown": (
        lambda w: unknown(w, HIGHWAY),
        lambda w: w.by_hand(lambda s, task: s.ledger.set_not_accepted(task, "not there", s.clock(), BY_HAND)),
        "refused",
    ),
    "submitted": (World.submit, World.poll, "succeeded"),
    "submitted, not shown": (not_shown, lambda w: w.poll(DAY), "failed (lost)"),
    "submitted, of another key": (of_another_key, lambda w: w.poll(1000), "succeeded"),
    "submitted, unread": (
        lambda w: (w.submit(), w.poll(url=DEAD)),
        lambda w: w.poll(2 * DAY, url=DEAD),
        "submitted, stalled",
    ),
    "submitted, stalled": (World.stall, lambda w: w.poll(1000), "succeeded"),
    "succeeded": (World.finish, World.collect, "stored"),
    "succeeded, stalled": (
        lambda w: (unreachable(w), w.collect(2 * DAY, url=DEAD)),
        lambda w: w.by_hand(lambda s, task: s.ledger.abandon(task, "", BY_HAND)),
        "abandoned",
    ),
    "stored": (lambda w: (w.finish(), w.collect()), lambda w: (w.another_take(), w.submit_again()), "submitted"),
    "forgotten": (
        lambda w: (w.finish(), w.collect(), w.by_hand(lambda s, task: s.ledger.forget(task, BY_HAND))),
        lambda w: (w.another_take(), w.submit_again()),
        "submitted",
    ),
    "refused": (World.refuse, World.submit_again, "submitted"),
    "abandoned": (
        lambda w: (w.submit(), w.by_hand(lambda s, task: s.ledger.abandon(task, "", BY_HAND))),
        lambda w: (w.by_hand(lambda s, task: s.ledger.release(task, BY_HAND)), w.submit_again()),
        "submitted",
    ),
    **{
        f"failed ({kind})": (
            lambda w, kind=kind: w.fail(kind),
            lambda w: (w.by_hand(lambda s, task: s.ledger.release(task, BY_HAND)), w.submit_again()),
            "submitted",
        )
        for kind in FailureKind
    },
}


def test_every_condition_of_a_task_is_named_with_what_ends_it():
    """Every state and every kind of failure, whatever else is known of it."""
    known = {name.split(",")[0] for name in TASKS}
    assert known == {str(s) for s in TaskState if s is not TaskState.FAILED} | {f"failed ({k})" for k in FailureKind}
    assert set(CASES) == set(TASKS)
    assert all(ending.by_itself or ending.by_person for ending in TASKS.values())


@pytest.mark.parametrize("name", TASKS)
def test_a_condition_of_a_task_comes_to_its_end(
    name: str, tmp_path: Path, server: Simulator, simulator: StartSimulator
):
    """It comes about, and what is named for it ends it."""
    if name == "submitted, of another key":
        server = simulator(generation_seconds=0, keys={"simulator": "a", ANOTHER_KEY: "b"})
    world = World(tmp_path, server)
    arrange, end, after = CASES[name]
    arrange(world)
    assert condition(world.task()) == name
    end(world)
    assert condition(world.task()) == after


# --- rows, waits, slots and moments


def test_every_other_condition_is_named_with_what_ends_it():
    """Whatever a plan says of a row, an error says of a submit, a slot is held by, or a machine waits for."""
    assert set(ROWS) == set(Verdict)
    assert set(HOLDS) == set(HoldCause)
    assert set(SLOTS) == OCCUPIES_SLOT | {TaskState.UNKNOWN}
    later = {
        f"{table}.{column.name}"
        for table, found in metadata.tables.items()
        for column in found.c
        if column.name.startswith("next_") or column.name.endswith(("_until", "expires_at"))
    }
    assert set(MOMENTS) == later
    endings = [*ROWS.values(), *WAITS.values(), *SLOTS.values(), *HOLDS.values()]
    assert all(ending.by_itself or ending.by_person for ending in endings)


def test_every_error_before_a_payment_leaves_the_row_its_place_or_ends_it():
    """An error class that is added has to say whether a row waits after it."""
    unpaid = {one.__name__ for one in (*PixverseError.__subclasses__(), *Refused.__subclasses__())}
    ends = {"InvalidTable", "InvalidRow", "RowChanged"}
    """The row is invalid or asks for something else: the table, read again, says what it is."""
    after = {"OutcomeUnknown", "TaskFailed", "NotReady", "ReadFailed", "ClipInvalid"}
    """Said of a task that exists."""
    public = {name for name in unpaid if hasattr(errors, name)}
    assert public == ends | after | set(WAITS)


@pytest.mark.parametrize("state", SLOTS)
def test_a_slot_is_free_again(state: TaskState, tmp_path: Path, server: Simulator):
    """A slot that a task holds is there for another one, whatever becomes of the task."""
    world = World(tmp_path, server)
    if state is TaskState.SUBMITTED:
        world.submit()
    else:
        world.claim()
    if state is TaskState.UNKNOWN:
        world.by_hand(lambda s, task: s.ledger.mark_unknown(task, "no answer", None))
    with world.session() as session:
        account = session.clients["runware"].account
        assert session.ledger.accounts.open_tasks([account], session.clock()) == {account: 1}
    world.poll(url=DEAD)
    world.poll(2 * DAY, url=DEAD)
    with world.session() as session:
        assert session.ledger.accounts.open_tasks([account], session.clock()) == {}


@pytest.mark.parametrize("cause", HOLDS)
def test_a_hold_ends_and_one_row_goes_ahead(cause: HoldCause, tmp_path: Path, server: Simulator):
    """However long it was to be: nothing is sent while it lasts, then one row is, and its acceptance ends the hold."""
    world, rows = World(tmp_path, server), [make_row("kite"), make_row("boat")]
    with world.session() as session:
        client = session.clients["runware"]
        key = client.provider.fingerprint(session.ledger.salt)
        wrong_clock = session.clock() + 30 * DAY
        session.ledger.accounts.hold(client.account, AccountHold(session.clock() + 600, 3, "as it is", cause, key), 0)
        assert find_room(session)["runware"] == 0
        record_rows(session.ledger, rows)
    world.clock.ahead_seconds += 601
    with world.session() as session:
        assert find_room(session)["runware"] == 1
        list(submit_rows(session, ["kite"]))
        assert find_room(session)["runware"] > 1
        session.ledger.accounts.hold(client.account, AccountHold(wrong_clock, 1, "as it is", cause, key), wrong_clock)
        assert find_room(session)["runware"] > 0


@pytest.mark.parametrize("cause", ["NotSent", "Unauthorized", "NoSlot", "Paused", "OverBudget"])
def test_a_row_that_waits_is_sent_when_its_cause_is_gone(cause: str, tmp_path: Path, server: Simulator):
    """It keeps its place meanwhile, and is paid for once."""
    world = World(tmp_path, server)
    sick: dict[str, Any] = {
        "NotSent": {"url": DEAD},
        "Unauthorized": {"key": "a key that nobody takes"},
        "NoSlot": {"max_open_tasks": 0},
        "OverBudget": {"budget": Budget(total_usd=0.0001)},
    }.get(cause, {})
    if cause == "Paused":
        with world.session() as session:
            session.ledger.pauses.add(Pause("all", "", "a look at the bill", session.clock()))
    world.submit(**sick)
    assert world.due() == [] or cause in {"NoSlot", "Paused"}
    if cause == "Paused":
        with world.session() as session:
            session.ledger.pauses.remove("all", "")
    world.clock.ahead_seconds += 3600
    assert world.due() == ["kite"]
    world.submit_again()
    assert condition(world.task()) == "submitted"
    assert len(server.tasks()) == 1
