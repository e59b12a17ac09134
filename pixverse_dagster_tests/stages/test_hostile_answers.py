"""Hostile providers and result hosts: whatever they answer, one charge at most, in bounded time and memory."""
# ruff: noqa: PT017 - whether an answer that was drawn is refused depends on it, and so does what is said

import gzip
import io
import json
import socket
import time
import zlib
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from threading import Event

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixverse_dagster.core.errors import ClipInvalid, OutcomeUnknown, RateLimited, ReadFailed, Refused
from pixverse_dagster.core.lifecycle import TaskState
from pixverse_dagster.core.outcomes import Accepted, Failed, Running, Succeeded
from pixverse_dagster.ledger.claims import ClaimTerms
from pixverse_dagster.ledger.engine import open_engine, sqlite_url
from pixverse_dagster.ledger.ledger import Ledger
from pixverse_dagster.media.images import image_facts
from pixverse_dagster.media.probe import probe
from pixverse_dagster.policy.budget import Budget
from pixverse_dagster.providers import MODELS, Highway
from pixverse_dagster.providers.base import Provider, TaskRef
from pixverse_dagster.stages.collect import collect_tasks
from pixverse_dagster.stages.poll import poll_due
from pixverse_dagster.stages.submit import submit_rows
from pixverse_dagster.storage.local import LocalStore
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
    record_rows,
    session_in,
)
from pixverse_dagster_tests.harness.fixtures import Tell
from pixverse_dagster_tests.harness.hostile import examples
from pixverse_dagster_tests.harness.hostile_answers import MB, MOST_SECONDS, answer, bodies, bounded, keepable
from pixverse_dagster_tests.harness.raw_http import BOMB, Script, Server, flood, head, say, trickle

REQUEST = MODELS["highway/pixverse-v6-i2v"].model_validate({"prompt": "a kite", "image": "https://a.example/k.png"})
TICK = 0.02


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
        task, mine = ledger.claim(NAME, make_row(f"r{next(number)}", model), ClaimTerms(RUN, NOW, 60, None, Budget()))
        assert mine
        try:
            task = ledger.accept(task, provider.read_submit(answer(200, submit), task.client_reference), NOW, NOW).task
        except Refused as error:
            assert ledger.refuse(task, str(error)).task.state is TaskState.REFUSED
            return
        except OutcomeUnknown as error:
            assert ledger.mark_unknown(task, str(error), None).task.state is TaskState.UNKNOWN
            task = ledger.accept(task, Accepted(UUID), NOW, NOW).task
        assert task.state is TaskState.SUBMITTED
        try:
            fact = provider.read_poll(answer(200, poll), [TaskRef(UUID, 2)])[UUID]
        except ReadFailed as error:
            fact = Running(note=str(error))
        if isinstance(fact, Succeeded):
            kept = ledger.succeed(task, fact, NOW).task
            assert (kept.state, kept.urls, kept.seeds, kept.cost_usd) == (
                TaskState.SUCCEEDED, fact.urls, fact.seeds, fact.cost_usd)  # fmt: skip
        elif isinstance(fact, Failed):
            assert ledger.fail(task, fact, NOW).task.kind is fact.kind
        else:
            note = fact.note if isinstance(fact, Running) else ""
            assert ledger.keep_polling(task, note, NOW).task.state is TaskState.SUBMITTED

    check()


def test_a_sqlite_ledger_keeps_whatever_an_answer_says(tmp_path: Path):
    """No text of a provider's stops a task from being recorded."""
    engine = open_engine(sqlite_url(tmp_path / "ledger.db"))
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


def drip(data: bytes, *, first: bytes = b"") -> Script:
    """Send this a byte at a time, each soon enough for any read, for up to six seconds."""

    def script(connection: socket.socket, number: int) -> None:
        del number
        connection.sendall(first)
        pause, end = Event(), time.monotonic() + 6
        for byte in data:
            if pause.wait(TICK) or time.monotonic() > end:
                return
            connection.sendall(bytes([byte]))

    return script


