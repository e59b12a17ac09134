"""A person in front of a gallery: a Chromium that asks for nothing but its files, and says what else was asked for."""

from __future__ import annotations

import re
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect, sync_playwright

from pixverse_dagster_tests.harness import node
from pixverse_dagster_tests.harness.browser import CHROMIUM, PAGE_SECONDS
from pixverse_dagster_tests.harness.commands import wait_until

WIDE, NARROW = (1280, 800), (390, 844)
_WATCH = """
    window.violations = [];
    document.addEventListener('securitypolicyviolation', (event) => window.violations.push(
      `${event.violatedDirective}: ${event.blockedURI}`));
"""


@dataclass
class Viewer:
    """A page of a gallery, and what went wrong on it."""

    page: Page
    origin: str
    foreign: list[str] = field(default_factory=list[str])
    """Requests to any other place than the gallery's own."""
    errors: list[str] = field(default_factory=list[str])
    """What the page's script did not catch."""

    def open(self, hash_: str = "") -> None:
        """Go to an address of the gallery, as from a bookmark."""
        self.page.goto("about:blank")
        self.page.goto(self.origin + hash_)
        self.wait()

    def wait(self) -> None:
        """Until the page shows something."""
        expect(self.page.locator("main > *:visible").first).to_be_visible()

    @property
    def grid(self) -> Locator:
        """The sheet."""
        return self.page.get_by_role("grid")

    @property
    def cards(self) -> Locator:
        """The cards that are drawn."""
        return self.page.get_by_role("gridcell")

    def card(self, words: str) -> Locator:
        """The card whose name begins with these words."""
        return self.page.get_by_role("gridcell", name=re.compile(f"^{re.escape(words)}"))

    @property
    def focused(self) -> str:
        """The name of what has the focus."""
        return str(
            self.page.evaluate(
                "document.activeElement?.getAttribute('aria-label') ?? document.activeElement?.textContent"
            )
        )

    @property
    def focused_id(self) -> str:
        """The id of the card that has the focus."""
        return str(self.page.evaluate("document.activeElement?.dataset.id"))

    def go(self, hash_: str) -> None:
        """Go to another address of the open page, as a link does."""
        self.page.evaluate("(hash) => { location.hash = hash || '#/' }", hash_)
        self.wait()

    @property
    def violations(self) -> list[str]:
        """What the page's policy has refused."""
        return self.page.evaluate("window.violations")

    def plays(self) -> bool:
        """Whether a clip goes on, now or soon. Fails if not."""
        return bool(self.wait_for("[...document.querySelectorAll('video')].some((one) => one.currentTime > 0)"))

    def wait_for(self, expression: str) -> Any:
        """The value of an expression as soon as it is true. Asked from outside: the page's policy lets nothing else."""
        return wait_until(lambda: self.page.evaluate(expression), PAGE_SECONDS, expression)

    def check(self) -> None:
        """Nothing went wrong: no error, no refusal, nothing ran, and nothing else was asked for."""
        assert self.errors == []
        assert self.violations == []
        assert self.foreign == []
        assert self.page.evaluate("[window.ran, {}.polluted, Object.keys(Object.prototype)]") == [None, None, []]

    def findings(self) -> list[dict[str, Any]]:
        """What axe finds against WCAG 2.0 to 2.2, A and AA."""
        self.page.evaluate(axe())
        rules = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
        found = self.page.evaluate("(tags) => axe.run(document, {runOnly: {type: 'tag', values: tags}})", rules)
        return [
            {
                "rule": one["id"],
                "where": [node["target"] for node in one["nodes"]][:5],
                "why": one["nodes"][0]["failureSummary"],
            }
            for one in found["violations"]
        ]


def axe() -> str:
    """axe-core, as npm has it."""
    return (node.tools() / "axe-core" / "axe.min.js").read_text()


@dataclass
class Chromium:
    """One browser for many pages; each viewer has a storage of its own."""

    browser: Browser
    _contexts: list[BrowserContext] = field(default_factory=list[BrowserContext])

    def view(self, address: str | Path, *, allowed: str = "", script: str = "", **options: Any) -> Viewer:
        """Open a gallery, a file or a URL, in a window of its own. `allowed` is the only host that it may ask."""
        url = address.as_uri() if isinstance(address, Path) else address
        size = options.pop("size", WIDE)
        context = self.browser.new_context(
            viewport={"width": size[0], "height": size[1]}, timezone_id="UTC", accept_downloads=True, **options
        )
        self._contexts.append(context)
        context.set_default_timeout(PAGE_SECONDS * 1000)
        context.add_init_script(_WATCH + script)
        viewer = Viewer(context.new_page(), url)
        own = url.rpartition("/")[0].rpartition("/")[0].rpartition("/")[0]

        def look(request: Any) -> None:
            asked = str(request.url)
            if not asked.startswith((own, "about:", "blob:", "data:")) and (
                not allowed or urlsplit(asked).netloc != allowed
            ):
                viewer.foreign.append(asked)

        context.on("request", look)
        viewer.page.on("pageerror", lambda error: viewer.errors.append(str(error)))
        return viewer

    def close_pages(self) -> None:
        """Close what a test has opened."""
        while self._contexts:
            self._contexts.pop().close()


@contextmanager
def open_chromium() -> Generator[Chromium]:
    """A browser without a window."""
    expect.set_options(timeout=PAGE_SECONDS * 1000)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=list(CHROMIUM))
        try:
            yield Chromium(browser)
        finally:
            browser.close()
