"""What a provider does not take is converted, sent and kept; and there is a small picture of every image."""

from __future__ import annotations

import base64
import hashlib
import io
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import av
import pytest

from pixverse_dagster.core.layout import ImageKey
from pixverse_dagster.ledger.engine import open_engine
from pixverse_dagster.ledger.ledger import Ledger
from pixverse_dagster.stages.read import TableReading, read_table, record_table
from pixverse_dagster.stages.session import Session
from pixverse_dagster.stages.submit import submit_rows
from pixverse_dagster.storage.local import LocalStore
from pixverse_dagster.storage.reading import read_bytes
from pixverse_dagster.tables import ValueTable
from pixverse_dagster_tests.harness.factories import NAME, make_session
from pixverse_dagster_tests.harness.heif import heif
from pixverse_dagster_tests.harness.images import png
from pixverse_dagster_tests.harness.ledgers import ledger_in
from pixverse_dagster_tests.harness.pictures import picture
from pixverse_dagster_tests.harness.servers import Simulator, StartSimulator

PHOTO = heif([picture(400, 320)], turns=1)
SHA = hashlib.sha256(PHOTO).hexdigest()


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "store")


@pytest.fixture
def provider(simulator: StartSimulator) -> Simulator:
    return simulator()


@pytest.fixture
def session(tmp_path: Path, store: LocalStore, provider: Simulator) -> Iterator[Session]:
    engine = open_engine(ledger_in(tmp_path))
    (tmp_path / "photo.heic").write_bytes(PHOTO)
    os.utime(tmp_path / "photo.heic", (1_700_000_000.5, 1_700_000_000.5))
    with make_session(Ledger(engine), provider.url) as made:
        yield replace(configured(made, image_base=str(tmp_path), convert_images=True), open_store=lambda: store)
    engine.dispose()


def configured(session: Session, **options: object) -> Session:
    return replace(session, pipeline=replace(session.pipeline, options=session.options.model_copy(update=options)))


def read(session: Session, image: str = "photo.heic", model: str = "runware/pixverse-v4.5") -> TableReading:
    row = {"id": "kite", "model": model, "prompt": "a kite", "resolution": "360p", "image": image}
    reading = read_table(session, ValueTable([row]))
    record_table(session, reading)
    return reading


def sides(data: bytes) -> tuple[int, int]:
    with av.open(io.BytesIO(data), "r") as media:
        return media.streams.video[0].width, media.streams.video[0].height


def test_a_photograph_is_converted_sent_kept_and_named_in_the_manifest(
    session: Session, store: LocalStore, provider: Simulator
):
    """Both digests are there, the store has the bytes that were sent, and the row counts by those that it names."""
    reading = read(session)
    (row,) = reading.rows
    (image,) = row.images.values()
    assert (image.digest, image.format, image.width, image.height) == (f"sha256:{SHA}", "heic", 320, 400)
    assert [(one.field, one.asked, one.sent) for one in row.differences] == [("image", "HEIC 320x400", "JPEG 320x400")]
    (submission,) = submit_rows(session, ["kite"])
    assert submission.problem == ""
    assert submission.task
    (task,) = provider.tasks()
    head, _, enclosed = str(task["request"]["inputs"]["frameImages"][0]["image"]).partition(",")
    sent = base64.b64decode(enclosed)
    assert (head, f"sha256:{hashlib.sha256(sent).hexdigest()}") == ("data:image/jpeg;base64", image.sent_digest)
    assert sides(sent) == (320, 400)
    kept = str(ImageKey(NAME, str(image.sent_digest).removeprefix("sha256:"), "jpg"))
    assert read_bytes(store, kept) == sent
    assert sides(read_bytes(store, str(ImageKey(NAME, SHA)))) == (256, 320)


def test_a_photograph_is_uploaded_as_what_it_was_converted_into(session: Session, provider: Simulator):
    """Where the provider takes uploads only; its own limits are those of the conversion."""
    (row,) = read(session, model="pixwith/pixverse-v5").rows
    (image,) = row.images.values()
    (submission,) = submit_rows(session, ["kite"])
    assert (submission.problem, len(provider.tasks())) == ("", 1)
    assert submission.task
    account = session.clients["pixwith"].account
    assert session.ledger.staged.find(account, str(image.sent_digest))
    assert session.ledger.staged.find(account, image.digest) is None


def test_it_is_off_unless_somebody_says_so(session: Session):
    """The row is a problem that says what to do."""
    (problem,) = read(configured(session, convert_images=False)).problems
    assert "is a HEIC file: use JPEG or PNG or WEBP" in problem.message
    assert "or set convert_images" in problem.message


def test_an_unchanged_photograph_is_neither_read_nor_converted_again(session: Session, tmp_path: Path):
    """What it was converted into is known by its digest and the provider's limits."""
    first = read(session)
    (tmp_path / "photo.heic").write_bytes(bytes(len(PHOTO)))
    os.utime(tmp_path / "photo.heic", (1_700_000_000.5, 1_700_000_000.5))
    again = read(session)
    assert again.rows == first.rows, "nobody looked"


def test_a_photograph_that_changed_before_the_submit_is_not_sent(session: Session, tmp_path: Path, provider: Simulator):
    """As any other image."""
    read(session)
    (tmp_path / "photo.heic").write_bytes(heif([picture(400, 320, shift=3)]))
    (submission,) = submit_rows(session, ["kite"])
    assert "changed since the table was read. Nothing was sent" in submission.problem
    assert provider.tasks() == []


def test_what_was_kept_is_sent_again_when_the_photograph_is_gone(
    session: Session, tmp_path: Path, store: LocalStore, provider: Simulator
):
    """The store has the very bytes."""
    (row,) = read(session).rows
    (image,) = row.images.values()
    session.images().bytes_as_sent("photo.heic", image, row.request.IMAGE_RULES)
    (tmp_path / "photo.heic").unlink()
    (submission,) = submit_rows(session, ["kite"])
    assert (submission.problem, len(provider.tasks())) == ("", 1)


def test_an_image_without_a_thumbnail_is_no_problem_of_its_row(session: Session, store: LocalStore, tmp_path: Path):
    """Whatever stands where it should be put."""
    (tmp_path / "kite.png").write_bytes(png(300, 300))
    (tmp_path / "store" / NAME).mkdir(parents=True)
    (tmp_path / "store" / NAME / "images").write_text("no folder")
    read(session, "kite.png")
    (submission,) = submit_rows(session, ["kite"])
    assert (submission.problem, submission.sent) == ("", True)
    assert submission.task
