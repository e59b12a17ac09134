"""Every row is paid for once: whatever the provider, the network or a second process does meanwhile."""

import re
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from threading import Event

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import OperationalError

from pixverse_dagster.core.lifecycle import FailureKind, TaskState
from pixverse_dagster.core.outcomes import Accepted
from pixverse_dagster.core.row import Row
from pixverse_dagster.core.submit_body import cut_body
from pixverse_dagster.core.task import Acceptance, MoveRefused, Task
from pixverse_dagster.ledger.claims import ClaimTerms
from pixverse_dagster.ledger.engine import open_engine
from pixverse_dagster.ledger.ledger import Ledger
from pixverse_dagster.policy.timing import Pace
from pixverse_dagster.stages.generate import GenerateRun
from pixverse_dagster.stages.poll import poll_due
from pixverse_dagster.stages.session import Session
from pixverse_dagster.stages.submission import Submission
from pixverse_dagster.stages.submit import submit_rows
from pixverse_dagster.storage.local import LocalStore
from pixverse_dagster.transport.sender import Limits
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
    make_session,
    poll_and_resolve,
    poll_until,
    record_rows,
    send_submit,
    submit_all,
)
from pixverse_dagster_tests.harness.ledgers import ledger_in
from pixverse_dagster_tests.harness.servers import Simulator, StartSimulator

MODELS = (HIGHWAY, RUNWARE, PIXWITH)
UNDER_WAY = {TaskState.SUBMITTED, TaskState.SUCCEEDED}


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[sa.Engine]:
    engine = open_engine(ledger_in(tmp_path))
    yield engine
    engine.dispose()


Open = Callable[..., Session]


@pytest.fixture
def open_session(ledger: Ledger) -> Iterator[Open]:
    """A function that opens a session at a simulator; all close with the test."""
    with ExitStack() as shops:

        def start(url: str, setup: Setup | None = None, clock: Callable[[], float] = time.time) -> Session:
            return shops.enter_context(make_session(ledger, url, setup, clock))

        yield start


def rows_of_all(count: int) -> list[Row]:
    """So many rows of each provider, each with words of its own."""
    return [
        make_row(f"{model.partition('/')[0]} {number}", model, prompt=f"kite {model} {number}")
        for model in MODELS
        for number in range(count)
    ]


def charges(server: Simulator) -> Counter[str]:
    """How often each prompt was charged for, by the provider's own books."""
    return Counter(task["request"].get("positivePrompt") or task["request"]["prompt"] for task in server.tasks())


def each_once(rows: list[Row]) -> Counter[str]:
    return Counter(row.request.model_dump()["prompt"] for row in rows)


def sends(server: Simulator, provider: str) -> int:
    """How many submits reached the provider, whatever it made of them."""
    return sum(server.requests().get(provider, {}).get("submit", {}).values())


def states(ledger: Ledger) -> dict[str, TaskState]:
    return {row: task.state for row, task in ledger.tasks.current(NAME).items()}


# --- once


def test_submitting_again_sends_nothing(server: Simulator, open_session: Open):
    """A row that has its task keeps it, in whatever state that is, and is not sent again."""
    rows = rows_of_all(3)
    session = open_session(server.url)
    first = submit_all(session, rows)
    assert all(one.sent and not one.problem for one in first.values())
    poll_until(session, lambda tasks: all(task.state is TaskState.SUCCEEDED for task in tasks))
    again = submit_all(session, rows)
    assert not any(one.sent or one.problem for one in again.values())
    assert {one.task and one.task.id for one in again.values()} == {one.task and one.task.id for one in first.values()}
    assert charges(server) == each_once(rows)
    assert sum(sends(server, name) for name in ("highway", "runware", "pixwith")) == len(rows)


def test_a_row_that_is_not_in_the_table_is_named_and_not_sent(server: Simulator, open_session: Open):
    """Rows that the table no longer has, and rows without a provider resource, are problems of their own."""
    session = open_session(server.url)
    record_rows(session.ledger, [make_row("here")])
    found = {one.row: one for one in submit_rows(session, ["here", "gone"])}
    assert found["here"].sent
    assert "'gone' is not in the prompt table" in found["gone"].problem
    assert len(server.tasks()) == 1


# --- outcomes that nobody knows


