"""Clips in a local or mounted directory."""

from pixverse_dagster.orchestration.io_managers.base import StoreClipIOManager
from pixverse_dagster.storage.local import LocalSettings


class LocalClipIOManager(StoreClipIOManager, LocalSettings):
    """Stores clips below a directory. Atomic: a file appears under its name complete, and is never overwritten."""
