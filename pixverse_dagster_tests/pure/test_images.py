"""Input images in files and in the table itself: nothing outside the image base is ever read."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from pixverse_dagster.core.request import ImageRules
from pixverse_dagster.media.images import ImageSource
from pixverse_dagster.transport.download import Downloader, DownloadRules
from pixverse_dagster_tests.harness.images import HIGHWAY, PIXWITH, RUNWARE, UUID, png, refusal


@pytest.fixture
def downloader() -> Iterator[Downloader]:
    made = Downloader(DownloadRules(allow_private_network=True, max_attempts=1, timeout_seconds=5))
    yield made
    made.close()


@pytest.fixture
def book(tmp_path: Path, downloader: Downloader) -> ImageSource:
    """Images below `tmp_path/images`; what lies beside that folder is out of bounds."""
    (tmp_path / "images").mkdir()
    return ImageSource(str(tmp_path / "images"), downloader)


def test_runware_takes_files_and_inline_images_as_well(book: ImageSource):
    """A local path becomes a data URI, a data URI and bare base64 go as they are, and all are one image."""
    data = png(300, 300)
    (Path(book.base) / "kite.png").write_bytes(data)
    inline = base64.b64encode(data).decode()
    uri = f"data:image/png;base64,{inline}"
    found = {reference: book.check(reference, RUNWARE) for reference in ("kite.png", uri, inline)}
    assert {image.digest for image in found.values()} == {f"sha256:{hashlib.sha256(data).hexdigest()}"}
    assert {image.format for image in found.values()} == {"png"}
    sent = [book.as_sent(reference, image, RUNWARE) for reference, image in found.items()]
    assert sent == [uri, uri, inline]
    assert all(len(image.source) < 60 for image in found.values())


def test_runware_takes_an_image_uuid_as_it_is(book: ImageSource):
    """Its bytes are Runware's own; the digest is the UUID, in one spelling."""
    for reference in (UUID, UUID.upper()):
        image = book.check(reference, RUNWARE)
        assert image.digest == f"uuid:{UUID}"
        assert book.as_sent(reference, image, RUNWARE) == reference


@pytest.mark.parametrize("rules", [HIGHWAY, PIXWITH], ids=["highway", "pixwith"])
def test_other_providers_take_urls_only(book: ImageSource, rules: ImageRules):
    """A path, an inline image, a UUID are refused with what to do instead, though the file is there and good."""
    (Path(book.base) / "kite.png").write_bytes(png(300, 300))
    with refusal("upload kite.png and give its address, or set image_base to where it is served"):
        book.check("kite.png", rules)
    with refusal("takes images by URL only: upload data:image/png;… ("):
        book.check("data:image/png;base64," + base64.b64encode(png(300, 300)).decode(), rules)
    with refusal("give an http(s) URL"):
        book.check(UUID, rules)
    with refusal("takes images by URL only"):
        book.check("ftp://assets.example.org/kite.png", rules)


@pytest.mark.parametrize(
    "reference", ["data:image/png;base64,", "data:image/png;base64,!!!", "data:image/png,kite", "data:text/plain,x"]
)
def test_a_broken_data_uri_is_refused(book: ImageSource, reference: str):
    """Nothing is sent for it."""
    with refusal(""):
        book.check(reference, RUNWARE)


def test_unread_urls_are_known_by_their_address(downloader: Downloader):
    """With reading off nothing is fetched; two addresses are two images, and the address is shown without its query."""
    book = ImageSource(".", downloader, read_urls=False)
    one, other = (book.check(f"https://nowhere.invalid/kite.png?s={s}", HIGHWAY) for s in ("s3cret", "other"))
    assert one.source == other.source == "https://nowhere.invalid/kite.png?…"
    assert one.digest.startswith("url:")
    assert one.digest != other.digest


@pytest.fixture
def outside(tmp_path: Path, book: ImageSource) -> Path:
    """A good image beside the image base, and ways that lead to it."""
    secret = tmp_path / "outside.png"
    secret.write_bytes(png(300, 300))
    (Path(book.base) / "link.png").symlink_to(secret)
    (Path(book.base) / "folder").symlink_to(tmp_path)
    return secret


WAYS_OUT = ["../outside.png", "folder/outside.png", "link.png", "x/../../outside.png", "./../images/../outside.png"]


@pytest.mark.parametrize("reference", [*WAYS_OUT, "absolute"])
def test_a_table_cannot_name_files_outside_its_image_base(book: ImageSource, outside: Path, reference: str):
    """Not by dots, not by an absolute path, not through a symbolic link."""
    with refusal("keep images below it"):
        book.check(str(outside) if reference == "absolute" else reference, RUNWARE)


def test_a_path_inside_the_base_may_be_written_in_any_way(book: ImageSource):
    """Folders, dots that stay inside, an absolute path, a link that stays inside."""
    base = Path(book.base)
    (base / "a").mkdir()
    (base / "a" / "kite.png").write_bytes(png(300, 300))
    (base / "link.png").symlink_to(base / "a" / "kite.png")
    for reference in ("a/kite.png", "a/../a/kite.png", str(base / "a" / "kite.png"), "link.png"):
        assert book.check(reference, RUNWARE).width == 300


UNREADABLE = [
    ("none.png", "No such file"),
    (".", "Is a directory"),
    ("kite\0.png", "not a file name"),
    ("x" * 250 + ".png", "No such file"),
    ("x" * 4000 + ".png", "too long"),
    ("file:///etc/hostname", "No such file"),
]


@pytest.mark.parametrize(("reference", "words"), UNREADABLE, ids=range(len(UNREADABLE)))
def test_a_file_that_cannot_be_read_is_a_problem_of_its_row(book: ImageSource, reference: str, words: str):
    """With the reason; not an exception that ends the reading of the table."""
    with refusal(words):
        book.check(reference, RUNWARE)


def test_a_file_that_changed_since_it_was_checked_is_not_sent(book: ImageSource):
    """The digest that is paid under is that of the bytes that are sent, or nothing is."""
    path = Path(book.base) / "kite.png"
    path.write_bytes(png(300, 300))
    image = book.check("kite.png", RUNWARE)
    path.write_bytes(png(300, 301))
    with refusal("image kite.png changed since the table was read. Nothing was sent"):
        book.as_sent("kite.png", image, RUNWARE)
    path.unlink()
    with refusal("No such file"):
        book.as_sent("kite.png", image, RUNWARE)