def test_lost_answers_are_found_out_where_the_caller_chose_the_id(simulator: StartSimulator, open_session: Open):
    """On Runware a submit whose answer was lost is asked for and replayed: every row ends with its one paid task."""
    server = simulator(generation_seconds=0, seed=3, faults={"submit.lost_response": 0.3})
    session, rows = open_session(server.url), [make_row(f"r{n}", prompt=f"kite {n}") for n in range(30)]
    submit_all(session, rows)
    found = poll_until(session, lambda tasks: all(task.state in UNDER_WAY for task in tasks))
    assert server.requests()["runware"]["submit"]["dropped"] > 3
    assert charges(server) == each_once(rows)
    assert {task.task_id for task in found} == {task["task_id"] for task in server.tasks()}
    assert {task.attempt for task in found} == {1}


def test_lost_answers_stay_unknown_where_the_provider_cannot_tell(simulator: StartSimulator, open_session: Open):
    """Elsewhere a lost answer is for a person: the row says what to do, and nothing is ever sent again."""
    server = simulator(generation_seconds=0, seed=3, faults={"submit.lost_response": 0.3})
    rows = [row for row in rows_of_all(20) if row.request.MODEL != RUNWARE]
    session = open_session(server.url)
    found = submit_all(session, rows)
    lost = {key for key, one in found.items() if one.task and one.task.state is TaskState.UNKNOWN}
    dropped = {provider: server.requests()[provider]["submit"]["dropped"] for provider in ("highway", "pixwith")}
    assert Counter(key.partition(" ")[0] for key in lost) == dropped
    for key, one in found.items():
        if key in lost:
            provider = key.partition(" ")[0]
            assert re.search(
                rf"row '{key}'.*counts as spent.*{provider}'s console.*tasks resolve '{key}' --adopt", one.problem
            ), one.problem
        else:
            assert not one.problem
    for _ in range(2):
        again = submit_all(session, rows)
        assert {key for key, one in again.items() if one.problem} == lost
        poll_due(session, 10)
    later = open_session(server.url, clock=Clock(1_000_000))
    submit_all(later, rows)
    assert (sends(server, "highway"), sends(server, "pixwith")) == (20, 20)
    assert charges(server) == each_once(rows)
    assert {key for key, state in states(session.ledger).items() if state is TaskState.UNKNOWN} == lost


def test_a_server_error_is_an_unknown_outcome_and_never_two_charges(simulator: StartSimulator, open_session: Open):
    """A 500 may hide an accepted task: healed on Runware, unknown elsewhere, paid for at most once everywhere."""
    server, rows = simulator(generation_seconds=0, seed=5, faults={"submit.server_error": 0.5}), rows_of_all(16)
    session = open_session(server.url)
    submit_all(session, rows)
    poll_until(session, lambda tasks: all(task.state in UNDER_WAY for task in tasks if task.provider == "runware"))
    submit_all(session, rows)
    found = session.ledger.tasks.find(NAME)
    assert max(charges(server).values()) == 1
    assert sends(server, "highway") == sends(server, "pixwith") == 16
    elsewhere = Counter(task.state for task in found if task.provider != "runware")
    assert set(elsewhere) == {TaskState.UNKNOWN, *(set(elsewhere) & UNDER_WAY)}
    runware = [row for row in rows if row.request.MODEL == RUNWARE]
    assert each_once(runware) <= charges(server)
    # What the ledger knows to be paid for, the provider has; what it does not know, it may have.
    known = {task.task_id for task in found if task.state in UNDER_WAY}
    assert known <= {task["task_id"] for task in server.tasks()}


# --- refusals, which cost nothing


@pytest.mark.parametrize(("fault", "count"), [("submit.refused_503", 8), ("submit.rate_limited", 1)])
def test_a_refusal_for_the_pace_is_sent_again_and_charged_once(
    simulator: StartSimulator, open_session: Open, fault: str, count: int
):
    """An explicit "slow down" or "busy" was not accepted: the row is sent again until it is, and paid for once."""
    server, rows = simulator(generation_seconds=0, seed=1, faults={fault: 0.5}), rows_of_all(count)
    limits = Limits(backoff_seconds=0.02, max_attempts=50, max_concurrency=4)
    found = submit_all(open_session(server.url, Setup(limits=limits)), rows)
    assert all(one.sent and not one.problem for one in found.values())
    assert charges(server) == each_once(rows)
    assert {one.task.attempt for one in found.values() if one.task} == {1}
    assert sum(sends(server, name) for name in ("highway", "runware", "pixwith")) > len(rows)