def storm(piece: bytes, *, first: bytes = b"", seconds: float = 6) -> Script:
    """Send this again and again, as fast as it is read, for up to six seconds."""

    def script(connection: socket.socket, number: int) -> None:
        del number
        connection.sendall(first)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            connection.sendall(piece)

    return script


def raw(data: bytes) -> Script:
    """Send these bytes and end the connection."""

    def script(connection: socket.socket, number: int) -> None:
        del number
        connection.sendall(data)

    return script


def zipped(wbits: int, megabytes: int) -> bytes:
    packer = zlib.compressobj(9, wbits=wbits)
    return b"".join(packer.compress(bytes(MB)) for _ in range(megabytes)) + packer.flush()


STATUS_LINE = b"HTTP/1.1 200 OK\r\n"
OK_BODY = b'{"task_id": "t1", "code": 1, "data": {"task_id": "t1"}}'
CHUNKED = head(200, "Transfer-Encoding: chunked")
NESTED = gzip.compress(BOMB)
HOSTILE: dict[str, Script] = {
    "headers a byte at a time": drip(b"X-Slow: " + b"x" * 100_000, first=STATUS_LINE),
    "header lines a byte at a time": drip(b"X: y\r\n" * 20_000, first=STATUS_LINE),
    "a status line a byte at a time": drip(b"HTTP/1.1 200 " + b"O" * 100_000),
    "a body a byte at a time": drip(b" " * 100_000, first=head(200)),
    "chunks of a byte": drip(b"1\r\n \r\n" * 20_000, first=CHUNKED),
    "a slow body": trickle,
    "a storm of 100s": storm(b"HTTP/1.1 100 Continue\r\n\r\n" * 100),
    "100s now and then": drip(b"HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n" * 1000),
    "endless headers": storm(b"X-More: " + b"x" * 8000 + b"\r\n", first=STATUS_LINE),
    "one endless header": storm(b"x" * MB, first=STATUS_LINE + b"X: "),
    "an endless status line": storm(b"O" * MB, first=b"HTTP/1.1 200 "),
    "an endless body": flood,
    "endless chunks": storm(b"100000\r\n" + b" " * MB + b"\r\n", first=CHUNKED),
    "endless trailers": storm(b"X: y\r\n" * 1000, first=CHUNKED + b"2\r\n{}\r\n0\r\n"),
    "an endless chunk size": storm(b"0" * MB, first=CHUNKED),
    "a chunk of no size": raw(CHUNKED + b"zz\r\nkite\r\n"),
    "a chunk of all sizes": raw(CHUNKED + b"ffffffffffffffff\r\n" + OK_BODY),
    "a negative chunk": raw(CHUNKED + b"-5\r\n" + OK_BODY),
    "a gzip bomb": say(200, BOMB, "Content-Encoding: gzip"),
    "a deflate bomb": say(200, zipped(15, 256), "Content-Encoding: deflate"),
    "a bomb in a bomb": say(200, NESTED, "Content-Encoding: gzip, gzip"),
    "a bomb in a bomb, on two lines": say(200, NESTED, "Content-Encoding: gzip", "Content-Encoding: GZIP"),
    "brotli": say(200, b"\x1b\xff\xff", "Content-Encoding: br"),
    "zstandard": say(200, b"(\xb5/\xfd", "Content-Encoding: zstd"),
    "a short length": raw(head(200, "Content-Length: 5") + OK_BODY),
    "a long length": raw(head(200, "Content-Length: 500") + OK_BODY),
    "a length of all sizes": raw(head(200, "Content-Length: " + "9" * 30) + OK_BODY),
    "a negative length": raw(head(200, "Content-Length: -1") + OK_BODY),
    "two lengths": raw(head(200, "Content-Length: 5", "Content-Length: 6") + OK_BODY),
    "a redirect to itself": say(307, b"", "Location: /"),
    "a redirect inside": say(308, b"", "Location: http://169.254.169.254/latest/meta-data/"),
    "a redirect to a file": say(302, b"", "Location: file:///etc/passwd"),
    "a redirect to nothing": say(301, b"", "Location: http://["),
    "an end in the headers": raw(STATUS_LINE + b"Content-Le"),
    "TLS": raw(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 500),
    "another protocol": raw(b"\x00\xff" * 50_000),
    "HTTP/2": raw(b"\x00\x00\x12\x04\x00\x00\x00\x00\x00" * 20),
    "an upgrade": raw(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n" + OK_BODY),
    "a status of its own": raw(b"HTTP/1.1 999 Odd\r\nContent-Length: 2\r\n\r\n{}"),
    "a status that is none": raw(b"HTTP/1.1 000 Odd\r\nContent-Length: 2\r\n\r\n{}"),
    "a header with a NUL": raw(STATUS_LINE + b"X: a\x00b\r\nContent-Length: 2\r\n\r\n{}"),
    "nothing but a body": raw(OK_BODY),
    "wrong types": say(200, b'{"task_id": {"a": 1}, "code": [], "data": 7, "errors": {}}'),
    "a nest": say(200, b"[" * 4 * MB),
    "a number without end": say(200, b'{"task_id": ' + b"9" * 4 * MB + b"}"),
    "an id without end": say(200, b'{"code": 1, "task_id": "' + b"x" * 4 * MB + b'"}'),
}


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
            account.submit(REQUEST, {"prompt": "a kite"}, UUID)
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
                assert keepable(account.submit(REQUEST, {"prompt": "a kite"}, UUID).task_id)
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


# --- results


OPEN = DownloadRules(allow_private_network=True, max_attempts=1, timeout_seconds=0.2, total_timeout_seconds=0.3)
DOWNLOADS = {name: script for name, script in HOSTILE.items() if name not in {
    "wrong types", "a nest", "a number without end", "an id without end", "a short length", "a slow body"}} | {
    "larger than allowed": say(200, bytes(3 * MB)),
    "larger than allowed, it says": raw(head(200, "Content-Length: 99999999999")),
    "nothing": say(200, b""),
    "a bomb of another kind": say(200, zipped(-15, 256), "Content-Encoding: deflate"),
}  # fmt: skip


@pytest.mark.parametrize("name", DOWNLOADS)
def test_a_hostile_result_is_a_failed_read(name: str):
    """Each try ends in its time, in bounded memory, and no more than allowed is ever in the file."""
    server, downloader, file = Server(DOWNLOADS[name]), Downloader(OPEN), io.BytesIO()
    try:
        with bounded(), pytest.raises(ReadFailed) as failed:
            downloader.fetch(f"http://127.0.0.1:{server.port}/1.mp4?k=s3cret", file, max_bytes=2 * MB)
    finally:
        downloader.close()
        server.close()
    assert len(file.getvalue()) <= 2 * MB
    assert len(str(failed.value)) < 1000
    assert "s3cret" not in str(failed.value)
    assert len(server.requests) <= OPEN.max_attempts * (OPEN.max_redirects + 1)


class FirstHopIsPublic(Downloader):
    """Takes this machine's server for a public one, and nothing else."""

    public = ""

    def _check_address(self, url: str) -> None:
        if not url.startswith(self.public):
            super()._check_address(url)

    def _check_peer(self, response: object) -> None:
        """The first hop is on loopback."""


PLACES = [
    "http://169.254.169.254/latest/meta-data/", "http://127.0.0.1:9/", "http://127.1/", "http://[::1]/",
    "http://[::ffff:10.0.0.1]/", "http://0/", "http://2130706433/", "http://10.0.0.1", "//192.168.0.1/x",
    "http://user:pw@10.0.0.1/", "file:///etc/passwd", "file:/etc/passwd", "gopher://127.0.0.1/_x",
    "ftp://10.0.0.1/", "data:text/plain,x", "javascript:alert(1)", "http://[", "http:///x",
    "http://10.0.0.1:99999/", "http://10.0.0.1:-1/", "https://10.0.0.1\\@a.example/", "\\\\10.0.0.1\\x",
    "http://\x7f/", "http://" + "a" * 300 + ".invalid/", "http://a..invalid/", "http://xn--/",
    "http://\xff.invalid/", "s3://bucket/x",
]  # fmt: skip


def test_a_redirect_leads_only_to_the_web():
    """Whatever stands in `Location`: never inside the network, to a file, or to an error that is not ours."""
    place = b""

    def script(connection: socket.socket, number: int) -> None:
        del number
        connection.sendall(
            b"HTTP/1.1 302 X\r\nContent-Length: 0\r\nConnection: close\r\nLocation: " + place + b"\r\n\r\n"
        )

    server, downloader = Server(script), FirstHopIsPublic(DownloadRules(max_attempts=1, timeout_seconds=1))
    downloader.public = f"http://127.0.0.1:{server.port}/"
    texts = st.text(st.characters(codec="latin-1"), max_size=15).map(lambda text: f"file:{text}")

    @examples(80)
    @given(st.sampled_from(PLACES) | texts)
    def check(text: str) -> None:
        nonlocal place
        place = text.encode("latin-1").replace(b"\r", b"").replace(b"\n", b"")
        file = io.BytesIO()
        with pytest.raises(ReadFailed) as failed:
            downloader.fetch(downloader.public + "1.mp4", file)
        assert file.getvalue() == b""
        assert len(str(failed.value)) < 1000

    try:
        check()
        for url in PLACES:
            with pytest.raises(ReadFailed):
                downloader.fetch(url, io.BytesIO())
    finally:
        downloader.close()
        server.close()


@pytest.mark.parametrize(
    "name", ["a bomb in a bomb", "headers a byte at a time", "larger than allowed", "a redirect to a file"]
)
def test_a_hostile_result_leaves_the_store_empty_and_the_task_adoptable(tmp_path: Path, name: str):
    """The clip is paid for: it is asked for again later, and nothing is stored until it is whole."""
    server, store = Server(DOWNLOADS[name]), LocalStore(tmp_path / "root")
    rules = OPEN.model_copy(update={"max_bytes": 2 * MB, "max_attempts": 1})
    try:
        with session_in(tmp_path, "http://127.0.0.1:9", Setup(download=rules)) as session:
            task, _ = session.ledger.claim(NAME, make_row(), ClaimTerms(RUN, NOW, 60, None, Budget()))
            task = session.ledger.accept(task, Accepted("t1"), NOW, NOW).task
            task = session.ledger.succeed(task, Succeeded((f"http://127.0.0.1:{server.port}/1.mp4",)), time.time()).task
            with bounded(2 * MOST_SECONDS):
                (collected,) = collect_tasks(session, store, [task])
            assert "not stored" in collected.problem
            assert session.ledger.tasks.refresh(task).state is TaskState.SUCCEEDED
    finally:
        server.close()
    assert list(store.keys(f"{NAME}/")) == []
    assert list(store.keys(f"{LocalStore.INCOMING}/")) == []


def media(port: int) -> dict[str, bytes]:
    """Files that name other files."""
    url = f"http://127.0.0.1:{port}"
    return {
        "HLS": f"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{url}/1.ts\n#EXT-X-ENDLIST\n".encode(),
        "concat": f"ffconcat version 1.0\nfile {url}/1.mp4\nfile /etc/passwd\n".encode(),
        "SDP": f"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video {port} RTP/AVP 96\n"
        "a=rtpmap:96 H264/90000\n".encode(),
        "DASH": f'<?xml version="1.0"?><MPD type="static" mediaPresentationDuration="PT5S"><Period><AdaptationSet '
        f'mimeType="video/mp4"><Representation id="1" bandwidth="1"><BaseURL>{url}/1.mp4</BaseURL>'
        "</Representation></AdaptationSet></Period></MPD>".encode(),
    }


@pytest.mark.parametrize("kind", ["HLS", "concat", "SDP", "DASH"])
def test_a_file_that_names_another_is_neither_clip_nor_image(tmp_path: Path, kind: str):
    """Nothing is fetched, opened or listened to because a downloaded file says so, and no time is spent on it."""
    server = Server(say(200, b"x"))
    try:
        data = media(server.port)[kind]
        for suffix in ("part", "m3u8", "mp4"):
            path = tmp_path / f"1.{suffix}"
            path.write_bytes(data)
            with bounded(), pytest.raises(ClipInvalid):
                probe(path)
        with bounded():
            assert image_facts(data) is None
        assert server.requests == []
    finally:
        server.close()
