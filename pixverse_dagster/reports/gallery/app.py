"""The page itself, as it is built: the same files in every gallery of a version."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

PAGE = "index.html"


@dataclass(frozen=True)
class App:
    """The files of the page by their paths in the gallery, and the version that two of them are named by."""

    version: str
    files: dict[str, bytes]


@cache
def load_app() -> App:
    """The page of this version."""
    folder = files("pixverse_dagster.reports.gallery").joinpath("page")
    script, style, page = (folder.joinpath(name).read_bytes() for name in ("app.js", "app.css", PAGE))
    version = hashlib.sha256(script + style).hexdigest()[:12]
    return App(version, {f"app-{version}.js": script, f"app-{version}.css": style, PAGE: page})
