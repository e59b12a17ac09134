"""Stores for clips: each is a file here and a line in STORES. May import: core."""

from __future__ import annotations

from collections.abc import Mapping

from pixverse_dagster.core.values import import_name
from pixverse_dagster.storage.base import StoreSettings

STORES: Mapping[str, str] = {
    "local": "pixverse_dagster.storage.local:LocalSettings",
    "s3": "pixverse_dagster.storage.s3:S3Settings",
}
"""The settings class of each kind of store, imported only when it is used. The first one is the default.

Components, the environment, IO managers and the documents derive from these settings.
"""


def load_settings(store: str) -> type[StoreSettings]:
    """The settings class of a kind of store. Raises KeyError for an unknown kind."""
    return import_name(STORES[store])
