"""A simulator and a real provider are two worlds: what was made in one counts for nothing in the other."""

from collections.abc import Callable
from pathlib import Path

import pytest

from pixverse_dagster.core.lifecycle import TaskState
from pixverse_dagster.core.manifest import World
from pixverse_dagster.ledger.ledger import Ledger
from pixverse_dagster.policy.budget import Budget
from pixverse_dagster.policy.plan import Verdict
from pixverse_dagster.stages.plan import plan_rows
from pixverse_dagster.stages.poll import poll_due
from pixverse_dagster.stages.queue import queue_new_rows
from pixverse_dagster.stages.session import Session
from pixverse_dagster.stages.submit import submit_rows
from pixverse_dagster.storage.local import LocalStore
from pixverse_dagster_tests.harness.factories import (
    NAME,
    Setup,
    deliver,
    make_rows,
    make_session,
    record_rows,
    submit_all,
)
from pixverse_dagster_tests.harness.servers import Simulator, StartSimulator

Open = Callable[..., Session]


@pytest.fixture
def sessions(ledger: Ledger, simulator: StartSimulator) -> tuple[Open, dict[World, Simulator]]:
    """A function that opens a session in a world; each world is a server of its own, with an audit of its own."""
    servers: dict[World, Simulator] = {
        "simulator": simulator(generation_seconds=0),
        "live": simulator(generation_seconds=0),
    }

    def open_in(world: World, **setup: object) -> Session:
        return make_session(ledger, servers[world].url, Setup(world=world, **setup))  # pyright: ignore[reportArgumentType]

    return open_in, servers


def test_what_the_simulator_made_is_paid_for_anew_live_and_back_again_nothing_is(
    ledger: Ledger, sessions: tuple[Open, dict[World, Simulator]], tmp_path: Path
):
    """The same rows in one home: stored on the simulator, then live, then back: one charge in each world."""
    (open_in, servers), store, rows = sessions, LocalStore(tmp_path), make_rows(3)
    keys = record_rows(ledger, rows)
    of: dict[World, set[str]] = {}
    for world in ("simulator", "live"):
        with open_in(world) as session:
            ledger.worlds.set(NAME, session.worlds)
            assert ledger.tasks.current(NAME) == ledger.tasks.newest_stored(NAME, keys) == {}
            assert {line.verdict for line in plan_rows(session, rows).lines} == {Verdict.NEW}
            assert ledger.rows.unsubmitted(NAME, 9) == keys
            _, problems = deliver(session, store, keys, 60)
        assert problems == []
        of[world] = {task.id for task in ledger.tasks.newest_stored(NAME, keys).values()}
    assert [len(server.tasks()) for server in servers.values()] == [3, 3]
    assert not of["simulator"] & of["live"]
    folders = {task.folder for task in ledger.tasks.find(NAME)}
    assert len(folders) == 6, "the clips of two worlds never share a folder"
    for world in ("simulator", "live"):
        with open_in(world) as session:
            assert not any(one.sent for one in submit_rows(session, keys))
            assert {line.verdict for line in plan_rows(session, rows).lines} == {Verdict.STORED}
        assert {task.id for task in ledger.tasks.newest_stored(NAME, keys).values()} == of[world]
    assert [len(server.tasks()) for server in servers.values()] == [3, 3]
    totals = [ledger.spent(NAME, "", 0, world).total_usd for world in ("simulator", "live")]
    assert totals[0] == totals[1] > 0


def test_a_simulators_charges_eat_no_live_budget(ledger: Ledger, sessions: tuple[Open, dict[World, Simulator]]):
    """A budget that the simulator has used up is whole for the real provider, in the plan as in the claim."""
    (open_in, servers), rows, budget = sessions, make_rows(2), Budget(total_usd=0.23, per_run_usd=0.23)
    for world in ("simulator", "live"):
        with open_in(world, budget=budget) as session:
            assert len([one for one in submit_all(session, rows).values() if one.sent]) == 2
    assert [len(server.tasks()) for server in servers.values()] == [2, 2]


def test_a_task_of_the_other_world_is_neither_asked_about_nor_lost(
    ledger: Ledger, sessions: tuple[Open, dict[World, Simulator]], tmp_path: Path
):
    """Pending at the real provider, the pipeline goes to the simulator and back: the tasks wait, and are stored."""
    (open_in, servers), rows = sessions, make_rows(2)
    with open_in("live") as session:
        submit_all(session, rows)
    with open_in("simulator") as session:
        assert poll_due(session, 5).asked == 0
        assert queue_new_rows(session, 9).wanted == ["r000", "r001"], "for the simulator, they are new"
        assert {task.state for task in ledger.tasks.find(NAME)} == {TaskState.SUBMITTED}
    assert servers["simulator"].requests() == {}
    with open_in("live") as session:
        assert deliver(session, LocalStore(tmp_path), ["r000", "r001"], 60)[1] == []
    assert len(servers["live"].tasks()) == 2
