"""An image that did not change is not read again, and one that did always is."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pixverse_dagster.core.manifest import InputImage
from pixverse_dagster.ledger.engine import open_engine
from pixverse_dagster.ledger.ledger import Ledger
from pixverse_dagster.stages.read import read_table
from pixverse_dagster.stages.session import Session
from pixverse_dagster.storage.objects import Objects
from pixverse_dagster.tables import ValueTable
from pixverse_dagster_tests.harness.factories import make_session
from pixverse_dagster_tests.harness.images import png
from pixverse_dagster_tests.harness.ledgers import ledger_in
from pixverse_dagster_tests.harness.servers import S3Server

LONG_AGO = "Thu, 01 Jan 2026 00:00:00 GMT"


@dataclass
class Site:
    """Serves one image with these headers, and says with which status it answered."""

    url: str = ""
    data: bytes = png(300, 300)
    headers: dict[str, str] = field(default_factory=dict[str, str])
    answered: list[int] = field(default_factory=list[int])


@pytest.fixture
def site() -> Iterator[Site]:
    found = Site()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            etag, since = (found.headers.get(name, "none") for name in ("ETag", "Last-Modified"))
            same = self.headers["If-None-Match"] == etag or self.headers["If-Modified-Since"] == since
            data = b"" if same else found.data
            found.answered.append(304 if same else 200)
            self.send_response(found.answered[-1])
            for name, value in found.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        found.url = f"http://127.0.0.1:{server.server_port}"
        yield found
        server.shutdown()
        thread.join()


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    engine = open_engine(ledger_in(tmp_path))
    with make_session(Ledger(engine), "http://127.0.0.1:1") as made:
        options = made.options.model_copy(update={"image_base": str(tmp_path), "read_image_urls": True})
        yield replace(made, pipeline=replace(made.pipeline, options=options))
    engine.dispose()


def read(session: Session, image: str, model: str = "runware/pixverse-v4.5") -> InputImage:
    reading = read_table(session, ValueTable([{"id": "kite", "model": model, "prompt": "a kite", "image": image}]))
    assert reading.problems == ()
    (found,) = reading.rows[0].images.values()
    return found


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


MARKS = [
    {"ETag": '"one"'},
    {"ETag": 'W/"one"', "Last-Modified": LONG_AGO},
    {"Last-Modified": LONG_AGO},
]


@pytest.mark.parametrize("headers", [MARKS[0], MARKS[2]], ids=["by its ETag", "by its time"])
def test_an_unchanged_image_behind_a_url_is_read_once(session: Session, site: Site, headers: dict[str, str]):
    """Whatever the link is signed with; and a new one is seen at once."""
    site.headers = headers
    first = read(session, f"{site.url}/kite.png?X-Amz-Signature=1&v=1")
    assert read(session, f"{site.url}/kite.png?X-Amz-Signature=2&v=1").digest == first.digest == digest(site.data)
    assert site.answered == [200, 304]
    site.data, site.headers = png(310, 310), {"ETag": '"two"', "Last-Modified": "Fri, 02 Jan 2026 00:00:00 GMT"}
    changed = read(session, f"{site.url}/kite.png?v=1")
    assert (changed.digest, changed.width) == (digest(site.data), 310)
    assert site.answered == [200, 304, 200]


@pytest.mark.parametrize(
    "headers", [{}, {"ETag": 'W/"one"'}, {"ETag": "x" * 500}], ids=["no mark", "a weak one", "an endless one"]
)
def test_without_a_mark_that_holds_for_the_bytes_an_image_is_read_again(
    session: Session, site: Site, headers: dict[str, str]
):
    """A weak ETag stays where bytes change."""
    site.headers = headers
    for _ in range(2):
        assert read(session, f"{site.url}/kite.png").digest == digest(site.data)
    assert site.answered == [200, 200]


def test_an_image_that_changed_within_the_second_of_its_time_is_read_again(session: Session, site: Site):
    """What a host calls the time of a file has no parts of a second: such a time is no mark."""
    now = "Thu, 01 Jan 2099 00:00:00 GMT"
    site.headers = {"Last-Modified": now}
    for _ in range(2):
        read(session, f"{site.url}/kite.png")
    assert site.answered == [200, 200]


def test_an_unchanged_file_is_not_read_again(session: Session, tmp_path: Path):
    """By size and time. With one of them changed it is, and what is not there is said."""
    path, old, new = tmp_path / "kite.png", png(300, 300), bytearray(png(300, 300))
    path.write_bytes(old)
    os.utime(path, (1_700_000_000.5, 1_700_000_000.5))
    assert read(session, "kite.png").digest == digest(old)
    new[-20] ^= 1  # no image any more: whoever reads it, refuses it
    path.write_bytes(new)
    os.utime(path, (1_700_000_000.5, 1_700_000_000.5))
    assert read(session, "kite.png").digest == digest(old), "nobody looked"
    path.write_bytes(larger := png(300, 300, padding=9))
    os.utime(path, (1_700_000_000.5, 1_700_000_000.5))
    assert read(session, "kite.png").digest == digest(larger)
    path.write_bytes(changed := png(310, 300))
    assert read(session, "kite.png").width == 310
    assert read(session, "kite.png").digest == digest(changed)


def test_what_is_known_of_an_image_is_held_against_the_rules_of_every_provider(session: Session, site: Site):
    """Its bytes are known, whichever provider it was read for first; whether it may be sent is asked each time."""
    site.data, site.headers = png(4200, 2100), {"ETag": '"one"'}
    assert read(session, f"{site.url}/kite.png", "pixwith/pixverse-v5").width == 4200
    row = {"id": "kite", "model": "runware/pixverse-v4.5", "prompt": "a kite", "image": f"{site.url}/kite.png"}
    (problem,) = read_table(session, ValueTable([row])).problems
    assert "no side may exceed 4000 px" in problem.message
    assert site.answered == [200, 304]


def test_a_damaged_image_is_not_remembered_as_a_sound_one(session: Session, site: Site):
    """It is read at every reading, until it is mended under the same mark."""
    site.headers = {"ETag": '"one"'}
    whole, site.data = site.data, site.data[:-12]
    row = {"id": "kite", "model": "runware/pixverse-v4.5", "prompt": "a kite", "image": f"{site.url}/kite.png"}
    for _ in range(2):
        (problem,) = read_table(session, ValueTable([row])).problems
        assert "is cut short" in problem.message
    site.data = whole
    assert read(session, f"{site.url}/kite.png").digest == digest(whole)
    assert site.answered == [200, 200, 200]


def test_an_unchanged_object_is_not_read_again(s3_bucket: tuple[S3Server, str], monkeypatch: pytest.MonkeyPatch):
    """S3 is asked by the ETag; what is not there is said, and new bytes are read."""
    s3, bucket = s3_bucket
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3.endpoint_url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3.secret_key)
    monkeypatch.setenv("AWS_DEFAULT_REGION", s3.region)
    client, objects = s3.client(), Objects()
    client.put_object(Bucket=bucket, Key="kite.png", Body=b"old")
    data, mark = objects.read(f"s3://{bucket}/kite.png", 100)
    assert (data, objects.read(f"s3://{bucket}/kite.png", 100, mark)) == (b"old", (None, mark))
    client.put_object(Bucket=bucket, Key="kite.png", Body=b"new")
    assert objects.read(f"s3://{bucket}/kite.png", 100, mark)[0] == b"new"
    with pytest.raises(FileNotFoundError):
        objects.read(f"s3://{bucket}/none.png", 100, mark)
    objects.close()
