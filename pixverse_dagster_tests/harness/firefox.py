"""A Firefox without a window, driven by WebDriver BiDi: what a person there sees of a gallery.

Playwright drives only a Firefox of its own; the system's speaks this protocol by itself.
"""

from __future__ import annotations

import itertools
import json
import re
import shutil
import subprocess
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

from pixverse_dagster_tests.harness.commands import wait_until

SECONDS = 60.0
_KEYS: Mapping[str, str] = {
    "Tab": "\ue004",
    "Enter": "\ue007",
    "Escape": "\ue00c",
    "End": "\ue010",
    "ArrowRight": "\ue014",
}
_SETTINGS = {
    "browser.shell.checkDefaultBrowser": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "toolkit.telemetry.enabled": False,
    "app.update.enabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "media.autoplay.default": 0,
    "dom.min_background_timeout_value": 4,
}


def firefox() -> str | None:
    """Where Firefox is; None if it is not installed."""
    return shutil.which("firefox-esr") or shutil.which("firefox")


@dataclass
class Firefox:
    """One window."""

    socket: ClientConnection
    context: str = ""
    requests: list[str] = field(default_factory=list[str])
    """Every address that was asked for."""
    errors: list[str] = field(default_factory=list[str])
    _ids: Any = field(default_factory=itertools.count)

    def send(self, method: str, **params: Any) -> Any:
        """Send a command; its result. Events that come before it are taken in."""
        one = next(self._ids)
        self.socket.send(json.dumps({"id": one, "method": method, "params": params}))
        while True:
            message = json.loads(self.socket.recv(timeout=SECONDS))
            if message.get("id") == one:
                assert message["type"] == "success", message
                return message["result"]
            self._hear(message)

    def open(self, url: str) -> None:
        """Go to an address, and wait until it is loaded."""
        self.send("browsingContext.navigate", context=self.context, url="about:blank", wait="complete")
        self.send("browsingContext.navigate", context=self.context, url=url, wait="complete")

    def evaluate(self, expression: str) -> Any:
        """The value of an expression of JavaScript, by way of JSON."""
        wrapped = f"Promise.resolve({expression}).then((value) => JSON.stringify(value ?? null))"
        target = {"context": self.context}
        found = self.send("script.evaluate", expression=wrapped, target=target, awaitPromise=True)
        assert found["type"] == "success", found
        return json.loads(found["result"]["value"])

    def wait(self, expression: str) -> Any:
        """The value of an expression as soon as it is true."""
        return wait_until(lambda: self.evaluate(expression), SECONDS, expression)

    def press(self, *keys: str) -> None:
        """Press keys, one after the other."""
        for key in keys:
            code = _KEYS.get(key, key)
            strokes = [{"type": kind, "value": code} for kind in ("keyDown", "keyUp")]
            actions = [{"type": "key", "id": "keyboard", "actions": strokes}]
            self.send("input.performActions", context=self.context, actions=actions)

    def _hear(self, message: Mapping[str, Any]) -> None:
        if message.get("method") == "network.beforeRequestSent":
            self.requests.append(str(message["params"]["request"]["url"]))
        if message.get("method") == "log.entryAdded" and message["params"].get("level") == "error":
            self.errors.append(str(message["params"].get("text")))


@contextmanager
def open_firefox(folder: Path) -> Generator[Firefox]:
    """Firefox with a profile of its own in this folder."""
    program = firefox()
    assert program, "Firefox is not installed: apt-get install --no-install-recommends firefox-esr"
    profile = folder / "profile"
    profile.mkdir()
    lines = [f"user_pref({json.dumps(name)}, {json.dumps(value)});" for name, value in _SETTINGS.items()]
    (profile / "user.js").write_text("\n".join(lines))
    words = ["--headless", "--no-remote", "--profile", str(profile), "--remote-debugging-port", "0"]
    with (
        (folder / "firefox.log").open("wb") as log,
        subprocess.Popen([program, *words], stdout=log, stderr=log) as process,
    ):
        try:
            with connect(_address(folder / "firefox.log", process), max_size=None) as socket:
                window = Firefox(socket)
                window.send("session.new", capabilities={})
                window.send("session.subscribe", events=["network.beforeRequestSent", "log.entryAdded"])
                window.context = window.send("browsingContext.getTree")["contexts"][0]["context"]
                yield window
        finally:
            process.terminate()


def _address(log: Path, process: subprocess.Popen[bytes]) -> str:
    """Where the browser listens, as it says itself."""

    def found() -> re.Match[str] | None:
        said = log.read_text(errors="replace")
        assert process.poll() is None, said[-2000:]
        return re.search(r"WebDriver BiDi listening on (ws://\S+)", said)

    listening = wait_until(found, SECONDS, "Firefox listens")
    assert listening
    return f"{listening.group(1)}/session"
