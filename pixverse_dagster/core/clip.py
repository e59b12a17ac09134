"""A stored clip, as a downstream asset gets it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import BinaryIO, Protocol

from pixverse_dagster.core.manifest import ClipManifest, ClipOutput
from pixverse_dagster.core.mark import Choice, Mark


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
    """A stored clip, as a downstream asset receives it: its manifest, and its files, which are read on demand.

    Without `n`, a file is that of output 1; of an input with `only_picked`, that of the first output that was picked.
    """

    manifest: ClipManifest
    store: ClipReader
    marks: Mapping[int, Mark] = field(default_factory=dict[int, Mark])
    """What a person marked, by output, as it was last read."""
    only_picked: bool = False
    """Whether the input asked for picked clips only."""

    def open(self, n: int | None = None) -> BinaryIO:
        """Open output `n` (1 to 4) for reading. Raises FileNotFoundError if the task has no such output."""
        return self.store.open(self._output(n).key)

    def open_poster(self, n: int | None = None) -> BinaryIO:
        """Open the JPEG poster frame of output `n`. Raises FileNotFoundError if there is none."""
        return self.store.open(self._output(n).poster_key)

    def uri(self, n: int | None = None) -> str:
        """The address of output `n`: a path or an `s3://` URL."""
        return self.store.uri(self._output(n).key)

    @property
    def picked(self) -> tuple[int, ...]:
        """The outputs that a person picked, by number."""
        return tuple(sorted(n for n, mark in self.marks.items() if mark.choice is Choice.PICK))

    @property
    def labels(self) -> Mapping[str, str]:
        """The row's label columns and their texts."""
        return self.manifest.labels

    def _output(self, n: int | None) -> ClipOutput:
        if n is None:
            n = self.picked[0] if self.only_picked and self.picked else 1
        for output in self.manifest.outputs:
            if output.n == n:
                return output
        raise FileNotFoundError(f"row {self.manifest.row!r} has no output {n}: it has {len(self.manifest.outputs)}")