def test_a_wrong_key_stops_the_account_and_a_right_one_submits_each_row_once(server: Simulator, open_session: Open):
    """A key that is refused is tried a few times, not once per row; the rows lose nothing by it."""
    rows = rows_of_all(50)
    found = submit_all(open_session(server.url, Setup(key="wr0ng-key")), rows)
    for provider in ("highway", "runware", "pixwith"):
        assert 1 <= sends(server, provider) <= 4
    assert server.tasks() == []
    assert all(one.problem for one in found.values())
    assert {one.task.state for one in found.values() if one.task} == {TaskState.REFUSED}
    assert not any("wr0ng-key" in one.problem for one in found.values())
    again = submit_all(open_session(server.url), rows)
    assert all(one.sent and not one.problem for one in again.values())
    assert charges(server) == each_once(rows)


def test_a_provider_that_cannot_be_reached_costs_nothing(server: Simulator, open_session: Open):
    """What never left is refused, not unknown: with the provider back, the same rows are sent, once."""
    limits = Limits(backoff_seconds=0.01, max_attempts=2)
    found = submit_all(open_session("http://127.0.0.1:9", Setup(limits=limits)), rows_of_all(6))
    assert all("never left" in one.problem for one in found.values())
    assert {one.task.state for one in found.values() if one.task} == {TaskState.REFUSED}
    again = submit_all(open_session(server.url), rows_of_all(6))
    assert all(one.sent and not one.problem for one in again.values())
    assert charges(server) == each_once(rows_of_all(6))


# --- claims of processes that died


def dead_claims(session: Session, rows: list[Row]) -> list[Task]:
    """Claims whose process never came back."""
    record_rows(session.ledger, rows)
    return [die_claiming(session, row) for row in rows]


def die_claiming(session: Session, row: Row) -> Task:
    """What the process of a submit leaves that died with its claim: the lease ends, and its body is kept."""
    client = session.clients[row.request.provider()]

    def body(reference: str) -> str:
        return cut_body(client.provider.envelope(row.request, row.request.body(str), reference), {})

    terms = ClaimTerms(
        "dead run",
        time.time(),
        QUICK.claim_lease_seconds,
        account=client.account,
        world=client.world,
        key=client.provider.fingerprint(session.ledger.salt),
        body=body,
    )
    return session.ledger.claim(NAME, row, terms)[0]


def test_a_claim_within_its_lease_belongs_to_its_process(server: Simulator, open_session: Open):
    """A second run leaves a row that is being sent alone, and says who has it: nothing is asked, nothing sent."""
    session, rows = open_session(server.url), rows_of_all(1)
    dead_claims(session, rows)
    found = submit_all(session, rows)
    poll_due(session, 10)
    assert all("is being submitted by run dead run" in one.problem for one in found.values())
    assert set(states(session.ledger).values()) == {TaskState.CLAIMED}
    assert server.requests() == {}


@pytest.mark.parametrize("way", ["submit", "poll"])
def test_a_stale_claim_is_unknown_where_the_provider_cannot_tell(server: Simulator, open_session: Open, way: str):
    """Whether the dead process had sent it nobody knows: it counts as spent and is not sent."""
    rows = [row for row in rows_of_all(1) if row.request.MODEL != RUNWARE]
    session = open_session(server.url, clock=Clock(QUICK.claim_lease_seconds + 1))
    dead_claims(session, rows)
    if way == "submit":
        assert all("has an unknown outcome" in one.problem for one in submit_all(session, rows).values())
    else:
        assert len(poll_due(session, 10).ended) == 2
    assert set(states(session.ledger).values()) == {TaskState.UNKNOWN}
    assert server.requests() == {}
    assert session.ledger.tasks.due(NAME, time.time() + 1_000_000, 10) == []


