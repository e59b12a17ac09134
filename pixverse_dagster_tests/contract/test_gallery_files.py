"""The files of a gallery, in every store: replaced in one step, and apart from the clips."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import signal
import uuid
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest

from pixverse_dagster.storage.base import ClipStore
from pixverse_dagster.storage.local import LocalStore
from pixverse_dagster.storage.pages import MemoryPages, PageFiles
from pixverse_dagster.storage.s3 import S3Store
from pixverse_dagster_tests.harness.putting import putting

INDEX = "data/index.js"
THUMB = "thumbs/0123456789abcdef0123.jpg"
POSTER = "films/clips/kite/0123456789ab-t1/1.jpg"
FIRST, SECOND = b"first" * 1000, b"second" * 2000


@pytest.fixture(params=["local", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ClipStore:
    if request.param == "local":
        return LocalStore(tmp_path / "store")
    client, bucket = request.getfixturevalue("shared_bucket")
    return S3Store(client, bucket, f"/teams/{uuid.uuid4().hex}/")


@pytest.fixture
def pages(store: ClipStore) -> PageFiles:
    return store.pages("my films")


def data_of(pages: PageFiles, path: str) -> bytes | None:
    found = pages.read(path)
    return found.data if found else None


def test_a_file_is_written_replaced_read_listed_and_deleted(store: ClipStore, pages: PageFiles):
    """It stands in the pipeline's own folder; deleting what is not there is no error."""
    assert data_of(pages, INDEX) is None
    pages.write(INDEX, FIRST)
    pages.write(INDEX, SECOND)
    assert data_of(pages, INDEX) == SECOND
    assert list(store.keys("my%20films/")) == ["my%20films/gallery/data/index.js"]
    assert [path for path, _ in pages.list()] == [INDEX]
    assert pages.uri(INDEX) == store.uri("my%20films/gallery/data/index.js")
    pages.delete(INDEX)
    pages.delete(INDEX)
    assert (data_of(pages, INDEX), list(pages.list())) == (None, [])


@pytest.mark.parametrize(
    "path", ["../clips/kite/1.mp4", "/etc/passwd.js", "data/../../x.js", "a/b.js", "data/.js", "x.mp4", "", "thumbs/"]
)
def test_nothing_but_files_of_a_gallery_is_touched(pages: PageFiles, path: str):
    """No path leads to a clip, to another pipeline, or out of the store."""
    for touch in (pages.read, pages.delete, pages.uri):
        with pytest.raises(ValueError, match="no file of a gallery"):
            touch(path)
    with pytest.raises(ValueError, match="no file of a gallery"):
        pages.write(path, b"")
    with pytest.raises(ValueError, match="no file of a gallery"):
        pages.copy(POSTER, path)


def test_a_conditional_write_needs_the_version_that_was_read(pages: PageFiles):
    """None for a file that is not there. A version that is old, or of a file that went, changes nothing."""
    assert pages.write_if(INDEX, FIRST, None)
    assert not pages.write_if(INDEX, SECOND, None)
    found = pages.read(INDEX)
    assert found is not None
    assert pages.write_if(INDEX, SECOND, found.version)
    assert not pages.write_if(INDEX, FIRST, found.version)
    assert data_of(pages, INDEX) == SECOND
    pages.delete(INDEX)
    assert not pages.write_if(INDEX, FIRST, found.version)


@pytest.mark.parametrize("exists", [False, True])
def test_of_conditional_writers_at_once_exactly_one_succeeds(pages: PageFiles, exists: bool):  # noqa: FBT001 - a parameter
    """All have read the same: the file is the winner's, whole."""
    if exists:
        pages.write(INDEX, FIRST)
    found = pages.read(INDEX)
    together, contents = Barrier(6), [bytes([number]) * 5000 for number in range(6)]

    def write(number: int) -> bool:
        together.wait()
        return pages.write_if(INDEX, contents[number], found.version if found else None)

    with ThreadPoolExecutor(6) as pool:
        won = list(pool.map(write, range(6)))
    assert sum(won) == 1
    assert data_of(pages, INDEX) == contents[won.index(True)]


