"""The gallery as one file, whose pictures and clips are signed links to a bucket: for people who have no access to it.

A page behind a signed link cannot load what stands beside it, for each file needs a signature of its own. So script,
style and data are in the file, and only pictures and clips are asked for, at the one address that was signed. All links
are signed at one instant and end together; of each only the signature is stored. Whoever has the file has the links.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from pixverse_dagster.core.errors import PixverseError
from pixverse_dagster.core.layout import clips_prefix, images_prefix
from pixverse_dagster.ledger.ledger import Ledger
from pixverse_dagster.reports.gallery.app import PAGE, App, load_app
from pixverse_dagster.reports.gallery.chunks import INDEX
from pixverse_dagster.reports.gallery.index import read_documents, read_index
from pixverse_dagster.reports.gallery.writer import GalleryOptions, write_gallery
from pixverse_dagster.storage.base import ClipStore
from pixverse_dagster.storage.pages import MemoryPages, PageFile, PageFiles
from pixverse_dagster.storage.signing import LinkSigner, encode_key

SIGNATURE_NAME = "X-Amz-Signature"
_POLICY = re.compile(r'(?<=<meta http-equiv="Content-Security-Policy" content=")[^"]*(?=">)')
_STYLE = re.compile(r'<link rel="stylesheet" href="[^"]*">')
_SCRIPT = re.compile(r'<script defer src="[^"]*"></script>\n?')
_END = re.compile("</body>")
_ENDS = re.compile(r"</(script|style)|<!--|\r|\0", re.IGNORECASE)
"""What would end an element, or be changed while a page is read, so that its hash is another one."""


class _Kept(MemoryPages):
    """What a writer would write, in memory, on top of the gallery that the store has: nothing in the store changes."""

    def __init__(self, there: PageFiles) -> None:
        super().__init__()
        self._there = there

    def read(self, path: str) -> PageFile | None:
        """A file as it was written here, else as the store has it."""
        return super().read(path) or self._there.read(path)


@dataclass(frozen=True)
class PresignedGallery:
    """The page as one file, and what it shows."""

    page: bytes
    clips: int
    rows_without_clip: int


def make_presigned(  # noqa: PLR0913 - what it reads, what signs, and what it says
    ledger: Ledger,
    store: ClipStore,
    pipeline: str,
    signer: LinkSigner,
    command: str,
    *,
    dagster_url: str | None = None,
    full: bool = False,
) -> PresignedGallery:
    """The page of a pipeline with all that it needs but pictures and clips. Writes nothing.

    Where the store has a gallery, only what is new since is read, or with `full` everything. `command` is what makes a
    page with new links; it is for whoever has the page, so that no path of this machine belongs into it. Raises the
    store's own errors.
    """
    pages = _Kept(store.pages(pipeline))
    done = write_gallery(ledger, store, pipeline, GalleryOptions(dagster_url), pages=pages, full=full)
    index = read_index(pages).index
    if index is None:
        raise PixverseError("the gallery could not be made: what was written of it cannot be read. Run it again")
    page = presigned_page(read_documents(pages, index), load_app(), signer, command)
    return PresignedGallery(page, done.clips, done.rows_without_clip)


def presigned_page(documents: Iterable[tuple[str, Any]], app: App, signer: LinkSigner, command: str) -> bytes:
    """The page with all that it needs but pictures and clips. `command` is what makes one with new links.

    `documents` are the data files of a gallery by their names, the index among them. Nothing is asked of the store.
    """
    files = dict(documents)
    index = cast("dict[str, Any]", files[INDEX])
    pipeline = str(index["name"])
    signed = {name: _sign(name, document, signer, pipeline) for name, document in files.items() if name != INDEX}
    shown = {name: value for name, value in index.items() if name != "writer"}
    signed[INDEX] = shown | {"links": _links(signer, pipeline, command)}
    data = "".join(
        f'<script type="application/json" id="data-{name}">{_json(signed[name])}</script>\n' for name in signed
    )
    script, style = (_only(app, ending) for ending in (".js", ".css"))
    page = app.files[PAGE].decode()
    for pattern, text in (
        (_POLICY, policy(signer.origin, script, style)),
        (_STYLE, f"<style>{style}</style>"),
        (_SCRIPT, ""),
        (_END, f"{data}<script>{script}</script>\n</body>"),
    ):
        page = _replace(pattern, text, page)
    return page.encode()


def policy(origin: str, script: str, style: str) -> str:
    """What the page may do: run this script, use this style, and show what comes from this address. Nothing else."""
    return "; ".join(
        [
            "default-src 'none'",
            f"script-src '{_hash(script)}'",
            f"style-src '{_hash(style)}'",
            f"img-src {origin}",
            f"media-src {origin}",
            "base-uri 'none'",
            "form-action 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types gallery",
        ]
    )


def _links(signer: LinkSigner, pipeline: str, command: str) -> dict[str, Any]:
    """What all links have in common."""
    return {
        "until": signer.until,
        "command": command,
        "origin": signer.origin,
        "path": f"{signer.path}{encode_key(clips_prefix(pipeline))}",
        "query": signer.query,
        "signature_name": SIGNATURE_NAME,
    }


def _sign(name: str, document: Any, signer: LinkSigner, pipeline: str) -> Any:
    """A data file with the signatures of what it names."""
    if name.startswith("c-"):
        return [_sign_card(card, signer, clips_prefix(pipeline)) for card in document]
    if name.startswith("d-"):
        return [[one, _sign_images(details, signer, images_prefix(pipeline))] for one, details in document]
    return document


def _sign_card(card: Mapping[str, Any], signer: LinkSigner, prefix: str) -> dict[str, Any]:
    if not card.get("ending"):
        return dict(card)
    folder = f"{card['tree']}/clips/" if card.get("tree") else prefix
    endings = [card["ending"], *(["jpg"] if card.get("thumb") else [])]
    return {**card, "s": [signer.sign(f"{folder}{card['id']}.{ending}") for ending in endings]}


def _sign_images(details: Mapping[str, Any], signer: LinkSigner, prefix: str) -> dict[str, Any]:
    if not details.get("images"):
        return dict(details)
    images = [
        {**image, "s": signer.sign(f"{prefix}{image['thumb']}")} if image.get("thumb") else image
        for image in details["images"]
    ]
    return {**details, "images": images}


def _only(app: App, ending: str) -> str:
    (text,) = (data.decode() for path, data in app.files.items() if path.endswith(ending))
    if found := _ENDS.search(text):
        raise ValueError(f"the page's {ending[1:]} cannot be put into a page: it has {found.group()!r}")
    return text


def _replace(pattern: re.Pattern[str], text: str, page: str) -> str:
    changed, count = pattern.subn(lambda _: text, page)
    if count != 1:
        raise ValueError(f"the page has {count} places for {pattern.pattern!r}, and not one")
    return changed


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _json(document: Any) -> str:
    """JSON in which no tag begins. Half of a surrogate pair has no place in UTF-8."""
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    return text.encode(errors="replace").decode()
