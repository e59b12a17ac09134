"""The gallery as one file with signed links, in Chromium: a real bucket takes them, and refuses those that ended."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import expect

from pixverse_dagster.reports.gallery.presigned import make_presigned
from pixverse_dagster.storage.s3 import S3Store
from pixverse_dagster_tests.harness.buckets import s3_client
from pixverse_dagster_tests.harness.factories import RUNWARE, make_row
from pixverse_dagster_tests.harness.fixtures import require
from pixverse_dagster_tests.harness.gallery import HOSTILE, Films, Shot, make_films, put_all
from pixverse_dagster_tests.harness.servers import S3Server, delete_bucket, new_bucket
from pixverse_dagster_tests.harness.viewer import Chromium, open_chromium

RENEW = "pixverse-dagster gallery --presign 7d --out here"
COUNT = 4
WHOLE = [text for text in HOSTILE if "\ud83d" not in text]  # no manifest has half of a pair


@dataclass(frozen=True)
class Bucket:
    """Clips in a bucket, and the ledger that knows them."""

    films: Films
    store: S3Store
    host: str

    def write(self, path: Path, seconds: float, now: float) -> Path:
        """The page with links that live so long from then on."""
        signer = self.store.sign_links(seconds, now)
        path.write_bytes(make_presigned(self.films.ledger, self.store, self.films.pipeline, signer, RENEW).page)
        return path


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory, s3_server: S3Server) -> Iterator[Bucket]:
    """A prefix of a bucket with some clips, one of a row with an odd name and one with hostile words."""
    films = make_films(tmp_path_factory.mktemp("links"))
    films.add(*(Shot(make_row(f"r{n}", RUNWARE, prompt=f"clip {n}")) for n in range(COUNT - 2)))
    films.add(Shot(make_row("a/b #1", RUNWARE, prompt="odd")))
    films.add(Shot(make_row("hostile", RUNWARE), words={"prompt": "</script>".join(WHOLE)}))
    client, name = s3_client(s3_server), new_bucket(s3_server)
    store = S3Store(client, name, "teams/a b")
    put_all(films, store)
    yield Bucket(films, store, urlsplit(s3_server.endpoint_url).netloc)
    client.close()
    delete_bucket(s3_server, name)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Chromium]:
    require("chromium")
    with open_chromium() as browser:
        yield browser


@pytest.fixture
def browser(chromium: Chromium) -> Iterator[Chromium]:
    """The browser, without the windows of other tests."""
    yield chromium
    chromium.close_pages()


def test_one_file_shows_and_plays_the_clips_of_a_bucket(bucket: Bucket, browser: Chromium, tmp_path: Path):
    """From a local file; it asks the bucket's host and no other, and says for how long, by whoever has it."""
    page = bucket.write(tmp_path / "index.html", 7200, time.time())
    assert [path.name for path in tmp_path.iterdir()] == ["index.html"]
    viewer = browser.view(page, allowed=bucket.host)
    viewer.open()
    expect(viewer.cards).to_have_count(COUNT)
    expect(viewer.page.locator(".notice")).to_contain_text(
        re.compile("for (1 hour|119 minutes).* by whoever has this file")
    )
    pictures = "[...document.querySelectorAll('img')].filter((one) => one.naturalWidth > 0).length"
    viewer.wait_for(f"{pictures} === {COUNT}")
    for n in range(COUNT):
        viewer.cards.nth(n).focus()
        viewer.page.keyboard.press("Enter")
        video = viewer.page.locator("clip-page video")
        assert video.evaluate("(video) => (video.muted = true, video.play().then(() => video.videoWidth))") > 0
        viewer.page.keyboard.press("Escape")
    viewer.check()


def test_after_the_links_have_ended_every_tile_says_so_with_the_command(
    bucket: Bucket, browser: Chromium, tmp_path: Path
):
    """The bucket refuses them; the page says why, and how to get new ones. Marks that were made before are there."""
    page = bucket.write(tmp_path / "index.html", 600, time.time())
    viewer = browser.view(page, allowed=bucket.host)
    viewer.page.clock.install()
    viewer.open()
    viewer.cards.first.focus()
    viewer.page.keyboard.press("p")
    viewer.page.clock.fast_forward(700_000)
    expect(viewer.page.get_by_text("Link ended")).to_have_count(COUNT)
    expect(viewer.page.locator(".notice.warn")).to_contain_text(RENEW)
    bucket.write(page, 600, time.time() - 700)
    ended = browser.view(page, allowed=bucket.host)
    ended.open()
    expect(ended.page.get_by_text("Link ended")).to_have_count(COUNT)
    ended.cards.first.focus()
    ended.page.keyboard.press("Enter")
    expect(ended.page.locator("clip-page")).to_contain_text(RENEW)
    ended.check()


def test_renewing_changes_nothing_but_the_links_and_keeps_marks(bucket: Bucket, browser: Chromium, tmp_path: Path):
    """The file is written again; the same browser has its marks on the same clips."""
    page = bucket.write(tmp_path / "index.html", 600, time.time() - 60)
    viewer = browser.view(page, allowed=bucket.host)
    viewer.open()
    viewer.cards.nth(1).focus()
    viewer.page.keyboard.press("p")
    marked, before = viewer.focused_id, page.read_bytes()
    bucket.write(page, 600, time.time())
    assert page.read_bytes() != before
    unsigned = re.compile(rb"[0-9a-f]{64}|\d{8}T\d{6}Z|\"until\":\d+")
    assert unsigned.sub(b"", page.read_bytes()) == unsigned.sub(b"", before)
    viewer.page.reload()
    expect(viewer.page.locator(f"[data-id='{marked}']")).to_have_attribute("data-mark", "pick")
    viewer.check()
