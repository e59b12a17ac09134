"""A person at a clip's page and at clips side by side, in Chromium."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from playwright.sync_api import expect

from pixverse_dagster_tests.harness.factories import HIGHWAY, PIXWITH, RUNWARE, make_row
from pixverse_dagster_tests.harness.fixtures import require
from pixverse_dagster_tests.harness.gallery import Films, Shot, make_films
from pixverse_dagster_tests.harness.viewer import Chromium, Viewer, open_chromium

PROMPT = "A kite festival by the sea"
LONG = f"{PROMPT}. " + "Every word of it. " * 300
TELLING = r"runware|pixwith|highway|pixverse|v4|v5|row-|take \d|\$|≈|cost|#/clip|check failed|before"
"""What would tell which clip of a blind comparison is which."""
SEEN = """() => {
  const seen = [document.title];
  for (const one of document.querySelectorAll('body *')) {
    if (one.localName === 'script' || !one.checkVisibility()) continue;
    for (const { name, value } of one.attributes) if (name !== 'src') seen.push(`${name}=${value}`);
    for (const child of one.childNodes) if (child.nodeType === Node.TEXT_NODE) seen.push(child.data);
  }
  return seen;
}"""
SOURCES = "[...document.querySelectorAll('figure video')].map((video) => video.getAttribute('src'))"
MARKED = """(place) => {
  const figure = document.querySelectorAll('figure')[place];
  return [figure.dataset.mark ?? null, figure.querySelector('textarea').value];
}"""
REFUSED_MENU = """!document.querySelector('figure video').dispatchEvent(
  new MouseEvent('contextmenu', { bubbles: true, cancelable: true }))"""
TIMES = "[...document.querySelectorAll('figure video')].map((video) => video.currentTime)"
PLAYED = "[...document.querySelectorAll('figure video')].every((video) => video.currentTime > 0)"
PAUSED = "[...document.querySelectorAll('figure video')].every((video) => video.paused && !video.seeking)"


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Films:
    """Clips of one prompt, of unequal lengths, by two models; a long prompt; one made from an image."""
    made = make_films(tmp_path_factory.mktemp("clips"))
    shapes = ("wide", "tall", "sound", "mov")
    rows = [make_row(f"row-{n}", (RUNWARE, PIXWITH)[n % 2], prompt=PROMPT, take=n + 1) for n in range(4)]
    made.add(
        *(Shot(row, (shape,), at=1_790_000_000 + n) for n, (row, shape) in enumerate(zip(rows, shapes, strict=True)))
    )
    made.add(Shot(make_row("long", RUNWARE, prompt=PROMPT), failed_before=True, claim=2, words={"prompt": LONG}))
    made.add(Shot(make_row("image", HIGHWAY, prompt="The picture moves"), ("square",)))
    made.write()
    return made


@pytest.fixture(scope="module")
def chromium() -> Iterator[Chromium]:
    require("chromium")
    with open_chromium() as browser:
        yield browser


@pytest.fixture
def viewer(chromium: Chromium, films: Films) -> Iterator[Viewer]:
    """A window of its own; at its end nothing went wrong."""
    viewer = chromium.view(films.page)
    yield viewer
    viewer.check()
    chromium.close_pages()


def ids(films: Films, *rows: str) -> list[str]:
    """The ids of these rows' first clips."""
    found = [next(films.root.glob(f"films/clips/{row}/*/1.*[4vm]")) for row in rows]
    return ["/".join([*path.parts[-3:-1], path.stem]) for path in found]


def note(viewer: Viewer, button: str, text: str) -> None:
    """Write a note on a clip of a comparison."""
    viewer.page.get_by_role("button", name=re.compile(f"^{button}")).click()
    viewer.page.keyboard.type(text)
    viewer.page.keyboard.press("Enter")


def findings(viewer: Viewer) -> list[dict[str, Any]]:
    """What axe finds. It makes elements and styles itself, against the page's rules: faults are looked for before."""
    viewer.check()
    found = viewer.findings()
    viewer.errors.clear()
    viewer.page.evaluate("window.violations.length = 0")
    return found


def compare(viewer: Viewer, films: Films, *rows: str) -> None:
    viewer.open("#/compare/" + ",".join(quote(one) for one in ids(films, *rows)))
    expect(viewer.page.locator("figure video")).to_have_count(len(rows))


# --- side by side


