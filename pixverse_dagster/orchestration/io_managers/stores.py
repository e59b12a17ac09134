"""The IO manager of each entry of STORES."""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from pixverse_dagster.core.values import import_name
from pixverse_dagster.orchestration.io_managers.base import ClipIOManager, StoreClipIOManager
from pixverse_dagster.orchestration.resources import LedgerResource
from pixverse_dagster.storage import load_settings
from pixverse_dagster.storage.base import StoreSettings

# Those that users name in Python are written out, for type checkers; any other is made from its store's settings.
_WRITTEN: Mapping[str, str] = {
    "local": "pixverse_dagster.orchestration.io_managers.local:LocalClipIOManager",
    "s3": "pixverse_dagster.orchestration.io_managers.s3:S3ClipIOManager",
}


def io_manager_class(store: str) -> type[ClipIOManager]:
    """The IO manager of a kind of store."""
    if store in _WRITTEN:
        return import_name(_WRITTEN[store])
    settings = load_settings(store)
    client = {store: dg.ResourceDependency[import_name(settings.CLIENT)]} if settings.CLIENT else {}
    name = f"{settings.__name__.removesuffix('Settings')}ClipIOManager"
    body = {"__doc__": settings.__doc__, "__module__": __name__, "__annotations__": client}
    return type(name, (StoreClipIOManager, settings), body)


def build_io_manager(settings: StoreSettings, client: Mapping[str, Any], ledger: LedgerResource) -> ClipIOManager:
    """An IO manager with these settings; `client` is what the store's client resource is made with."""
    resources = {settings.NAME: import_name(settings.CLIENT)(**client)} if settings.CLIENT else {}
    return io_manager_class(settings.NAME)(**settings.model_dump(), **resources, ledger=ledger)
