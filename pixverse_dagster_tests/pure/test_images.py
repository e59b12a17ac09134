"""Input images in files and in the table itself: nothing outside the image base is ever read."""

from __future__ import annotations

import base64
import hashlib
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import pixverse_dagster
from pixverse_dagster.core.errors import InvalidRow
from pixverse_dagster.core.manifest import InputImage
from pixverse_dagster.core.request import ImageRules
from pixverse_dagster.media.decode import check_image
from pixverse_dagster.media.images import ImageSource
from pixverse_dagster.transport.download import Downloader, DownloadRules
from pixverse_dagster_tests.harness.hostile import examples
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
def test_images_are_read_for_every_provider_and_a_uuid_is_runwares(book: ImageSource, rules: ImageRules):
    """A path and an inline image are; what nobody can read is refused."""
    (Path(book.base) / "kite.png").write_bytes(png(300, 300))
    inline = "data:image/png;base64," + base64.b64encode(png(300, 300)).decode()
    assert book.check("kite.png", rules).digest == book.check(inline, rules).digest
    with refusal("give an http(s) URL"):
        book.check(UUID, rules)
    with refusal("cannot be read below"):
        book.check("ftp://assets.example.org/kite.png", rules)
    with refusal("cannot be reached from here"):
        book.check("s3://bucket/kite.png", rules)


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


def test_an_image_of_which_a_reading_saw_other_bytes_is_not_sent(book: ImageSource):
    """By its URL neither: what the provider would fetch there is not what the row is paid for."""
    image = InputImage(source="https://a.example.org/kite.png", digest=f"sha256:{'a' * 64}", newer=f"sha256:{'b' * 64}")
    with refusal("has other bytes than those that the row was submitted with. Nothing was sent"):
        book.as_sent(image.source, image, RUNWARE)


# Whatever the bytes are


PACKAGE = Path(pixverse_dagster.__file__).parent
DATA = Path(__file__).parents[1] / "data"
REAL: list[bytes] = [
    *(path.read_bytes()[:65_536] for path in sorted((PACKAGE / "samples" / "images").iterdir())),
    *(path.read_bytes()[:65_536] for path in sorted(DATA.rglob("*")) if path.suffix in {".png", ".tif", ".gif"}),
    *(path.read_bytes()[:65_536] for path in sorted(DATA.rglob("1.*"))[:4]),
    (DATA / "vbench.csv").read_bytes()[:65_536],
    Path(sys.executable).read_bytes()[:65_536],
    png(300, 300),
    png(40, 40)[:33],
    b'<svg xmlns="http://www.w3.org/2000/svg" width="640" height="480"><rect width="9" height="9"/></svg>',
    b'\xef\xbb\xbf<?xml version="1.0" encoding="UTF-8"?>\n<!-- drawn -->\n<svg viewBox="0 0 9 9"/>',
    b"\xff\x0a" + bytes(range(256)),
    b"\0\0\0\x0cJXL \x0d\x0a\x87\x0a\0\0\0\x14ftypjxl \0\0\0\0jxl \0\0\0\x09jxlc\xff",
    b"\0\0\0\x0cjP  \x0d\x0a\x87\x0a" + bytes(64),
    b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf" + bytes(200),
    b"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:1/x.ts\n",
    b"ffconcat version 1.0\nfile /etc/hostname\n",
    b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\nm=video 5004 RTP/AVP 96\r\n",
    b"<html><body>404 not found</body></html>",
    b"PK\x03\x04" + bytes(60),
    b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n",
    b"",
]


@st.composite
def files(draw: st.DrawFn) -> bytes:
    """A real file with up to five places changed, cut, repeated or taken from another one."""
    data = bytearray(draw(st.sampled_from(REAL)))
    for _ in range(draw(st.integers(0, 5))):
        at = draw(st.integers(0, min(len(data), draw(st.sampled_from([16, 64, 1024, 65_536])))))
        match draw(st.integers(0, 4)):
            case 0:
                data[at : at + 4] = draw(st.sampled_from([bytes(4), b"\xff" * 4, b"\x7f\xff\xff\xff", b"\x80\0\0\0"]))
            case 1:
                del data[at : at + draw(st.integers(1, 300))]
            case 2:
                data[at:at] = draw(st.sampled_from(REAL))[: draw(st.integers(1, 400))]
            case 3:
                data[at : at + 1] = draw(st.binary(min_size=1, max_size=9))
            case _:
                del data[at:]
    return bytes(data)


def test_whatever_the_bytes_are_they_are_an_image_or_a_problem_of_their_row():
    """The first 64 kB of anything: images, clips, playlists, programs, pages, whole and damaged."""

    @examples(600)
    @given(files(), st.sampled_from([HIGHWAY, RUNWARE, PIXWITH]))
    def check(data: bytes, rules: ImageRules) -> None:
        with suppress(InvalidRow):
            facts = check_image(data, rules)
            assert facts.format in rules.formats
            assert min(facts.width, facts.height) >= rules.min_side

    check()


@pytest.mark.parametrize("number", range(len(REAL)))
def test_every_real_file_is_judged(number: int):
    """Undamaged, and by its first bytes alone."""
    for data in (REAL[number], REAL[number][:64], REAL[number][:12]):
        with suppress(InvalidRow):
            check_image(data, RUNWARE)
