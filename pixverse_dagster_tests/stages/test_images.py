"""Input images are read and checked before anything is sent, and nothing outside the image base is ever read."""

from __future__ import annotations

import base64
import hashlib
import struct
import threading
import zlib
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import av
import pytest

from pixverse_dagster.core.errors import InvalidRow
from pixverse_dagster.core.request import ImageRules
from pixverse_dagster.ledger.engine import sqlite_url
from pixverse_dagster.ledger.ledger import open_ledger
from pixverse_dagster.media.images import ImageCache, ImageSource
from pixverse_dagster.providers import MODELS
from pixverse_dagster.stages.options import PipelineOptions
from pixverse_dagster.stages.read import TableReading, read_table
from pixverse_dagster.stages.session import Pipeline, Session
from pixverse_dagster.tables import FileTable
from pixverse_dagster.transport.download import Downloader, DownloadRules
from pixverse_dagster_tests.harness.servers import StartSimulator

REFUSED = Path(__file__).parents[1] / "data" / "refused"
HIGHWAY, RUNWARE, PIXWITH = (
    MODELS[name].IMAGE_RULES for name in ("highway/pixverse-v6-i2v", "runware/pixverse-v4.5", "pixwith/pixverse-v5")
)
UUID = "aac49721-1964-481a-ae78-8a4e29b91402"


def png(width: int, height: int, padding: int = 0) -> bytes:
    """A real, black PNG, with a text chunk that makes it as large as wanted."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    pixels = zlib.compress((b"\0" * (width * 3 + 1)) * height)
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    text = chunk(b"tEXt", b"Comment\0" + b"x" * padding)
    return b"\x89PNG\r\n\x1a\n" + head + text + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def encoded(codec: str, pixels: str, width: int, height: int) -> bytes:
    """An image of another format, made by PyAV."""
    encoder: Any = av.CodecContext.create(codec, "w")
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = width, height, pixels, Fraction(1, 25)
    frame = av.VideoFrame(width, height, pixels)
    frame.pts = 0
    return b"".join(bytes(packet) for packet in [*encoder.encode(frame), *encoder.encode(None)])


class Files(BaseHTTPRequestHandler):
    """Serves what the test put there, and remembers what was asked for."""

    files: dict[str, bytes]
    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        data = self.files.get(self.path.partition("?")[0])
        self.send_response(404 if data is None else 200)
        self.send_header("Content-Length", str(len(data or b"")))
        self.end_headers()
        self.wfile.write(data or b"")

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
        """Say nothing."""


class Quiet(ThreadingHTTPServer):
    """A client that has read enough hangs up; that is no error."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing."""


class Site:
    def __init__(self, url: str, files: dict[str, bytes], asked: list[str]) -> None:
        self.url, self.files, self.asked = url, files, asked


