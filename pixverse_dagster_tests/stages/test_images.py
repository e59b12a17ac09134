"""Input images are read and checked before anything is sent, and nothing outside the image base is ever read."""

from __future__ import annotations

import base64
import hashlib
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixverse_dagster.core.errors import InvalidRow
from pixverse_dagster.core.request import ImageRules
from pixverse_dagster.ledger.engine import sqlite_url
from pixverse_dagster.ledger.ledger import open_ledger
from pixverse_dagster.media.cache import ImageCache
from pixverse_dagster.media.decode import check_image
from pixverse_dagster.media.images import ImageSource
from pixverse_dagster.stages.options import PipelineOptions
from pixverse_dagster.stages.read import TableReading, read_table
from pixverse_dagster.stages.session import Pipeline, Session
from pixverse_dagster.tables import FileTable
from pixverse_dagster.transport.download import Downloader, DownloadRules, requested_url
from pixverse_dagster_tests.harness.hostile import examples
from pixverse_dagster_tests.harness.images import HIGHWAY, PIXWITH, RUNWARE, UUID, png, refusal
from pixverse_dagster_tests.harness.servers import StartSimulator

REFUSED = Path(__file__).parents[1] / "data" / "refused"


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


def boxes(*brands: bytes) -> bytes:
    """The beginning of a file of boxes, as phones and browsers write images."""
    head = b"ftyp" + brands[0] + bytes(4) + b"".join(brands[1:])
    return struct.pack(">I", len(head) + 4) + head + bytes(200)


def exif(orientation: int, order: str = ">") -> bytes:
    """The header of a JPEG that says how it is to be turned, with a thumbnail that has an end of its own."""
    tags = struct.pack(f"{order}HHHIHH", 1, 0x0112, 3, 1, orientation, 0) + bytes(4) + b"\xff\xd8\xff\xd9"
    data = b"Exif\0\0" + (b"MM" if order == ">" else b"II") + struct.pack(f"{order}HI", 42, 8) + tags
    return b"\xff\xe1" + struct.pack(">H", len(data) + 2) + data


def jpeg(width: int, height: int, header: bytes = b"") -> bytes:
    data = encoded("mjpeg", "yuvj420p", width, height)
    return data[:2] + header + data[2:]


KINDS: list[tuple[str, Callable[[], bytes], str]] = [
    ("SVG", lambda: b'<svg xmlns="http://www.w3.org/2000/svg" width="640" height="480"/>', "is an SVG file: use JPEG"),
    ("SVG with a declaration", lambda: b'\xef\xbb\xbf<?xml version="1.0"?>\n<!-- x -->\n<SVG/>', "is an SVG file"),
    ("AVIF", lambda: boxes(b"avif", b"mif1"), "is an AVIF file: use JPEG or PNG or WEBP"),
    ("HEIC", lambda: boxes(b"heic", b"mif1"), "is a HEIC file: use JPEG"),
    ("HEIC of a phone", lambda: boxes(b"mif1", b"mif1", b"heic"), "is a HEIC file"),
    ("HEIF", lambda: boxes(b"mif1"), "is a HEIF file"),
    ("JPEG XL", lambda: b"\xff\x0a" + bytes(99), "is a JXL file"),
    ("PDF", lambda: b"%PDF-1.7" + bytes(99), "is a PDF file"),
    ("Photoshop", lambda: b"8BPS" + bytes(99), "is a PSD file"),
    ("icon", lambda: b"\0\0\1\0" + bytes(99), "is an ICO file"),
    ("video", lambda: boxes(b"isom", b"mp42"), "is not an image that can be read"),
    ("JPEG cut in its picture", lambda: jpeg(640, 480)[:-40], "is cut short: the end of the JPEG file is missing"),
    ("JPEG cut, with a thumbnail", lambda: jpeg(640, 480, exif(1))[:-40], "is cut short"),
    ("PNG without its end", lambda: png(640, 480)[:-12], "is cut short: the end of the PNG file is missing"),
    ("WebP cut", lambda: encoded("libwebp", "yuv420p", 640, 480)[:-8], "cut short"),
]


@pytest.mark.parametrize(("make", "words"), [case[1:] for case in KINDS], ids=[case[0] for case in KINDS])
def test_what_a_file_is_is_told_by_its_bytes_with_what_to_use_instead(make: Callable[[], bytes], words: str):
    """A kind that nobody here decodes is named as well, and so is a file whose end is missing."""
    with refusal(words):
        check_image(make(), RUNWARE)