def test_a_picture_is_copied_unread_and_outlives_its_clip(store: ClipStore, pages: PageFiles, tmp_path: Path):
    """By a hard link, or within the bucket; copying it again is no error; one that is not there is said to be so."""
    putting(store, tmp_path)(POSTER, FIRST)
    assert pages.copy(POSTER, THUMB)
    assert pages.copy(POSTER, THUMB)
    assert data_of(pages, THUMB) == FIRST
    store.delete(POSTER)
    assert data_of(pages, THUMB) == FIRST
    with pytest.raises(FileNotFoundError):
        pages.copy(POSTER, "thumbs/another.jpg")


def test_a_bucket_tells_browsers_what_a_file_is_and_how_long_it_holds(shared_bucket: tuple[Any, str], tmp_path: Path):
    """The page and the index are asked for each time; what is named by its bytes is never asked for again."""
    client, bucket = shared_bucket
    store = S3Store(client, bucket, uuid.uuid4().hex)
    pages = store.pages("films")
    putting(store, tmp_path)(POSTER, FIRST)
    pages.copy(POSTER, THUMB)
    for path in ("index.html", INDEX, "data/c-0123456789abcdef.js", "app-0123456789ab.css"):
        pages.write(path, FIRST)
    pages.write_if(INDEX, SECOND, getattr(pages.read(INDEX), "version", None))
    for_ever = "public, max-age=31536000, immutable"
    wanted = {
        "index.html": ("text/html; charset=utf-8", "no-cache"),
        INDEX: ("text/javascript; charset=utf-8", "no-cache"),
        "data/c-0123456789abcdef.js": ("text/javascript; charset=utf-8", for_ever),
        "app-0123456789ab.css": ("text/css; charset=utf-8", for_ever),
        THUMB: ("image/jpeg", for_ever),
    }
    heads = {path: client.head_object(Bucket=bucket, Key=pages.uri(path).split("/", 3)[3]) for path in wanted}
    assert {path: (head["ContentType"], head["CacheControl"]) for path, head in heads.items()} == wanted


def test_what_a_killed_writer_left_is_listed_and_can_be_deleted(tmp_path: Path):
    """A process is killed while it writes: each file is whole, or not there, and what is left has a name that goes."""
    store = LocalStore(tmp_path / "store")
    context = multiprocessing.get_context("spawn")
    mine, others = context.Pipe()
    process = context.Process(target=write_for_ever, args=(tmp_path / "store", others))
    process.start()
    assert mine.poll(60)
    os.kill(process.pid or 0, signal.SIGKILL)
    process.join()
    pages = store.pages("films")
    for path, _ in list(pages.list()):
        if path == INDEX:
            data = data_of(pages, INDEX) or b""
            assert hashlib.sha256(data[64:]).hexdigest().encode() == data[:64]
        pages.delete(path)
    assert list(pages.list()) == []


def write_for_ever(root: Path, ready: Connection) -> None:
    pages = LocalStore(root).pages("films")
    for number in range(1_000_000):
        data = bytes([number % 256]) * 300_000
        pages.write(INDEX, hashlib.sha256(data).hexdigest().encode() + data)
        if number == 5:
            ready.send("under way")


def test_a_gallery_in_memory_keeps_the_same_contract():
    """But for pictures, which it leaves out."""
    pages = MemoryPages()
    assert pages.write_if(INDEX, FIRST, None)
    assert not pages.write_if(INDEX, SECOND, None)
    found = pages.read(INDEX)
    assert found is not None
    assert pages.write_if(INDEX, SECOND, found.version)
    assert [path for path, _ in pages.list()] == [INDEX]
    with pytest.raises(ValueError, match="no file of a gallery"):
        pages.write("../x.js", b"")
    pages.delete(INDEX)
    assert pages.read(INDEX) is None
