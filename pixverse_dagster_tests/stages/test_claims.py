"""Permit, claim, send, record: whatever happens between these four, a clip is paid for once and no paid id is lost."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from pixverse_dagster.core.lifecycle import TaskState
from pixverse_dagster.core.outcomes import Accepted
from pixverse_dagster.core.task import Task
from pixverse_dagster.ledger.claims import ClaimTerms
from pixverse_dagster.ledger.engine import open_engine
from pixverse_dagster.ledger.ledger import Ledger
from pixverse_dagster.ledger.pauses import Pause
from pixverse_dagster.policy.budget import Budget
from pixverse_dagster.providers.highway.protocol import Highway
from pixverse_dagster.providers.runware.protocol import Runware
from pixverse_dagster.stages.poll import poll_due
from pixverse_dagster.stages.session import Session
from pixverse_dagster.stages.submit import submit_rows
from pixverse_dagster.transport.client import ProviderClient
from pixverse_dagster.transport.sender import HttpSender, Limits
from pixverse_dagster_tests.harness.factories import (
    HIGHWAY,
    NAME,
    NOW,
    QUICK,
    RUNWARE,
    Clock,
    Setup,
    make_row,
    make_rows,
    make_session,
    moved,
    poll_and_resolve,
    put_row,
    record_rows,
    submit_all,
)
from pixverse_dagster_tests.harness.ledgers import ledger_in
from pixverse_dagster_tests.harness.raw_http import Script, Server, drop, in_turn, say
from pixverse_dagster_tests.harness.servers import Simulator

SLOW_DOWN = say(429, b'{"reason": "RATE_LIMIT_EXCEEDED"}', "Retry-After: 0.01")
ACCEPTED = say(200, b'{"task_id": "t1"}')
PATIENT = Limits(backoff_seconds=0.01, max_concurrency=1, max_attempts=5, submit_timeout_seconds=5)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    engine = open_engine(ledger_in(tmp_path))
    yield Ledger(engine)
    engine.dispose()


Serve = Callable[..., tuple[Session, Server]]


@pytest.fixture
def serve(ledger: Ledger) -> Iterator[Serve]:
    """A function that opens a session whose one account is at a server with a script."""
    with ExitStack() as stack:

        def start(
            script: Script, provider: type[Highway | Runware] = Highway, clock: Clock | None = None
        ) -> tuple[Session, Server]:
            server = Server(script)
            stack.callback(server.close)
            client = ProviderClient(provider("simulator", f"http://127.0.0.1:{server.port}"), HttpSender(PATIENT))
            session = make_session(ledger, "http://127.0.0.1:9", clock=clock or Clock())
            for other in session.clients.values():
                other.close()
            return stack.enter_context(replace(session, clients={provider.NAME: client})), server

        yield start


def answering(first: Script, meanwhile: Callable[[], object], then: Script) -> Script:
    """Answer the first request after something else happened, and the others in another way."""

    def script(connection: Any, number: int) -> None:
        if number == 1:
            meanwhile()
            first(connection, number)
        else:
            then(connection, number)

    return script


def settle_as_not_accepted(ledger: Ledger) -> None:
    """What a poller does after the lease, and then a person who finds nothing in the provider's console."""
    (task,) = ledger.tasks.find(NAME)
    task = moved(ledger.mark_unknown(task, "no answer", None))
    moved(ledger.set_not_accepted(task, "not there", NOW * 2, "by hand"))


def test_a_row_that_stands_in_line_has_no_claim(ledger: Ledger, server: Simulator):
    """The permit comes first: with a pace of one a minute, of three rows one is claimed, and that one was sent."""
    limits = Limits(submits_per_minute=1, max_concurrency=3)
    with make_session(ledger, server.url, Setup(limits=limits)) as session:
        keys = record_rows(ledger, make_rows(3))
        submissions = submit_rows(session, keys)
        first = next(submissions)
        assert (first.sent, [task.row for task in ledger.tasks.find(NAME)]) == (True, [first.row])
        submissions.close()
    assert [task.state for task in ledger.tasks.find(NAME)] == [TaskState.SUBMITTED]
    assert len(server.tasks()) == 1