@pytest.fixture
def site() -> Iterator[Site]:
    files, asked = dict[str, bytes](), list[str]()
    handler = type("Handler", (Files,), {"files": files, "asked": asked})
    with Quiet(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield Site(f"http://127.0.0.1:{server.server_port}", files, asked)
        server.shutdown()
        thread.join()


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


@contextmanager
def refusal(words: str) -> Generator[None]:
    """The block must refuse with these words, and leave no secret and no endless text in them."""
    with pytest.raises(InvalidRow) as refused:
        yield
    assert words in str(refused.value)
    assert "s3cret" not in str(refused.value)
    assert len(str(refused.value)) < 600


# The files that must be refused


FILES = {
    "chessboard_RGB.png": "both sides must be at least 300 px",
    "text.png": "both sides must be at least 300 px",
    "multipage_rgb.tif": "use JPEG or PNG",
    "no_time_for_that_tiny.gif": "is a GIF file: use JPEG or PNG",
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_no_provider_takes_is_refused_with_the_reason(site: Site, book: ImageSource, name: str):
    """Behind a URL for HighwayAPI, as a local file and as a data URI for Runware."""
    data = (REFUSED / name).read_bytes()
    site.files["/" + name] = data
    (Path(book.base) / name).write_bytes(data)
    with refusal(FILES[name]):
        book.check(f"{site.url}/{name}?token=s3cret", HIGHWAY)
    for reference in (name, f"data:image/png;base64,{base64.b64encode(data).decode()}"):
        with refusal(FILES[name].replace("PNG", "PNG or WEBP")):
            book.check(reference, RUNWARE)


def test_refused_files_never_reach_a_provider(simulator: StartSimulator, site: Site, tmp_path: Path):
    """A table that names them reads to problems at their lines; the good row stays, and the simulator was not asked."""
    provider = simulator()
    lines = ["id,model,prompt,image"]
    for number, name in enumerate(FILES):
        site.files["/" + name] = (REFUSED / name).read_bytes()
        lines += [f"h{number},highway/pixverse-v6-i2v,a kite,{site.url}/{name}"]
        lines += [f"r{number},runware/pixverse-v4.5,a kite,{site.url}/{name}"]
    lines += [f"good,pixwith/pixverse-v5,a kite,{provider.url}/samples/chelsea.png"]
    reading = read(tmp_path, "\n".join(lines))
    assert [row.id for row in reading.rows] == ["good"]
    assert [(problem.line, problem.column) for problem in reading.problems] == [(n, "image") for n in range(2, 10)]
    assert all(problem.message.startswith("the image is ") for problem in reading.problems)
    assert provider.tasks() == []
    # A file that two rows name is read once per provider's rules, not once per row.
    assert sorted(site.asked) == sorted(["/" + name for name in FILES] * 2)


def read(folder: Path, table: str, base: str = ".") -> TableReading:
    path = folder / "rows.csv"
    path.write_text(table)
    downloader = Downloader(DownloadRules(allow_private_network=True, max_attempts=1))
    pipeline = Pipeline("films", FileTable(path), PipelineOptions(image_base=base))
    ledger = open_ledger(sqlite_url(folder / "ledger.db"))
    with Session(pipeline, ledger, {}, downloader, "run-1", lambda: 0.0) as session:
        return read_table(session)


# The rules of each provider


BOTH = (HIGHWAY, RUNWARE)
CONTENTS: list[tuple[str, Callable[[], bytes], ImageRules, str]] = [
    # what, the bytes, whose rules, what is said ("" = accepted)
    ("smallest", lambda: png(300, 300), HIGHWAY, ""),
    ("one pixel too small", lambda: png(300, 299), HIGHWAY, "is 300x299: both sides must be at least 300 px"),
    ("smallest", lambda: png(300, 300), RUNWARE, ""),
    ("one pixel too small", lambda: png(299, 300), RUNWARE, "is 299x300: both sides must be at least 300 px"),
    ("tiny", lambda: png(16, 16), PIXWITH, ""),
    ("widest", lambda: png(750, 300), HIGHWAY, ""),
    ("too wide", lambda: png(751, 300), HIGHWAY, "is 751x300: the aspect must be within 1:2.5"),
    ("tallest", lambda: png(300, 750), HIGHWAY, ""),
    ("too tall", lambda: png(300, 751), HIGHWAY, "is 300x751: the aspect must be within 1:2.5"),
    ("too wide for others", lambda: png(1200, 300), RUNWARE, ""),
    ("too wide for others", lambda: png(1200, 300), PIXWITH, ""),
    ("longest", lambda: png(4000, 300), RUNWARE, ""),
    ("too long", lambda: png(4001, 300), RUNWARE, "is 4001x300: no side may exceed 4000 px"),
    ("long for others", lambda: png(4001, 4001), HIGHWAY, ""),
    ("9.9 MB", lambda: png(300, 300, 9_900_000), HIGHWAY, ""),
    ("over 10 MB", lambda: png(300, 300, 10_000_000), HIGHWAY, "is larger than 10"),
    ("over 10 MB", lambda: png(300, 300, 10_000_000), PIXWITH, "is larger than 10"),
    ("over 10 MB", lambda: png(300, 300, 10_000_000), RUNWARE, ""),
    ("over 20 MB", lambda: png(300, 300, 20_000_000), RUNWARE, "is larger than 20"),
    ("JPEG", lambda: encoded("mjpeg", "yuvj420p", 320, 320), HIGHWAY, ""),
    ("JPEG", lambda: encoded("mjpeg", "yuvj420p", 320, 320), RUNWARE, ""),
    ("JPEG", lambda: encoded("mjpeg", "yuvj420p", 320, 320), PIXWITH, ""),
    ("WEBP", lambda: encoded("libwebp", "yuv420p", 320, 320), RUNWARE, ""),
    ("WEBP", lambda: encoded("libwebp", "yuv420p", 320, 320), HIGHWAY, "is a WEBP file: use JPEG or PNG (HighwayAPI"),
    ("WEBP", lambda: encoded("libwebp", "yuv420p", 320, 320), PIXWITH, "is a WEBP file: use JPEG or PNG (Pixwith"),
    ("BMP", lambda: encoded("bmp", "bgr24", 320, 320), RUNWARE, "is a BMP file: use JPEG or PNG or WEBP"),
    ("text", lambda: b"<html>not found</html>" * 50, HIGHWAY, "is not an image that can be read"),
    ("a head and no more", lambda: png(300, 300)[:20], RUNWARE, "is a PNG file that cannot be decoded"),
    ("the first half", lambda: png(300, 300, 1000)[:900], PIXWITH, "perhaps it was cut short"),
]


@pytest.mark.parametrize(
    ("make", "rules", "words"), [c[1:] for c in CONTENTS], ids=[f"{c[0]}, {c[2].source[:7]}" for c in CONTENTS]
)
def test_an_image_is_judged_by_its_bytes(
    site: Site, book: ImageSource, make: Callable[[], bytes], rules: ImageRules, words: str
):
    """Format, sides, aspect and size, whatever the file is called; the refusal says whose rule it is."""
    data = make()
    site.files["/kite.gif"] = data
    if words:
        with refusal(words):
            book.check(f"{site.url}/kite.gif", rules)
        return
    found = book.check(f"{site.url}/kite.gif?token=s3cret", rules)
    assert found.source == f"{site.url}/kite.gif?…"
    assert found.digest == f"sha256:{hashlib.sha256(data).hexdigest()}"
    assert found.size_bytes == len(data)


def test_far_too_large_an_image_is_not_read_to_its_end(site: Site, book: ImageSource):
    """Over a URL the limit ends the reading, and the refusal still says how much is allowed."""
    site.files["/kite.png"] = png(300, 300, 30_000_000)
    with refusal("is larger than"):
        book.check(f"{site.url}/kite.png", HIGHWAY)


# Forms


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


def test_a_url_base_resolves_relative_references(site: Site, downloader: Downloader):
    """Under a base that is a URL, `kite.png` is its URL for every provider; whole URLs and UUIDs stay."""
    site.files["/assets/kite.png"] = png(300, 300)
    for base in (f"{site.url}/assets", f"{site.url}/assets/"):
        book = ImageSource(base, downloader)
        image = book.check("kite.png", HIGHWAY)
        assert image.source == f"{site.url}/assets/kite.png"
        assert book.as_sent("kite.png", image, HIGHWAY) == f"{site.url}/assets/kite.png"
        assert book.resolve("https://other.example/x.png") == "https://other.example/x.png"
        assert book.resolve(UUID) == UUID
    assert site.asked == ["/assets/kite.png"] * 2


def test_unread_urls_are_known_by_their_address(downloader: Downloader):
    """With reading off nothing is fetched; two addresses are two images, and the address is shown without its query."""
    book = ImageSource(".", downloader, read_urls=False)
    one, other = (book.check(f"https://nowhere.invalid/kite.png?s={s}", HIGHWAY) for s in ("s3cret", "other"))
    assert one.source == other.source == "https://nowhere.invalid/kite.png?…"
    assert one.digest.startswith("url:")
    assert one.digest != other.digest


# What is never read


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


# Unreadable URLs


def test_a_url_that_does_not_answer_is_a_problem_that_says_why(site: Site, book: ImageSource):
    """The status, the empty body, the missing host, the refused connection: without the query string."""
    site.files["/empty.png"] = b""
    for url, words in (
        (f"{site.url}/none.png?token=s3cret", "answered HTTP 404"),
        (f"{site.url}/empty.png?token=s3cret", "is empty"),
        ("http://127.0.0.1:1/kite.png?token=s3cret", "ConnectError"),
        ("http://[::1/kite.png", "is not a URL"),
        ("http:///kite.png", "is not an http(s) URL"),
    ):
        with refusal(words):
            book.check(url, HIGHWAY)


def test_an_image_inside_the_network_is_not_fetched(site: Site, tmp_path: Path):
    """A prompt table cannot make this machine ask its neighbours: loopback is refused unless allowed."""
    guarded = Downloader(DownloadRules(max_attempts=1))
    with refusal("private address"):
        ImageSource(str(tmp_path), guarded).check(f"{site.url}/kite.png", HIGHWAY)
    guarded.close()
    assert site.asked == []


def test_each_image_is_read_once_per_reading(site: Site, book: ImageSource):
    """A hundred rows with one image read it once for each provider's rules, the failures too."""
    site.files["/kite.png"] = png(300, 300)
    cache = ImageCache(book)
    for _ in range(100):
        cache.check(f"{site.url}/kite.png", HIGHWAY)
        cache.check(f"{site.url}/kite.png", RUNWARE)
        with refusal("404"):
            cache.check(f"{site.url}/none.png", HIGHWAY)
    assert sorted(site.asked) == ["/kite.png", "/kite.png", "/none.png"]


def test_every_image_of_a_row_is_named_in_its_own_column(tmp_path: Path):
    """First frame, last frame, the list of frames, the references: each problem stands where the image is named."""
    hero = '"[{""type"": ""subject"", ""name"": ""hero"", ""image"": ""none.png""}]"'
    table = f"""id,model,prompt,image,last_image,frames,references
a,runware/pixverse-v4.5,a kite,none1.png,none2.png,,
b,runware/pixverse-v4.5,a kite,,,"[{{""image"": ""none.png""}}]",
c,highway/pixverse-c1-reference-to-video,@hero walks,,,,{hero}
"""
    found = read(tmp_path, table, base=str(tmp_path)).problems
    assert [(p.row, p.column) for p in found] == [
        ("a", "image"),
        ("a", "last_image"),
        ("b", "frames"),
        ("c", "references"),
    ]