def test_in_a_blind_comparison_nothing_tells_which_clip_is_which(viewer: Viewer, films: Films):
    """Neither words nor links, names, titles, earlier marks and notes, nor what the browser says of a player."""
    page = viewer.page
    compare(viewer, films, "row-0", "row-1", "row-2")
    page.keyboard.press("2")
    note(viewer, "Note on 3", "noted before")
    page.get_by_role("button", name="Blind").click()
    expect(page.get_by_role("figure")).to_have_count(3)
    assert [one for one in page.evaluate(SEEN) if re.search(TELLING, one) or one == "data-mark=pick"] == []
    assert page.evaluate(REFUSED_MENU)
    assert findings(viewer) == []


def test_what_is_marked_blind_is_the_clip_that_was_seen(viewer: Viewer, films: Films):
    """Revealed, each has its letter and its name; what was marked and noted before is there again."""
    page = viewer.page
    rows = ("row-0", "row-1", "row-2")
    compare(viewer, films, *rows)
    page.keyboard.press("2")
    note(viewer, "Note on 3", "noted before")
    page.get_by_role("button", name="Blind").click()
    page.get_by_role("button", name="Reject A").click()
    expect(page.locator(".spoken")).to_have_text("A: rejected")
    note(viewer, "Note on C", "seen blind")
    order = [next(row for row in rows if f"/{row}/" in str(source)) for source in page.evaluate(SOURCES)]
    page.get_by_role("button", name="Reveal").click()
    for figure, letter, row in zip(page.locator("figure").all(), "ABC", order, strict=True):
        expect(figure.locator("strong")).to_have_text(f"{letter} ")
        expect(figure.get_by_role("link")).to_have_attribute("href", f"#/clip/{ids(films, row)[0]}")
    marks = {"row-1": "pick", order[0]: "reject"}
    notes = {row: "noted before" if row == "row-2" else "" for row in rows}
    notes[order[2]] = f"{notes[order[2]]} seen blind".strip()
    shown = {row: page.evaluate(MARKED, place) for place, row in enumerate(order)}
    assert shown == {row: [marks.get(row), notes[row]] for row in rows}


def test_frames_are_stepped_together_and_every_key_means_one_thing(viewer: Viewer, films: Films):
    """Space, comma and full stop act wherever the focus is, but in a field; all show the same instant."""
    page = viewer.page
    compare(viewer, films, "row-0", "row-1", "row-2")
    viewer.wait_for(PLAYED)
    page.keyboard.press("Space")
    viewer.wait_for(PAUSED)
    page.get_by_label("Place").fill("0")
    page.get_by_label("Place").focus()
    for _ in range(4):
        page.keyboard.press(".")
    page.keyboard.press(",")
    viewer.wait_for(f"{PAUSED} && Math.abs(Math.max(...{TIMES}) - 3.5 / 24) < 0.002")
    assert len({round(one, 3) for one in page.evaluate(TIMES)}) == 1
    page.keyboard.press("3")
    expect(page.locator("figure").nth(2)).to_have_attribute("data-mark", "pick")
    page.get_by_label("Speed").select_option("0.5")
    page.get_by_label("Sound").select_option(label="Sound: 3")
    assert page.evaluate("[...document.querySelectorAll('figure video')].map((one) => one.muted)") == [
        True,
        True,
        False,
    ]
    page.get_by_role("button", name=re.compile("^Note on 1")).click()
    page.keyboard.type("1 2 3, and so on.")
    expect(page.locator("figure[data-mark]")).to_have_count(1)


def test_two_clips_lie_over_each_other_with_a_line_between(viewer: Viewer, films: Films):
    """Moved by keys and by the pointer; the others are out of sight, and all are back afterwards."""
    page = viewer.page
    compare(viewer, films, "row-0", "row-1", "row-2")
    page.get_by_role("button", name="Wipe").click()
    line = page.get_by_role("slider", name=re.compile("^Where the left clip ends"))
    expect(line).to_be_focused()
    page.keyboard.press("ArrowRight")
    expect(line).to_have_value("51")
    page.get_by_label("Right clip").select_option(label="Right: 3")
    expect(page.locator("figure video:visible")).to_have_count(2)
    box = page.locator(".wipe-line").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 40)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 4, box["y"] + 60, steps=3)
    page.mouse.up()
    expect(line).to_have_value(re.compile(r"^(24\.[5-9]|25)"))
    assert findings(viewer) == []
    page.get_by_role("button", name="Wipe").click()
    expect(page.locator("figure video:visible")).to_have_count(3)