@pytest.mark.parametrize("way", ["submit", "poll"])
def test_a_stale_claim_is_healed_where_the_caller_chose_the_id(server: Simulator, open_session: Open, way: str):
    """Whether or not the dead process had sent it: on Runware the row ends with one paid task."""
    rows = [make_row("arrived"), make_row("never left")]
    session = open_session(server.url, clock=Clock(QUICK.claim_lease_seconds + 1))
    tasks = dead_claims(session, rows)
    send_submit(session.clients["runware"], rows[0].request, rows[0].request.body(str), tasks[0].client_reference)
    if way == "submit":
        assert not any(one.problem for one in submit_all(session, rows).values())
    else:
        poll_and_resolve(session)
    assert states(session.ledger) == dict.fromkeys(("arrived", "never left"), TaskState.SUBMITTED)
    # Should the process not be dead after all, what it is told now changes nothing.
    refused = [session.ledger.refuse(task, "busy") for task in tasks]
    assert {move.current.state for move in refused if isinstance(move, MoveRefused)} == {TaskState.SUBMITTED}
    assert len(refused) == 2
    assert {one["client_reference"] for one in server.tasks()} == {task.client_reference for task in tasks}
    assert len(server.tasks()) == 2


def test_nothing_is_replayed_outside_the_window(server: Simulator, open_session: Open):
    """When the provider may have forgotten the id, a replay could be a second payment: it is not made."""
    row = make_row()
    session = open_session(server.url, clock=Clock(QUICK.replay_window_seconds + 1))
    dead_claims(session, [row])
    poll_due(session, 10)
    assert "too late to replay" in submit_all(session, [row])["kite"].problem
    assert states(session.ledger) == {"kite": TaskState.UNKNOWN}
    assert (sends(server, "runware"), server.tasks()) == (0, [])


# --- polls


@pytest.mark.parametrize("fault", ["poll.server_error", "poll.dropped", "poll.unknown_status"])
def test_a_poll_that_fails_never_ends_a_task(simulator: StartSimulator, open_session: Open, fault: str):
    """A broken or strange answer to a poll says nothing about the task, which is polled until it is done."""
    server, rows = simulator(generation_seconds=0, seed=2, faults={fault: 0.5}), rows_of_all(6)
    session = open_session(server.url)
    submit_all(session, rows)

    def done(tasks: list[Task]) -> bool:
        assert {task.state for task in tasks} <= UNDER_WAY
        return all(task.state is TaskState.SUCCEEDED for task in tasks)

    poll_until(session, done)
    assert charges(server) == each_once(rows)


@pytest.mark.parametrize(
    ("fault", "kinds"),
    [
        ("task.failed", (FailureKind.PROVIDER_ERROR,) * 3),
        ("task.moderated", (FailureKind.MODERATED, FailureKind.MODERATED, FailureKind.PROVIDER_ERROR)),
    ],
)
def test_a_task_that_ended_without_a_clip_says_why(
    simulator: StartSimulator, open_session: Open, fault: str, kinds: tuple[FailureKind, ...]
):
    """A failure is of the kind that the provider gives, described with what to do, and not submitted again."""
    server, rows = simulator(generation_seconds=0, faults={fault: 1}), rows_of_all(1)
    session = open_session(server.url)
    submit_all(session, rows)
    found = poll_until(session, lambda tasks: all(task.state is TaskState.FAILED for task in tasks))
    assert {task.provider: task.kind for task in found} == dict(
        zip(("highway", "runware", "pixwith"), kinds, strict=True)
    )
    again = submit_all(session, rows)
    assert all("tasks retry" in one.problem for one in again.values())
    assert len(server.tasks()) == 3


def test_a_task_that_never_ends_is_lost_only_after_its_deadline(simulator: StartSimulator, open_session: Open):
    """A stuck task is polled until its deadline, and then given up without another payment."""
    server, rows, clock = simulator(generation_seconds=0, faults={"task.stuck": 1}), rows_of_all(1), Clock()
    session = open_session(server.url, Setup(pace=QUICK.model_copy(update={"task_deadline_seconds": 1000})), clock)
    submit_all(session, rows)
    for clock.ahead_seconds in (100, 500, 900):
        assert (poll_due(session, 10).running, set(states(session.ledger).values())) == (3, {TaskState.SUBMITTED})
    clock.ahead_seconds = 1001
    assert {task.kind for task in poll_due(session, 10).ended} == {FailureKind.LOST}
    assert set(states(session.ledger).values()) == {TaskState.FAILED}
    submit_all(session, rows)
    assert len(server.tasks()) == 3


# --- waiting in person


