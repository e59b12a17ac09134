"""New bytes under an unchanged address of an image are named, and paid for only if somebody says so."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pixverse_dagster.core.lifecycle import FailureKind
from pixverse_dagster.core.outcomes import Failed
from pixverse_dagster.ledger.engine import open_engine
from pixverse_dagster.ledger.ledger import Ledger
from pixverse_dagster.stages.places import queued_row
from pixverse_dagster.stages.queue import queue_new_rows
from pixverse_dagster.stages.read import TableReading, read_table, record_table
from pixverse_dagster.stages.session import Session
from pixverse_dagster.stages.submission import Submission
from pixverse_dagster.stages.submit import submit_rows
from pixverse_dagster.tables import ValueTable
from pixverse_dagster_tests.harness.factories import make_session, moved
from pixverse_dagster_tests.harness.images import png
from pixverse_dagster_tests.harness.ledgers import ledger_in
from pixverse_dagster_tests.harness.servers import Simulator, StartSimulator

OLD, NEW = png(300, 300), png(320, 320)


@pytest.fixture
def files() -> dict[str, bytes | int]:
    """What the site serves, by path: bytes, or a status without any."""
    return {"/kite.png": OLD}


@pytest.fixture
def site(files: dict[str, bytes | int]) -> Iterator[str]:
    """The URL of a site that serves the files as they are now."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = files.get(self.path.partition("?")[0], 404)
            data = b"" if isinstance(found, int) else found
            self.send_response(found if isinstance(found, int) else 200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@dataclass
class Films:
    """A table of one row that is read, recorded and submitted as the assets do it."""

    session: Session
    provider: Simulator
    folder: Path
    options: dict[str, object] = field(default_factory=dict[str, object])

    def read(self, **cells: object) -> TableReading:
        row = {"id": "kite 7", "model": "runware/pixverse-v4.5", "prompt": "a kite", "resolution": "360p", **cells}
        own = {"read_image_urls": True, "image_base": str(self.folder), **self.options}
        pipeline = replace(self.session.pipeline, options=self.session.options.model_copy(update=own))
        self.session = replace(self.session, pipeline=pipeline)
        reading = read_table(self.session, ValueTable([row]))
        record_table(self.session, reading)
        return reading

    def submit(self) -> Submission:
        (submission,) = submit_rows(self.session, ["kite 7"])
        return submission

    @property
    def paid(self) -> int:
        return len(self.provider.tasks())


@pytest.fixture
def films(tmp_path: Path, simulator: StartSimulator) -> Iterator[Films]:
    engine = open_engine(ledger_in(tmp_path))
    provider = simulator()
    with make_session(Ledger(engine), provider.url) as session:
        yield Films(session, provider, tmp_path)
    engine.dispose()


def test_new_bytes_under_an_unchanged_address_are_named_and_not_paid_for(
    films: Films, site: str, files: dict[str, bytes | int]
):
    """At every reading, whatever the link is signed with, and when the image was gone in between."""
    image = f"{site}/kite.png?v=1"
    (before,) = films.read(image=image).rows
    assert films.submit().sent
    assert films.read(image=image).cautions == ()
    for number in (1, 2):
        files["/kite.png"] = png(300 + number, 300)
        reading = films.read(image=f"{image}&X-Amz-Signature={number}")
        assert (reading.rows[0].digest, reading.rows[0].address_digest) == (before.digest, before.address_digest)
        ((column, message),) = [(caution.column, caution.message) for caution in reading.cautions]
        assert (column, message[:14]) == ("image", "image changed:")
        assert "tasks retry 'kite 7' --take" in message
        assert not films.submit().sent
        data = files.pop("/kite.png")
        assert films.read(image=image).rows[0].digest == before.digest
        files["/kite.png"] = data
    files["/kite.png"] = OLD
    assert films.read(image=image).cautions == ()
    assert films.paid == 1


def test_another_take_pays_for_the_new_bytes_once_the_table_was_read_again(
    films: Films, site: str, files: dict[str, bytes | int]
):
    """A person says so; a submit before the reading says what to do and spends nothing."""
    image = f"{site}/kite.png"
    films.read(image=image)
    films.submit()
    files["/kite.png"] = NEW
    (kept,) = films.read(image=image).rows
    raised = films.session.ledger.rows.raise_take("films", "kite 7")
    assert (raised.take, raised.images) == (2, kept.images)
    assert queue_new_rows(films.session, 10).wanted == []
    refused = films.submit()
    assert (refused.sent, films.paid) == (False, 1)
    assert "image changed" in refused.problem
    assert "Nothing was sent: read the table again" in refused.problem
    reading = films.read(image=image)
    assert (reading.cautions, reading.rows[0].take, reading.rows[0].images[image].width) == ((), 2, 320)
    assert films.submit().sent
    files["/kite.png"] = OLD
    assert len(films.read(image=image).cautions) == 1
    assert (films.submit().sent, films.paid) == (False, 2)


def test_a_take_that_waits_in_the_queue_goes_on_waiting_with_the_new_bytes(
    films: Films, site: str, files: dict[str, bytes | int]
):
    """A person asked for it; a row whose words changed in the meantime is nobody's wish."""
    image, ledger = f"{site}/kite.png", films.session.ledger
    films.read(image=image)
    films.submit()
    files["/kite.png"] = NEW
    films.read(image=image)
    raised = ledger.rows.raise_take("films", "kite 7")
    ledger.queue.add("films", [queued_row(films.session, raised, "take 2 was asked for by hand")], 0)
    (row,) = films.read(image=image).rows
    assert [entry.digest for entry in ledger.queue.find("films")] == [row.digest]
    assert row.digest != raised.digest
    films.read(image=image, prompt="a kite falls")
    assert ledger.queue.find("films") == []


def test_an_option_pays_for_every_change(films: Films, site: str, files: dict[str, bytes | int]):
    """Explicitly: `pay_for_changed_images`."""
    films.options["pay_for_changed_images"] = True
    image = f"{site}/kite.png"
    (before,) = films.read(image=image).rows
    films.submit()
    files["/kite.png"] = NEW
    reading = films.read(image=image)
    assert (reading.cautions, reading.rows[0].digest != before.digest) == ((), True)
    assert reading.rows[0].address_digest == before.address_digest
    assert (films.submit().sent, films.paid) == (True, 2)


def test_a_row_that_was_changed_by_a_person_takes_the_new_bytes(films: Films, site: str, files: dict[str, bytes | int]):
    """Its words are others: it is another request anyway. A delivery option is no such change."""
    image = f"{site}/kite.png"
    films.read(image=image)
    films.submit()
    files["/kite.png"] = NEW
    assert len(films.read(image=image, ttl_seconds=60).cautions) == 1
    reading = films.read(image=image, prompt="a kite falls")
    assert (reading.cautions, reading.rows[0].images[image].width) == ((), 320)
    assert (films.submit().sent, films.paid) == (True, 2)


def test_what_was_not_paid_for_takes_the_new_bytes(films: Films, site: str, files: dict[str, bytes | int]):
    """A row that was never submitted."""
    image = f"{site}/kite.png"
    films.read(image=image)
    files["/kite.png"] = NEW
    reading = films.read(image=image)
    assert (reading.cautions, reading.rows[0].images[image].width) == ((), 320)
    assert films.submit().sent


def test_what_a_provider_failed_with_is_not_tried_again_with_every_new_image(
    films: Films, site: str, files: dict[str, bytes | int]
):
    """It may have been charged. A person who releases the row pays for the image that is there now."""
    image = f"{site}/kite.png"
    films.read(image=image)
    task = films.submit().task
    assert task
    failed = moved(films.session.ledger.fail(task, Failed(FailureKind.MODERATED, "the image"), films.session.clock()))
    files["/kite.png"] = NEW
    assert len(films.read(image=image).cautions) == 1
    assert (films.submit().sent, films.paid) == (False, 1)
    films.session.ledger.release(failed, "by hand")
    assert "read the table again" in films.submit().problem
    assert films.read(image=image).cautions == ()
    assert (films.submit().sent, films.paid) == (True, 2)


def test_a_replaced_file_is_meant(films: Films, tmp_path: Path):
    """Somebody put it there; it counts as a changed row does."""
    (tmp_path / "kite.png").write_bytes(OLD)
    (before,) = films.read(image="kite.png").rows
    films.submit()
    (tmp_path / "kite.png").write_bytes(NEW)
    reading = films.read(image="kite.png")
    assert (reading.cautions, reading.rows[0].digest != before.digest) == ((), True)
    assert reading.rows[0].address_digest == before.address_digest
    assert (films.submit().sent, films.paid) == (True, 2)


@pytest.mark.parametrize("first", [True, False])
def test_to_read_images_or_not_pays_for_nothing(films: Films, site: str, first: bool):  # noqa: FBT001 - a parameter
    """The option is no change of the row: what was paid for under the address or under the bytes stays so."""
    films.options["read_image_urls"] = first
    (before,) = films.read(image=f"{site}/kite.png").rows
    films.submit()
    films.options["read_image_urls"] = not first
    reading = films.read(image=f"{site}/kite.png")
    assert (reading.cautions, reading.rows[0].digest) == ((), before.digest)
    assert (films.submit().sent, films.paid) == (False, 1)


def test_only_the_image_that_changed_is_named(films: Films, site: str, files: dict[str, bytes | int]):
    """In its column; the other frame is as it was."""
    files["/last.png"] = OLD
    cells = {"image": f"{site}/kite.png", "last_image": f"{site}/last.png"}
    films.read(**cells)
    films.submit()
    files["/last.png"] = NEW
    assert [caution.column for caution in films.read(**cells).cautions] == ["last_image"]


@pytest.mark.parametrize("status", [503, 500, 502, 429, 408])
def test_a_row_whose_image_cannot_be_read_for_now_keeps_what_it_was(
    films: Films, site: str, files: dict[str, bytes | int], status: int
):
    """Paid or not, with its link signed anew: the row stays in the table, a caution says so, nothing is paid again."""
    (before,) = films.read(image=f"{site}/kite.png").rows
    files["/kite.png"] = status
    reading = films.read(image=f"{site}/kite.png?X-Amz-Signature=2")
    assert ([row.digest for row in reading.rows], reading.problems) == ([before.digest], ())
    ((column, message),) = [(caution.column, caution.message) for caution in reading.cautions]
    assert (column, message[:35]) == ("image", "the image cannot be read for now: h")
    assert f"HTTP {status}" in message
    films.submit()
    assert films.paid == 0  # its provider cannot read it either
    files["/kite.png"] = OLD
    assert films.submit().sent
    files["/kite.png"] = status
    assert [row.digest for row in films.read(image=f"{site}/kite.png").rows] == [before.digest]
    assert not films.submit().sent
    files["/kite.png"] = OLD
    assert films.read(image=f"{site}/kite.png").cautions == ()
    assert films.paid == 1


def test_a_row_that_says_something_new_is_not_known_by_an_image_that_was_not_read(
    films: Films, site: str, files: dict[str, bytes | int]
):
    """Other words, another address, another model, or a row that was never read: a problem until the host is back."""
    image = f"{site}/kite.png"
    for cells in ({"prompt": "a red kite"}, {"image": f"{site}/other.png"}, {"id": "new"}, {"seed": 7}):
        files["/kite.png"] = OLD
        films.read(image=image)
        files["/kite.png"] = files["/other.png"] = 503
        reading = films.read(**{"image": image, **cells})
        assert reading.rows == ()
        ((column, message),) = [(problem.column, problem.message) for problem in reading.problems]
        assert column == "image"
        assert "for now" in message


@pytest.mark.parametrize("status", [404, 410, 403])
def test_an_image_that_is_gone_is_a_problem_of_its_row(
    films: Films, site: str, files: dict[str, bytes | int], status: int
):
    """An answer that says so is no blip."""
    films.read(image=f"{site}/kite.png")
    files["/kite.png"] = status
    reading = films.read(image=f"{site}/kite.png")
    assert (reading.rows, len(reading.problems), reading.cautions) == ((), 1, ())


def test_a_take_that_was_asked_for_outlives_a_blip(films: Films, site: str, files: dict[str, bytes | int]):
    """The row keeps its images, and has the take that is due."""
    films.read(image=f"{site}/kite.png")
    assert films.submit().sent
    films.session.ledger.rows.raise_take("films", "kite 7")
    files["/kite.png"] = 503
    (row,) = films.read(image=f"{site}/kite.png").rows
    assert row.take == 2
    (row,) = films.read(image=f"{site}/kite.png", take=3).rows
    assert row.take == 3


# Images that are gone


@pytest.mark.parametrize(
    "answer",
    [403, 404, 410, b"<html>This link has expired</html>", OLD[: len(OLD) // 2]],
    ids=["403", "404", "410", "a page", "half of it"],
)
def test_a_row_that_has_its_task_is_never_invalid_because_its_link_expired(
    films: Films, site: str, files: dict[str, bytes | int], answer: bytes | int
):
    """It keeps what it was paid for, says so, and pays nothing; before it had one, it is a problem."""
    image = f"{site}/kite.png"
    files["/kite.png"] = answer
    assert films.read(image=image).rows == ()
    files["/kite.png"] = OLD
    (before,) = films.read(image=image).rows
    assert films.submit().sent
    files["/kite.png"] = answer
    for cells in ({}, {"prompt": "two kites"}, {"take": 2}):
        reading = films.read(image=image, **cells)
        assert ([row.digest for row in reading.rows], reading.problems) == ([before.digest], ())
        ((column, message),) = [(caution.column, caution.message) for caution in reading.cautions]
        assert column == "image"
        assert "The row keeps the task that it has, and nothing is paid" in message
        assert not films.submit().sent
    files["/kite.png"] = OLD
    assert films.read(image=image, prompt="two kites").rows[0].digest != before.digest
    assert films.paid == 1


def test_another_image_that_cannot_be_used_is_a_problem_of_its_row(
    films: Films, site: str, files: dict[str, bytes | int]
):
    """The table asks for it, so that keeping the old one would hide what is to be mended."""
    films.read(image=f"{site}/kite.png")
    assert films.submit().sent
    files["/other.png"] = b"<html>Sign in</html>"
    reading = films.read(image=f"{site}/other.png")
    assert (reading.rows, len(reading.problems)) == ((), 1)


def test_a_row_without_a_task_is_not_sent_with_an_image_that_is_gone(
    films: Films, site: str, files: dict[str, bytes | int]
):
    """It was read once, and nobody can make a clip of it now."""
    films.read(image=f"{site}/kite.png")
    del files["/kite.png"]
    reading = films.read(image=f"{site}/kite.png")
    assert (reading.rows, len(reading.problems)) == ((), 1)


def test_a_local_file_that_was_removed_after_the_submit_leaves_the_row_its_task(films: Films):
    """As a link that expired."""
    (films.folder / "kite.png").write_bytes(OLD)
    (before,) = films.read(image="kite.png").rows
    films.submit()
    (films.folder / "kite.png").unlink()
    reading = films.read(image="kite.png")
    assert ([row.digest for row in reading.rows], len(reading.cautions)) == ([before.digest], 1)
    assert films.paid == 1
