"""The gallery in Firefox, where it is installed; Chromium sees all of it (`test_gallery_page.py`), and CI only that.

`apt-get install --no-install-recommends firefox-esr libavcodec59`, and this file under pytest. Without a libavcodec
Firefox plays no MP4.
"""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote

import pytest

from pixverse_dagster_tests.harness.firefox import Firefox, firefox, open_firefox
from pixverse_dagster_tests.harness.gallery import HOSTILE, Films, fill, make_films
from pixverse_dagster_tests.harness.ranges import serving_folder

pytestmark = [
    pytest.mark.cover,
    pytest.mark.skipif(firefox() is None, reason="Firefox is not installed: apt-get install firefox-esr libavcodec59"),
]
CARDS = "document.querySelectorAll('[role=gridcell]').length"
LOADED = "[...document.querySelectorAll('img')].filter((one) => one.naturalWidth > 0).length > 3"
PLAYS = """(async (video) => {
  if (!video) return 0;
  video.muted = true;
  await video.play();
  return video.videoWidth;
})(document.querySelector('clip-page video'))"""
RAN = "[window.ran ?? null, Object.keys(Object.prototype).length]"


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Films:
    made = make_films(tmp_path_factory.mktemp("gallery"))
    fill(made)
    made.write()
    return made


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Firefox]:
    with open_firefox(tmp_path_factory.mktemp("firefox")) as one:
        yield one


@pytest.fixture(params=["file", "http"])
def page(request: pytest.FixtureRequest, films: Films) -> Iterator[str]:
    """The page, as one opens it by double click, and from a server."""
    if request.param == "file":
        yield films.page.as_uri()
        return
    with serving_folder(films.root) as address:
        yield f"{address}/{films.pipeline}/gallery/index.html"


def test_it_opens_plays_and_asks_for_nothing_but_its_own_files(window: Firefox, page: str, films: Films):
    """Clips of rows with odd names as well."""
    window.requests.clear()
    window.open(page)
    window.wait(f"{CARDS} > 6 && {LOADED}")
    for path in sorted(films.root.glob("films/clips/*%*/*/1.mp4")):
        window.open(f"{page}#/clip/{quote(path.parent.parent.name)}/{path.parent.name}/1")
        assert window.wait(PLAYS) > 0
    own = page.partition("/films/")[0]
    assert [one for one in window.requests if not one.startswith((own, "about:"))] == []
    assert window.evaluate(RAN) == [None, 0]


def test_hostile_texts_are_texts(window: Firefox, films: Films):
    """Each opens; nothing runs."""
    found = sorted(films.root.glob("films/clips/hostile-*/*/1.mp4"))
    assert len(found) == len(HOSTILE)
    window.open(films.page.as_uri())
    window.wait(f"{CARDS} > 6")
    for path in found:
        place = f"#/clip/{path.parent.parent.name}/{path.parent.name}/1"
        window.evaluate(f"void (location.hash = {place!r})")
        window.wait(f"document.querySelector('clip-page h1')?.textContent.includes({path.parent.parent.name!r})")
    assert window.evaluate(RAN) == [None, 0]


def test_keys_mark_and_the_marks_survive_a_reload(window: Firefox, films: Films):
    """Without a mouse."""
    address = f"{films.page.as_uri()}#/?q=shot"
    window.open(address)
    window.wait(f"{CARDS} > 6")
    window.press("Tab", "Enter", "Tab", "p")
    window.wait("document.querySelectorAll('[role=gridcell][data-mark=pick]').length === 1")
    window.open(address)
    window.wait("document.querySelectorAll('[role=gridcell][data-mark=pick]').length === 1")
