"""Clips in a local or mounted directory."""

from pydantic import Field

from pixverse_dagster.orchestration.io_managers.base import ClipIOManager
from pixverse_dagster.storage.local import LocalStore


class LocalClipIOManager(ClipIOManager):
    """Stores clips below a directory. Atomic: a file appears under its name complete, and is never overwritten."""

    base_dir: str = Field(description="The directory; made if it is not there.")

    def get_store(self) -> LocalStore:
        """The directory as a store."""
        return LocalStore(self.base_dir)