def test_a_clip_is_added_and_taken_away_and_the_address_follows(viewer: Viewer, films: Films):
    """So it can be sent; and one step back is the sheet."""
    page = viewer.page
    viewer.open()
    viewer.cards.first.focus()
    compared = ids(films, "row-0", "row-3")
    viewer.go("#/compare/" + compared[0])
    page.get_by_role("button", name=re.compile("take 4")).click()
    expect(page).to_have_url(re.compile(re.escape(f"#/compare/{compared[0]},{compared[1]}") + "$"))
    page.get_by_role("button", name=re.compile("^Take away 1")).click()
    expect(page).to_have_url(re.compile(re.escape(f"#/compare/{compared[1]}") + "$"))
    expect(page.get_by_role("heading", name="Side by side: 1 of 4 of this prompt")).to_be_visible()
    page.keyboard.press("Escape")
    expect(viewer.cards.first).to_be_focused()


def test_with_reduced_motion_nothing_plays_before_it_is_asked_for(chromium: Chromium, films: Films):
    """Side by side as on the sheet."""
    viewer = chromium.view(films.page, reduced_motion="reduce")
    compare(viewer, films, "row-0", "row-1")
    viewer.wait_for("[...document.querySelectorAll('figure video')].every((video) => video.readyState >= 3)")
    assert viewer.page.evaluate(TIMES) == [0, 0]
    viewer.page.keyboard.press("Space")
    viewer.wait_for(PLAYED)
    chromium.close_pages()


# --- one clip


def test_a_clips_page_tells_all_of_it(viewer: Viewer, films: Films):
    """The whole prompt, each attempt, what it was made of; and it can be copied and saved."""
    page = viewer.page
    viewer.open(f"#/clip/{ids(films, 'long')[0]}")
    expect(page.locator("clip-page .prompt")).to_have_text(LONG.strip())
    steps = page.locator(".timeline li")
    expect(steps.first).to_contain_text("Row long of the prompt table")
    expect(page.locator(".timeline")).to_contain_text(
        re.compile(r"Attempt 2 accepted, 0\.\d\d \$.*task task-long", re.DOTALL)
    )
    expect(steps.last).to_contain_text(re.compile("Stored.*sha256 [0-9a-f]{64}", re.DOTALL))
    saved = page.get_by_role("link", name="Download")
    expect(saved).to_have_attribute("download", "long-t1-a2.mp4")
    # From a file, browsers open it instead: beside the page.
    expect(saved).to_have_attribute("target", "_blank")
    page.get_by_role("button", name="Copy prompt").click()
    expect(page.locator(".spoken")).to_contain_text(re.compile("copied|Ctrl.C"))


def test_input_images_are_seen_from_the_store_and_never_from_their_source(viewer: Viewer, films: Films):
    """By role and name; where there is no picture, by digest alone."""
    viewer.open(f"#/clip/{ids(films, 'image')[0]}")
    image = viewer.page.locator(".inputs li").first
    expect(image.locator("code")).to_be_visible()
    pictures = image.locator("img")
    if pictures.count():
        assert pictures.first.evaluate("(one) => one.decode().then(() => one.naturalWidth)") > 0
        assert str(pictures.first.get_attribute("src")).startswith("../images/")


def test_from_clip_to_clip_by_keys_and_back_to_the_one_that_was_left(viewer: Viewer, films: Films):
    """J and K in the order of the sheet; what plays goes on playing; the note's field keeps its letters to itself."""
    page, keys = viewer.page, viewer.page.keyboard
    viewer.open("#/?q=kite&sort=row")
    expect(viewer.cards).to_have_count(5)
    order = [str(card.get_attribute("data-id")) for card in viewer.cards.all()]
    viewer.cards.nth(1).focus()
    keys.press("Enter")
    keys.press("Space")
    viewer.wait_for("!document.querySelector('clip-page video').paused")
    keys.press("j")
    expect(page).to_have_url(re.compile(re.escape(f"#/clip/{order[2]}") + "$"))
    viewer.wait_for("document.querySelector('clip-page video').currentTime > 0")
    keys.press("Shift+P")
    expect(page).to_have_url(re.compile(re.escape(f"#/clip/{order[3]}") + "$"))
    keys.press("x")
    keys.press("n")
    keys.type("jump, pan. x")
    keys.press("Enter")
    expect(page.locator("clip-page h1")).to_be_focused()
    expect(page).to_have_url(re.compile(re.escape(f"#/clip/{order[3]}") + "$"))
    keys.press("Escape")
    assert viewer.focused_id == order[3]
    expect(page.locator("video")).to_have_count(0)
    expect(viewer.cards.nth(2)).to_have_attribute("data-mark", "pick")
    expect(viewer.cards.nth(3)).to_have_attribute("data-mark", "reject")
    expect(page.locator("[role=gridcell][data-mark]")).to_have_count(2)
    expect(viewer.cards.nth(3)).to_have_attribute("aria-label", re.compile("jump, pan. x"))
