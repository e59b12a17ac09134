"""A stored clip, as a downstream asset gets it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from pixverse_dagster.core.manifest import ClipManifest, ClipOutput


class ClipReader(Protocol):
    """The part of a store that reading a clip needs."""

    def uri(self, key: str) -> str:
        """The address of an object, to show to a person."""
        ...

    def open(self, key: str) -> BinaryIO:
        """Open an object for reading. Raises FileNotFoundError."""
        ...


@dataclass(frozen=True)
class Clip:
    """A stored clip, as a downstream asset receives it: its manifest, and its files, which are read on demand."""

    manifest: ClipManifest
    store: ClipReader

    def open(self, n: int = 1) -> BinaryIO:
        """Open output `n` (1 to 4) for reading. Raises FileNotFoundError if the task has no such output."""
        return self.store.open(self._output(n).key)

    def open_poster(self, n: int = 1) -> BinaryIO:
        """Open the JPEG poster frame of output `n`. Raises FileNotFoundError if there is none."""
        return self.store.open(self._output(n).poster_key)

    def uri(self, n: int = 1) -> str:
        """The address of output `n`: a path or an `s3://` URL."""
        return self.store.uri(self._output(n).key)

    @property
    def labels(self) -> Mapping[str, str]:
        """The row's label columns and their texts."""
        return self.manifest.labels

    def _output(self, n: int) -> ClipOutput:
        for output in self.manifest.outputs:
            if output.n == n:
                return output
        raise FileNotFoundError(f"row {self.manifest.row!r} has no output {n}: it has {len(self.manifest.outputs)}")
