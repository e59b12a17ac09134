"""Hostile providers: whatever they answer, one charge at most, in bounded time and memory."""
# ruff: noqa: PT017 - whether an answer that was drawn is refused depends on it, and so does what is said

import gzip
import io
import json
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixverse_dagster.core.errors import OutcomeUnknown, RateLimited, ReadFailed, Refused
from pixverse_dagster.core.lifecycle import TaskState
from pixverse_dagster.core.outcomes import Accepted, Failed, Running, Succeeded
from pixverse_dagster.ledger.claims import ClaimTerms
from pixverse_dagster.ledger.engine import open_engine
from pixverse_dagster.ledger.ledger import Ledger
from pixverse_dagster.policy.budget import Budget
from pixverse_dagster.providers import MODELS
from pixverse_dagster.providers.base import Provider, TaskRef
from pixverse_dagster.providers.highway.protocol import Highway
from pixverse_dagster.stages.poll import poll_due
from pixverse_dagster.stages.submit import submit_rows
from pixverse_dagster.transport.client import ProviderClient
from pixverse_dagster.transport.download import Downloader, DownloadRules
from pixverse_dagster.transport.sender import HttpSender, Limits
from pixverse_dagster_tests.harness.answers import PROVIDERS as ACCOUNTS
from pixverse_dagster_tests.harness.answers import UUID
from pixverse_dagster_tests.harness.factories import (
    CELLS,
    HIGHWAY,
    NAME,
    NOW,
    PIXWITH,
    QUICK,
    RUN,
    RUNWARE,
    Setup,
    make_row,
    moved,
    record_rows,
    send_submit,
    session_in,
)
from pixverse_dagster_tests.harness.fixtures import Tell
from pixverse_dagster_tests.harness.hostile import examples
from pixverse_dagster_tests.harness.hostile_answers import answer, bodies, bounded, keepable
from pixverse_dagster_tests.harness.hostile_servers import (
    HOSTILE,
    OK_BODY,
    STATUS_LINE,
    raw,
)
from pixverse_dagster_tests.harness.ledgers import ledger_in
from pixverse_dagster_tests.harness.raw_http import Script, Server

REQUEST = MODELS["highway/pixverse-v6-i2v"].model_validate({"prompt": "a kite", "image": "https://a.example/k.png"})


@pytest.mark.parametrize("url", ["https://xn--/1.mp4", "https://a\x00/", "https://\ud800/", "//a/1.mp4"])
def test_a_url_that_no_library_can_take_apart_is_no_result(url: str):
    """A poll that names it keeps the task running; asked for, it is a failed read."""
    done = answer(200, json.dumps({"task": {"status": "TASK_STATUS_SUCCEED"}, "videos": [{"video_url": url}]}).encode())
    assert isinstance(ACCOUNTS[0].read_poll(done, [TaskRef(UUID)])[UUID], Running)
    downloader = Downloader(DownloadRules(max_attempts=1))
    with pytest.raises(ReadFailed):
        downloader.fetch(url, io.BytesIO())
    downloader.close()


def recorded(ledger: Ledger, number: Iterator[int], examples_count: int) -> None:
    """Whatever is accepted or learnt from an answer is in the ledger afterwards, and the task can be read."""

    @examples(examples_count)
    @given(st.sampled_from(ACCOUNTS), bodies(), bodies())
    def check(provider: Provider, submit: bytes, poll: bytes) -> None:
        model = {"highway": HIGHWAY, "runware": RUNWARE, "pixwith": PIXWITH}[provider.NAME]
        row = make_row(f"r{next(number)}", model)
        record_rows(ledger, [row])
        task, mine = ledger.claim(NAME, row, ClaimTerms(RUN, NOW, 60, None, Budget(), account=row.id))
        assert mine
        try:
            task = ledger.accept(task, provider.read_submit(answer(200, submit), task.client_reference), NOW, NOW).task
        except Refused as error:
            assert moved(ledger.refuse(task, str(error))).state is TaskState.REFUSED
            return
        except OutcomeUnknown as error:
            assert moved(ledger.mark_unknown(task, str(error), None)).state is TaskState.UNKNOWN
            task = ledger.accept(task, Accepted(UUID), NOW, NOW).task
        assert task.state is TaskState.SUBMITTED
        try:
            fact = provider.read_poll(answer(200, poll), [TaskRef(UUID, 2)])[UUID]
        except ReadFailed as error:
            fact = Running(note=str(error))
        if isinstance(fact, Succeeded):
            kept = moved(ledger.succeed(task, fact, NOW))
            assert (kept.state, kept.urls, kept.seeds, kept.cost_usd) == (
                TaskState.SUCCEEDED, fact.urls, fact.seeds, fact.cost_usd)  # fmt: skip
        elif isinstance(fact, Failed):
            assert moved(ledger.fail(task, fact, NOW)).kind is fact.kind
        else:
            note = fact.note if isinstance(fact, Running) else ""
            assert moved(ledger.keep_polling(task, note, NOW)).state is TaskState.SUBMITTED

    check()


def test_a_sqlite_ledger_keeps_whatever_an_answer_says(tmp_path: Path):
    """No text of a provider's stops a task from being recorded."""
    engine = open_engine(ledger_in(tmp_path))
    recorded(Ledger(engine), count(), 60)
    engine.dispose()