def test_past_the_deadline_a_task_is_adoptable_and_a_later_wait_stores_it(
    server: Simulator, open_session: Open, tmp_path: Path
):
    """A deadline ends the waiting, not the task: the next wait goes on with it and pays for nothing."""
    rows, clock, store = rows_of_all(1), Clock(), LocalStore(tmp_path / "store")
    # Nothing is asked about before its time has come, however long the first wait takes.
    later = QUICK.model_copy(update={"first_poll_seconds": 1000, "max_poll_seconds": 1000})
    session = open_session(server.url, Setup(pace=later), clock)
    keys = record_rows(session.ledger, rows)
    early, problems = deliver(session, store, keys, deadline_seconds=0.2)
    assert not early
    assert len(problems) == len(rows)
    assert all("Nothing is lost: run it again to adopt the task" in problem for problem in problems)
    clock.ahead_seconds = 1001
    late, problems = deliver(session, store, keys, deadline_seconds=LONG_SECONDS)
    assert not problems
    assert sorted(one.manifest.row for one in late if one.manifest) == sorted(row.id for row in rows)
    assert set(states(session.ledger).values()) == {TaskState.STORED}
    assert charges(server) == each_once(rows)


LONG_SECONDS = 3600
"""Who waits so long waits in vain: the test's own time is over before."""


def test_waiting_ends_at_once_for_a_task_that_has_ended(simulator: StartSimulator, open_session: Open, tmp_path: Path):
    """A failed task is reported with its reason as soon as it is known, not at the deadline."""
    server, rows = simulator(generation_seconds=0, faults={"task.failed": 1}), rows_of_all(1)
    session = open_session(server.url)
    keys = record_rows(session.ledger, rows)
    found, problems = deliver(session, LocalStore(tmp_path), keys, LONG_SECONDS)
    assert sorted(problems) == sorted(one.problem for one in found)
    assert all("failed at the provider" in one.problem for one in found)
    assert len(found) == 3


class Jammed(Ledger):
    """A ledger whose database refuses to record the first accepted tasks."""

    def __init__(self, engine: sa.Engine, failures: int) -> None:
        super().__init__(engine)
        self.failures = failures

    def accept(self, task: Task, accepted: Accepted, now: float, next_poll_at: float) -> Acceptance:
        """Fail as the database driver would, then work."""
        self.failures -= 1
        if self.failures >= 0:
            raise OperationalError("UPDATE", None, Exception("disk I/O error"))
        return super().accept(task, accepted, now, next_poll_at)


@pytest.mark.parametrize(("failures", "patience_seconds", "recorded"), [(2, 60, True), (1000, 0.5, False)])
def test_a_paid_task_is_recorded_when_the_ledger_is_back_or_named_with_its_id(
    engine: sa.Engine,
    server: Simulator,
    failures: int,
    patience_seconds: float,
    recorded: bool,  # noqa: FBT001 - a column of the table
):
    """The id of a paid task is not lost with a database that fails for a moment, nor with one that stays away."""
    row = make_row("kite", "highway/pixverse-v6-i2v")
    with make_session(
        Jammed(engine, failures), server.url, Setup(pace=Pace(record_seconds=patience_seconds))
    ) as session:
        record_rows(session.ledger, [row])
        submission = next(iter(submit_rows(session, [row.id])))
    (charged,) = server.tasks()
    if recorded:
        assert submission.task is not None
        assert (submission.task.task_id, submission.problem) == (charged["task_id"], "")
    else:
        assert f"tasks resolve kite --adopt {charged['task_id']}" in submission.problem
        assert states(session.ledger) == {"kite": TaskState.CLAIMED}


def test_what_is_finished_early_is_stored_while_others_are_still_being_submitted(
    engine: sa.Engine, server: Simulator, tmp_path: Path
):
    """A slow submission never lets the first results expire."""
    rows = make_rows(8)
    with make_session(Ledger(engine), server.url) as session:
        keys = record_rows(session.ledger, rows)

        def slowly(keys: Sequence[str]) -> Generator[Submission]:
            for key in keys:
                yield from submit_rows(session, [key])
                Event().wait(2 * QUICK.first_poll_seconds)  # the tasks so far are due

        left = list[int]()
        stored: list[str] = []
        for collected in GenerateRun(session, LocalStore(tmp_path / "clips"), slowly).run(keys, LONG_SECONDS):
            stored.append(collected.task.row)
            left.append(len(rows) - len(session.ledger.tasks.find(NAME)))
    assert sorted(stored) == keys
    assert sum(unsubmitted > 0 for unsubmitted in left) >= 3, left
