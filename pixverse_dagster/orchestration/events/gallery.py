"""Where the page of the clips is: the address that people are told, of the whole page and of one clip on it."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import dagster as dg

from pixverse_dagster.core.layout import ClipFolder, clips_prefix, gallery_prefix
from pixverse_dagster.core.redaction import redact_url
from pixverse_dagster.reports.gallery.app import PAGE
from pixverse_dagster.stages.options import PipelineOptions
from pixverse_dagster.storage.base import ClipStore


def page_address(store: ClipStore, pipeline: str, options: PipelineOptions) -> str:
    """Where the page is served, as the options say; else where it is in the store, as a URL."""
    if options.gallery_url:
        return redact_url(options.gallery_url).removesuffix("?…")
    uri = store.uri(f"{gallery_prefix(pipeline)}{PAGE}")
    return uri if "://" in uri else f"file://{quote(uri)}"


def address_metadata(store: ClipStore, pipeline: str, options: PipelineOptions, fragment: str = "") -> dict[str, Any]:
    """The address as metadata: a link where a browser can follow it from Dagster's pages, else text to be copied."""
    address = page_address(store, pipeline, options) + fragment
    is_link = address.startswith(("http://", "https://"))
    return {"pixverse/gallery": dg.MetadataValue.url(address) if is_link else dg.MetadataValue.text(address)}


def clip_fragment(folder: ClipFolder, n: int = 1) -> str:
    """What follows the page's address to open it at one clip: its id, each part encoded once more."""
    clip = f"{str(folder).removeprefix(clips_prefix(folder.pipeline))}/{n}"
    return "#/clip/" + "/".join(quote(part, safe="!'()*~") for part in clip.split("/"))