def test_a_claim_that_was_settled_between_two_sendings_is_not_sent_again(ledger: Ledger, serve: Serve):
    """The owner waits because it was asked to; meanwhile its claim is settled by hand. One POST, no charge."""
    script = answering(SLOW_DOWN, lambda: settle_as_not_accepted(ledger), ACCEPTED)
    session, server = serve(script)
    found = submit_all(session, [make_row(model=HIGHWAY)])["kite"]
    assert len(server.requests) == 1
    assert (found.sent, found.task and found.task.state) == (False, TaskState.REFUSED)
    # Another run may go on, under a claim of its own.
    again = submit_all(session, [make_row(model=HIGHWAY)])["kite"]
    assert again.task is not None
    assert (again.task.claim, again.task.attempt, again.task.state) == (2, 1, TaskState.SUBMITTED)


def test_a_refusal_that_comes_too_late_frees_no_request_that_may_be_replayed(ledger: Ledger, serve: Serve):
    """Its lease ended while it was under way, and another process may have been accepted under the same id since."""
    body = b'{"errors": [{"code": "invalidPositivePrompt", "message": "too long"}]}'

    def take_for_dead() -> None:
        (task,) = ledger.tasks.find(NAME)
        moved(ledger.mark_unknown(task, "no answer", NOW * 2))

    session, _ = serve(answering(say(400, body), take_for_dead, drop), Runware)
    found = submit_all(session, [make_row()])["kite"]
    assert found.task is not None
    assert found.task.state is TaskState.UNKNOWN
    assert [task.state for task in ledger.tasks.find(NAME)] == [TaskState.UNKNOWN]


class Unprepared(Highway):
    """Breaks on an answer that nobody thought of."""

    def read_submit(self, response: httpx.Response, reference: str) -> Accepted:
        del response, reference
        raise ZeroDivisionError


def test_a_submit_that_breaks_off_is_of_unknown_outcome(ledger: Ledger, serve: Serve):
    """Whatever the mistake is: what has left may have been charged, and nobody waits for the end of a lease."""
    session, server = serve(ACCEPTED, Unprepared)
    with pytest.raises(ZeroDivisionError):
        submit_all(session, [make_row(model=HIGHWAY)])
    (task,) = ledger.tasks.find(NAME)
    assert (task.state, task.resolves_itself) == (TaskState.UNKNOWN, False)
    assert "it may have left" in (task.reason or "")
    assert len(server.requests) == 1


def test_every_sending_of_a_claim_renews_its_lease(ledger: Ledger, serve: Serve):
    """However long the waits between them are: nobody may take a claim for dead that is about to be sent."""
    clock, ends = Clock(), list[float]()

    def refuse(connection: Any, number: int) -> None:
        (task,) = ledger.tasks.find(NAME)
        assert task.lease_until is not None
        ends.append(task.lease_until - clock())
        clock.ahead_seconds += 1000
        (SLOW_DOWN if number < 4 else ACCEPTED)(connection, number)

    session, _ = serve(refuse, clock=clock)
    assert submit_all(session, [make_row(model=HIGHWAY)])["kite"].sent
    assert len(ends) == 4
    assert min(ends) > 0
    assert len(ledger.tasks.find(NAME)) == 1


def test_a_paid_id_that_comes_too_late_is_kept_and_named(
    ledger: Ledger, serve: Serve, caplog: pytest.LogCaptureFixture
):
    """Its claim was settled while the answer was under way: a task of its own, for a person; the log has the id."""
    session, server = serve(answering(ACCEPTED, lambda: settle_as_not_accepted(ledger), ACCEPTED))
    with caplog.at_level(logging.CRITICAL, "pixverse_dagster"):
        found = submit_all(session, [make_row(model=HIGHWAY)])["kite"]
    assert "task t1" in caplog.text
    assert "t1" in found.problem
    assert "paid for" in found.problem
    (unknown,) = ledger.tasks.unresolved(NAME)
    assert (unknown.task_id, unknown.claim) == ("t1", 2)
    assert not submit_all(session, [make_row(model=HIGHWAY)])["kite"].sent
    assert len(server.requests) == 1


