"""What rows are made from has a small picture in the store, for people: made from the bytes that were checked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pixverse_dagster.core.layout import ImageKey
from pixverse_dagster.core.row import Row
from pixverse_dagster.media.images import ImageSource, image_facts
from pixverse_dagster.reports.gallery.writer import write_gallery
from pixverse_dagster.stages.input_pictures import keep_input_pictures
from pixverse_dagster.stages.session import Session
from pixverse_dagster.storage.local import LocalStore
from pixverse_dagster_tests.harness.clips import store_row
from pixverse_dagster_tests.harness.factories import HIGHWAY, NAME, make_row, session_in
from pixverse_dagster_tests.harness.galleries import details_of
from pixverse_dagster_tests.harness.images import RUNWARE, png

NOBODY = "http://127.0.0.1:9"


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    """A session whose images are in a folder, and whose providers nobody answers for."""
    (tmp_path / "kite.png").write_bytes(png(640, 400))
    with session_in(tmp_path, NOBODY) as made:
        options = made.options.model_copy(update={"image_base": str(tmp_path)})
        store = LocalStore(tmp_path / "store")
        yield replace(made, pipeline=replace(made.pipeline, options=options), open_store=lambda: store)


def row_of(session: Session, reference: str = "kite.png") -> Row:
    """A row with this image as it was checked."""
    image = session.images().check(reference, RUNWARE)
    return replace(make_row("kite", HIGHWAY), images={reference: image})


def pictures(session: Session) -> list[str]:
    assert session.open_store is not None
    return list(session.open_store().keys(f"{NAME}/images/"))


def test_an_image_has_its_picture_once_under_its_digest(session: Session, tmp_path: Path):
    """Small, a JPEG, and not made again."""
    row = row_of(session)
    keep_input_pictures(session, [row, replace(row, id="boat")])
    (image,) = row.images.values()
    key = str(ImageKey(NAME, image.digest.removeprefix("sha256:")))
    assert pictures(session) == [key]
    path = tmp_path / "store" / key
    facts = image_facts(path.read_bytes())
    assert facts is not None
    assert (facts.format, facts.width, facts.height) == ("jpeg", 480, 300)
    before = path.stat().st_mtime_ns
    keep_input_pictures(session, [row])
    assert path.stat().st_mtime_ns == before


def test_other_bytes_than_those_that_were_checked_are_no_picture_of_them(session: Session, tmp_path: Path):
    """Nor is a file that went, or one that cannot be drawn; and none of it is an error."""
    row = row_of(session)
    (tmp_path / "kite.png").write_bytes(png(100, 100))
    keep_input_pictures(session, [row])
    (tmp_path / "kite.png").unlink()
    keep_input_pictures(session, [row])
    assert pictures(session) == []


def test_a_store_that_fails_fails_no_row(session: Session):
    """Everything was sent by then."""

    def broken() -> LocalStore:
        raise OSError("the disk is gone")

    keep_input_pictures(replace(session, open_store=broken), [row_of(session)])


def test_no_host_is_asked_for_a_picture(session: Session):
    """An image behind a URL has none: its bytes are not read again."""
    row = make_row("kite", HIGHWAY)
    images = {name: image.model_copy(update={"digest": f"sha256:{'0' * 64}"}) for name, image in row.images.items()}
    keep_input_pictures(session, [replace(row, images=images)])
    source: ImageSource = session.images()
    assert [source.read_checked(name, image, RUNWARE) for name, image in images.items()] == [None]
    assert pictures(session) == []


def test_the_gallery_shows_the_picture_and_never_the_address(session: Session, tmp_path: Path):
    """By the digest, in the pipeline's folder of images."""
    row = make_row("kite", HIGHWAY)
    (image,) = (session.images().check("kite.png", RUNWARE),)
    (reference,) = row.images
    row = replace(row, images={reference: image})
    keep_input_pictures(session, [row_of(session)])
    store = LocalStore(tmp_path / "store")
    store_row(session.ledger, store, row)
    write_gallery(session.ledger, store, NAME)
    (details,) = details_of(store.pages(NAME)).values()
    (shown,) = details["images"]
    assert shown["thumb"] == f"{image.digest.removeprefix('sha256:')}-thumb.jpg"
    assert (shown["role"], shown["name"]) == ("image", "kite.png")
