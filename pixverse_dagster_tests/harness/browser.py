"""A person in front of Dagster's pages: a Chromium that reaches nothing but them."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from playwright.sync_api import Locator, Page, Route, TimeoutError, expect, sync_playwright  # noqa: A004 - its own

from pixverse_dagster_tests.harness.commands import wait_until

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "reel"
SIZE = (1400, 900)
PAGE_SECONDS = 30.0
RUN_SECONDS = 90.0
_STEP_MS = 3000
CHROMIUM = (
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
)


def output_folder() -> Path:
    """Where CI keeps what a test leaves behind."""
    folder = Path(os.environ.get("CI_OUTPUT") or ROOT / ".ci" / "output")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@dataclass
class Browser:
    """A person in front of Dagster's pages."""

    page: Page
    url: str
    pictures: Path
    refused: list[str] = field(default_factory=list[str])
    _taken: int = 0

    def open(self, path: str) -> float:
        """Go to a page; returns how long until it showed something."""
        started = time.monotonic()
        self.page.goto(self.url + path)
        expect(self.page.get_by_role("link", name="Lineage").first).to_be_visible()
        return time.monotonic() - started

    def open_asset(self, asset: str, tab: str = "overview", **more: str) -> None:
        """Go to a tab of an asset's page, `a/b`."""
        rest = "".join(f"&{name}={value}" for name, value in more.items())
        self.open(f"/assets/{asset}?view={tab}{rest}")
        expect(self.button("Materialize")).to_be_enabled()

    def button(self, words: str) -> Locator:
        """The button that begins with these words, its icon's name aside."""
        return self.page.get_by_role("button").filter(has_text=re.compile(rf"^{re.escape(words)}")).first

    def sees(self, words: str, seconds: float = PAGE_SECONDS) -> Locator:
        """The text is on the page, now or soon."""
        found = self.page.get_by_text(words).first
        expect(found).to_be_visible(timeout=seconds * 1000)
        return found

    def metadata(self, name: str) -> Locator:
        """The value beside a name in a table of metadata."""
        cell = self.page.get_by_role("cell", name=name, exact=True)
        return self.page.get_by_role("row").filter(has=cell).first.get_by_role("cell").nth(1)

    def choose_partitions(self, asset: str, partitions: Sequence[str], *, new: str = "") -> None:
        """Ask for some partitions in the dialog of an asset, and for one that has yet to be made."""
        self.open_asset(asset, "partitions")
        self.button("Materialize").click()
        confirm, chooser = self.button("Confirm"), self.page.get_by_text("Select a partition or create one")
        expect(confirm.or_(chooser).first).to_be_visible()
        if confirm.is_visible():  # Dagster warns that upstream assets are missing
            confirm.click()
        if new:
            self.button("Add a partition").click()
            asked = self.page.get_by_role("dialog").last
            asked.get_by_role("textbox").fill(new)
            asked.get_by_role("button", name="Save").click()
            self.sees("1 partition")
        for partition in partitions:
            self.tick(partition)
        self.sees("Launch runs to materialize").click()  # closes the list
        self.sees(f"{len(partitions) + bool(new)} partitions")

    def tick(self, partition: str) -> None:
        """Tick a partition in the list of the dialog, which is opened where it is closed.

        The list makes its lines anew whenever it draws itself, also because the mouse comes near, and closes when the
        dialog does. On a busy machine what a step is aimed at is therefore gone when it arrives: opening, filtering and
        clicking are done again until the tick is seen.
        """
        dialog, search = self.page.get_by_role("dialog").last, self.page.get_by_placeholder("Filter partitions")
        chooser = dialog.get_by_text("Select a partition or create one")
        line = self.page.get_by_role("menuitem").filter(has_text=partition)
        ticked = line.get_by_role("checkbox")

        def ticks() -> bool:
            with suppress(TimeoutError):
                if not search.is_visible():
                    opener = chooser if chooser.is_visible() else dialog.get_by_role("img", name="expand_more")
                    opener.click(timeout=_STEP_MS)
                search.fill(partition, timeout=_STEP_MS)
                if not ticked.is_checked(timeout=_STEP_MS):
                    line.dispatch_event("click", timeout=_STEP_MS)
                return ticked.is_checked(timeout=_STEP_MS)
            return False

        wait_until(ticks, 4 * PAGE_SECONDS, f"{partition} is ticked")

    def toggle_navigation(self) -> None:
        """Fold the list of pages to its icons, or unfold it; the page then lays itself out again."""
        self.page.get_by_role("navigation").get_by_role("button").nth(1).click()
        self.page.reload()

    @contextmanager
    def showing_failure(self) -> Generator[None]:
        """Where a step in the block fails, what it saw is kept as `failed.png`."""
        try:
            yield
        except BaseException:
            self.page.screenshot(path=self.pictures / "failed.png")
            raise

    def screenshot(self, name: str, *, readme: bool = False) -> None:
        """Keep what is to be seen, under the next number; for the README also as a small JPEG."""
        expect(self.page.locator(".bp5-spinner, .bp4-spinner")).to_have_count(0)
        self.page.wait_for_function("document.fonts.ready.then(() => true)")
        self.page.mouse.move(SIZE[0] - 1, SIZE[1] - 1)
        self._taken += 1
        self.page.screenshot(path=self.pictures / f"{self._taken:02}-{name}.png", animations="disabled")
        if readme:
            path = self.pictures / "readme" / f"{name}.jpg"
            self.page.screenshot(path=path, type="jpeg", quality=70, animations="disabled")


@contextmanager
def open_browser(url: str) -> Generator[Browser]:
    """Chromium, which may talk to this address alone."""
    pictures = output_folder()
    for old in (*pictures.glob("[0-9][0-9]-*.png"), *pictures.glob("failed.png")):
        old.unlink()
    expect.set_options(timeout=PAGE_SECONDS * 1000)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=list(CHROMIUM))
        context = chromium.new_context(
            viewport={"width": SIZE[0], "height": SIZE[1]}, timezone_id="UTC", reduced_motion="reduce"
        )
        context.set_default_timeout(PAGE_SECONDS * 1000)
        browser = Browser(context.new_page(), url, pictures)

        def guard(route: Route) -> None:
            if urlsplit(route.request.url).netloc == urlsplit(url).netloc:
                route.continue_()
            else:
                browser.refused.append(route.request.url)
                route.abort()

        context.route(re.compile(r"^(?!data:|blob:)"), guard)
        try:
            yield browser
        finally:
            chromium.close()