def test_words_that_were_corrected_during_a_run_are_not_paid_for(ledger: Ledger, server: Simulator):
    """The row answers "changed while it waited", which is no failure; the new words are another decision."""
    rows = make_rows(3)
    with make_session(ledger, server.url, Setup(limits=Limits(max_concurrency=1))) as session:
        keys = record_rows(ledger, rows)
        submissions = submit_rows(session, keys)
        first = next(submissions)
        record_rows(ledger, [rows[0], make_row("r001", prompt="corrected")])
        others = {one.row: one for one in submissions}
    assert first.sent
    assert {one.problem for one in others.values()} == {""}
    skipped = {row: one.skipped for row, one in others.items() if one.skipped}
    # A row may have been sent before the table was read again; none is sent for words of before after that.
    assert len(server.tasks()) + len(skipped) == 3
    assert all("while it waited" in why for why in skipped.values())


def test_a_pause_lets_what_is_under_way_finish_and_keeps_the_others_places(ledger: Ledger, server: Simulator):
    """And they go on when it ends."""
    with make_session(ledger, server.url) as session:
        submit_all(session, [make_row("before")])
        ledger.pauses.add(Pause("account", "runware/simulator", "prices went up", NOW))
        found = {one.row: one for one in submit_rows(session, record_rows(ledger, [make_row("before"), *make_rows(2)]))}
        waits = {one.waits for one in found.values() if one.row != "before"}
        assert len(waits) == 1
        assert "'runware/simulator' is paused (prices went up). Nothing was sent, and nothing was spent" in waits.pop()
        assert {entry.row for entry in ledger.queue.find(NAME)} == {"r000", "r001"}
        assert poll_due(replace(session, clock=Clock(60)), 10).asked == 1
        assert len(server.tasks()) == 1
        ledger.pauses.remove("account", "runware/simulator")
    with make_session(ledger, server.url) as session:
        assert all(one.sent for one in submit_rows(session, ["r000", "r001"]))


def test_a_replay_is_byte_for_byte_what_was_sent(ledger: Ledger, serve: Serve, tmp_path: Path):
    """Also with an inline image, which is not kept with it; and when this program would write another body now."""
    image = Path(__file__).parents[2] / "pixverse_dagster" / "samples"
    picture = next(itertools.chain(image.rglob("*.jpg"), image.rglob("*.png")))
    missing = say(200, b'{"data": []}')
    clock = Clock()
    session, server = serve(in_turn(drop, missing, drop, missing, drop), Runware, clock)
    options = session.options.model_copy(update={"image_base": str(picture.parent)})
    session = replace(session, pipeline=replace(session.pipeline, options=options))
    row = make_row(prompt='two "kites"\nand a wall', image=picture.name)
    checked = {one: session.images().check(one, row.request.IMAGE_RULES) for one in row.request.images()}
    submit_all(session, [replace(row, images=checked)])
    (task,) = ledger.tasks.find(NAME)
    kept = ledger.tasks.body(task)
    assert kept is not None
    assert len(kept) < 2000, "the image is not kept"
    clock.ahead_seconds = 30
    poll_and_resolve(session)
    submits = [request for request in server.requests if b"videoInference" in request]
    bodies = {request.split(b"\r\n\r\n", 1)[1] for request in submits}
    assert len(submits) >= 2
    assert len(bodies) == 1
    assert b"data:image/" in bodies.pop()


