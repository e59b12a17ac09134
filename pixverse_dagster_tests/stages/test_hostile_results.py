"""Hostile result hosts and files: a failed read at most, in bounded time and memory, and nothing else is asked."""

import io
import socket
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixverse_dagster.core.errors import ClipInvalid, ReadFailed
from pixverse_dagster.core.lifecycle import TaskState
from pixverse_dagster.core.outcomes import Accepted, Succeeded
from pixverse_dagster.ledger.claims import ClaimTerms
from pixverse_dagster.media.decode import image_facts
from pixverse_dagster.media.probe import probe
from pixverse_dagster.policy.budget import Budget
from pixverse_dagster.stages.collect import collect_tasks
from pixverse_dagster.storage.local import LocalStore
from pixverse_dagster.transport.addresses import public_addresses
from pixverse_dagster.transport.download import Downloader, DownloadRules
from pixverse_dagster_tests.harness.factories import NAME, NOW, RUN, Setup, make_row, moved, put_row, session_in
from pixverse_dagster_tests.harness.hostile import examples
from pixverse_dagster_tests.harness.hostile_answers import MB, MOST_SECONDS, bounded
from pixverse_dagster_tests.harness.hostile_servers import HOSTILE, raw, zipped
from pixverse_dagster_tests.harness.raw_http import Server, head, say

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

    server = Server(script)

    def resolve(host: str, port: int) -> Sequence[str]:
        """Takes this machine's server for a public one, and nothing else."""
        return [host] if (host, port) == ("127.0.0.1", server.port) else public_addresses(host, port)

    downloader = Downloader(DownloadRules(max_attempts=1, timeout_seconds=1), resolve=resolve)
    public = f"http://127.0.0.1:{server.port}/"
    texts = st.text(st.characters(codec="latin-1"), max_size=15).map(lambda text: f"file:{text}")

    @examples(80)
    @given(st.sampled_from(PLACES) | texts)
    def check(text: str) -> None:
        nonlocal place
        place = text.encode("latin-1").replace(b"\r", b"").replace(b"\n", b"")
        file = io.BytesIO()
        with pytest.raises(ReadFailed) as failed:
            downloader.fetch(public + "1.mp4", file)
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
            task, _ = session.ledger.claim(
                NAME, put_row(session.ledger, make_row()), ClaimTerms(RUN, NOW, 60, None, Budget())
            )
            task = session.ledger.accept(task, Accepted("t1"), NOW, NOW).task
            task = moved(
                session.ledger.succeed(task, Succeeded((f"http://127.0.0.1:{server.port}/1.mp4",)), time.time())
            )
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