@pytest.mark.parametrize(("orientation", "order"), [(1, ">"), (3, "<"), (6, ">"), (8, "<"), (0, ">"), (99, "<")])
def test_the_sides_of_an_image_are_those_that_are_shown(orientation: int, order: str):
    """A phone writes a picture as its sensor lies, and says how it is to be turned."""
    facts = check_image(jpeg(480, 320, exif(orientation, order)), RUNWARE)
    assert (facts.width, facts.height) == ((320, 480) if orientation in {6, 8} else (480, 320))


def test_no_bytes_whatever_they_are_stop_the_reading():
    """They are an image or a problem of their row: heads of every kind with anything behind them."""
    heads = [make()[:24] for _, make, _ in KINDS] + [b"\xff\xd8" + exif(6), b"GIF89a", b"BM", b"II*\0", b"RIFF"]

    @examples(150)
    @given(st.sampled_from(heads), st.binary(max_size=80))
    def check(head: bytes, rest: bytes) -> None:
        with suppress(InvalidRow):
            check_image(head + rest, RUNWARE)

    check()


def test_a_row_with_an_image_that_nobody_can_read_leaves_the_others_alone(tmp_path: Path):
    """All of these at once in one table: one row is good, every other has one problem in its column."""
    (tmp_path / "good.png").write_bytes(png(300, 300))
    lines = ["id,model,prompt,image", "good,runware/pixverse-v4.5,a kite,good.png"]
    for number, (_, make, _) in enumerate(KINDS):
        (tmp_path / f"{number}.png").write_bytes(make())
        lines.append(f"r{number},runware/pixverse-v4.5,a kite,{number}.png")
    reading = read(tmp_path, "\n".join(lines), base=str(tmp_path))
    assert [row.id for row in reading.rows] == ["good"]
    assert [(p.row, p.column) for p in reading.problems] == [(f"r{n}", "image") for n in range(len(KINDS))]


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


def test_a_url_is_sent_in_the_form_in_which_it_was_read(site: Site, book: ImageSource):
    """With spaces and letters beyond ASCII encoded; one that is encoded already stays as it is."""
    site.files["/red%20kite%20%C3%BC.png"] = png(300, 300)
    for reference in (f"{site.url}/red kite ü.png?v=ä b", f"{site.url}/red%20kite%20%C3%BC.png?v=%C3%A4%20b"):
        image = book.check(reference, HIGHWAY)
        sent = book.as_sent(reference, image, HIGHWAY)
        assert sent.isascii()
        assert sent.removeprefix(site.url) == site.asked[-1]
    plain = f"{site.url}/kite.png?a=1+2&b=%2F&c=x|y"
    assert requested_url(plain.replace("|", "")) == plain.replace("|", "")
    assert requested_url("https://bücher.example/ü.png") == "https://xn--bcher-kva.example/%C3%BC.png"


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


def test_failed_reads_are_repeated_after_waits_that_double(tmp_path: Path):
    """A blip of a host is over in a moment, and three tries within it are one."""
    waits: list[float] = []
    rules = DownloadRules(allow_private_network=True, max_attempts=4, backoff_seconds=0.5)
    downloader = Downloader(rules, wait=waits.append)
    book = ImageSource(str(tmp_path), downloader)
    with refusal("cannot be read for now: http://127.0.0.1:1/kite.png"):
        book.check("http://127.0.0.1:1/kite.png", HIGHWAY)
    assert waits == [0.5, 1, 2]


def test_a_host_that_does_not_answer_is_asked_once_per_image_and_not_for_every_model(tmp_path: Path):
    """One reading asks it with all its tries for the first image, and then with one."""
    waits: list[float] = []
    downloader = Downloader(DownloadRules(allow_private_network=True, max_attempts=3), wait=waits.append)
    cache = ImageCache(ImageSource(str(tmp_path), downloader))
    for number in range(20):
        for rules in (HIGHWAY, RUNWARE, PIXWITH):
            with refusal("for now"):
                cache.check(f"http://127.0.0.1:1/{number}.png", rules)
    assert waits == [1, 2]
    cache = ImageCache(ImageSource("http://127.0.0.1:1/pictures/", downloader))
    for number in range(20):
        with refusal("for now"):
            cache.check(f"{number}.png", HIGHWAY)
    assert waits == [1, 2] * 2, "relative to a base, the host is the base's"


@pytest.mark.parametrize("url", ["http://10.0.0.1/x.png", "http://[::1/kite.png", "http:///kite.png"])
def test_what_can_never_be_fetched_is_not_tried_again(tmp_path: Path, url: str):
    """A private address, or no URL at all: nothing to wait for, and nothing that may be better tomorrow."""
    waits: list[float] = []
    downloader = Downloader(DownloadRules(max_attempts=4), wait=waits.append)
    with pytest.raises(InvalidRow) as refused:
        ImageSource(str(tmp_path), downloader).check(url, HIGHWAY)
    assert "for now" not in str(refused.value)
    assert waits == []


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