def test_a_postgres_ledger_keeps_whatever_an_answer_says(postgres_database: str):
    """As SQLite's, though PostgreSQL takes no NUL."""
    engine = open_engine(postgres_database)
    recorded(Ledger(engine), count(), 60)
    engine.dispose()


# --- what a server can do: live

LIMITS = Limits(
    connect_timeout_seconds=0.1,
    submit_timeout_seconds=0.2,
    poll_timeout_seconds=0.2,
    max_attempts=2,
    backoff_seconds=0.01,
)


@contextmanager
def under_attack(script: Script, kind: type[Provider] = Highway) -> Generator[tuple[Server, ProviderClient]]:
    """A server that answers so, and an account that calls it."""
    server = Server(script)
    account = ProviderClient(kind("key", f"http://127.0.0.1:{server.port}"), HttpSender(LIMITS))
    try:
        yield server, account
    finally:
        account.close()
        server.close()


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_answer_to_a_submit_is_one_charge_and_an_unknown_outcome(name: str):
    """One POST arrives, nothing is sent again, and the call ends in the time it has."""
    with under_attack(HOSTILE[name]) as (server, account), bounded():
        with pytest.raises(OutcomeUnknown) as unknown:
            send_submit(account, REQUEST, {"prompt": "a kite"}, UUID)
        assert len(str(unknown.value)) < 700
        assert len(server.requests) == 1


POLL_HOSTILE = sorted(HOSTILE)[::3]
"""Polls are read by the same hand as submits."""


@pytest.mark.parametrize("name", POLL_HOSTILE)
def test_a_hostile_answer_to_a_poll_is_a_failed_read(name: str):
    """It ends in the time it has, and says nothing about the task."""
    with under_attack(HOSTILE[name]) as (server, account), bounded():
        with pytest.raises(ReadFailed) as failed:
            account.poll([TaskRef(UUID)])
        assert len(str(failed.value)) < 700
        assert len(server.requests) == 1


PIECES = [
    STATUS_LINE, b"HTTP/1.1 429 Slow\r\n", b"HTTP/1.1 503 No\r\n", b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 307 X\r\n", b"Content-Length: 2\r\n", b"Content-Length: 55\r\n",
    b"Transfer-Encoding: chunked\r\n", b"Content-Encoding: gzip\r\n", b"Location: /\r\n",
    b"Retry-After: 0.01\r\n", b"Retry-After: -1\r\n", b"\r\n", b"\r\n\r\n", b"{}", OK_BODY, b"2\r\n{}\r\n",
    b"0\r\n\r\n", b"\x00", b"\n", b":", b"HTTP/1.0 200 OK\n\n", gzip.compress(OK_BODY),
    b'{"code": 0, "message": "no"}',
]  # fmt: skip


def test_no_sequence_of_bytes_makes_a_second_charge(tell: Tell):
    """A POST is repeated only after an explicit refusal for its pace, and then as often as allowed."""
    sent = 0

    @examples(120)
    @given(
        st.lists(st.sampled_from(PIECES) | st.binary(max_size=9), max_size=9).map(b"".join), st.sampled_from(ACCOUNTS)
    )
    def check(data: bytes, provider: Provider) -> None:
        nonlocal sent
        with under_attack(raw(data), type(provider)) as (server, account), bounded():
            limited = False
            try:
                assert keepable(send_submit(account, REQUEST, {"prompt": "a kite"}, UUID).task_id)
            except RateLimited:
                limited = True
                assert b" 429 " in data or b" 503 " in data
            except (Refused, OutcomeUnknown) as error:
                assert len(str(error)) < 1000
            assert len(server.requests) == (LIMITS.max_attempts if limited else 1)
            sent += len(server.requests)

    began = time.monotonic()
    check()
    tell("hostile answers", f"{sent} POSTs of 120 submits in {time.monotonic() - began:.1f} s")


@pytest.mark.parametrize("model", [HIGHWAY, RUNWARE, PIXWITH])
@pytest.mark.parametrize(
    "name", ["headers a byte at a time", "a storm of 100s", "a bomb in a bomb", "an id without end"]
)
def test_a_row_with_a_hostile_provider_is_sent_once_whatever_is_run_again(tmp_path: Path, model: str, name: str):
    """Three runs and two polls: one submit; of Runware's, which may be replayed, all are the same task."""
    server, pace = Server(HOSTILE[name]), QUICK.model_copy(update={"replay_window_seconds": 0})
    try:
        with session_in(tmp_path, f"http://127.0.0.1:{server.port}", Setup(limits=LIMITS, pace=pace)) as session:
            record_rows(session.ledger, [make_row("kite", model, **CELLS[model])])
            for _ in range(3):
                (submission,) = submit_rows(session, ["kite"])
                assert submission.problem
            for _ in range(2):
                poll_due(session, 1)
            (task,) = session.ledger.tasks.find(NAME)
    finally:
        server.close()
    submits = [request for request in server.requests if b"getResponse" not in request]
    assert task.state is TaskState.UNKNOWN
    assert len(submits) == 1