def test_a_lease_ends_without_the_providers_client(ledger: Ledger, server: Simulator):
    """A claim of a provider that was removed holds its slot no longer, and a person is told."""
    with make_session(ledger, server.url, clock=Clock(QUICK.claim_lease_seconds + 200)) as session:
        clients = {name: client for name, client in session.clients.items() if name != "runware"}
        rows = [put_row(ledger, make_row(model)) for model in ("a", "b")]
        terms = ClaimTerms("dead run", Clock()(), QUICK.claim_lease_seconds)
        for row in rows:
            ledger.claim(NAME, row, terms)
        report = poll_due(replace(session, clients=clients), 10)
    assert {task.row for task in report.ended} == {"a", "b"} == {task.row for task in ledger.tasks.unresolved(NAME)}


@pytest.mark.parametrize("isolation", ["read committed", "repeatable read", "serializable"])
def test_limits_hold_whatever_isolation_a_database_has_by_default(postgres_database: str, isolation: str):
    """Of twelve claims at once, as many as there are slots and money get through, and none dies."""
    name = sa.make_url(postgres_database).database
    engine = open_engine(postgres_database)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql(f"ALTER DATABASE \"{name}\" SET default_transaction_isolation = '{isolation}'")
    engine.dispose()
    engine = open_engine(postgres_database)
    ledger, rows = Ledger(engine), make_rows(12)
    ledger.rows.record(NAME, rows, [], "run", NOW)
    terms = ClaimTerms("run", NOW, 60, 1.0, Budget(total_usd=7.0), account="runware/live", max_open_tasks=4)
    claimed: list[Task] = []
    refused: list[str] = []

    def claim(row: Any) -> None:
        try:
            claimed.append(ledger.claim(NAME, row, terms)[0])
        except Exception as error:  # noqa: BLE001 - which it was is asserted below
            refused.append(type(error).__name__)

    threads = [Thread(target=claim, args=(row,)) for row in rows]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(claimed), refused) == (4, ["NoSlot"] * 8)
    assert ledger.spent(NAME, "run", NOW).total_usd == 4.0
    engine.dispose()


def test_an_account_outlives_its_key(ledger: Ledger, server: Simulator):
    """With another key its rows wait on, its tasks count against its limit; the keys seen are told apart."""
    with make_session(ledger, server.url, Setup(max_open_tasks=1, limits=Limits(max_concurrency=1))) as session:
        submit_all(session, make_rows(2))
        account, key = session.clients["runware"].account, session.clients["runware"].provider.fingerprint(ledger.id)
    with make_session(ledger, server.url, Setup(key="key-no-2-of-the-account", max_open_tasks=1)) as session:
        other = session.clients["runware"]
        assert (other.account, account) == ("runware/simulator", "runware/simulator")
        assert other.provider.fingerprint(ledger.id) != key
        (waits,) = [one.waits for one in submit_rows(session, ["r001"])]
        assert waits.startswith("1 of 1 slots at runware are taken. Nothing was sent")
    assert len(ledger.queue.find(NAME)) == 1


@pytest.mark.parametrize(
    ("url", "name", "account", "world"),
    [
        ("https://api.runware.ai", "", "runware/live", "live"),
        ("https://api.runware.ai", "studio", "runware/studio", "live"),
        ("http://127.0.0.1:8765/runware", "", "runware/simulator", "simulator"),
        ("http://localhost:1/runware", "studio", "runware/studio/simulator", "simulator"),
    ],
)
def test_an_account_is_named_by_its_user_or_by_its_world(url: str, name: str, account: str, world: str):
    """The simulator's accounts are never those of a real provider."""
    client = ProviderClient(Runware("key", url), HttpSender(PATIENT), name=name)
    assert (client.account, client.world) == (account, world)
    assert httpx.URL(client.provider.base_url).host
    client.close()


def test_the_cheapest_rows_model_is_the_one_that_is_replayed():
    """The tests above rely on it."""
    assert make_row().request.MODEL == RUNWARE
    assert Runware.REPLAYABLE
    assert not Highway.REPLAYABLE
