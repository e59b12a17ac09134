"""What the clips of a store are called now, where a row or a pipeline was renamed. Only reads.

Clips stay where they are. `<pipeline>/names/<n>.json` says of whole folders whose they are now, by their exact names:
so that a new row, or a new pipeline, may have a name that another one had before. Each document is complete, and the
one with the highest number holds; the earlier ones say what a folder was called in between, as its manifest may. A
folder that left its pipeline is in the documents of both: in those of the old one, which no longer has it, and in those
of the new one, which finds it there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from pydantic import ValidationError

from pixverse_dagster.core.errors import StoreConflict
from pixverse_dagster.core.layout import (
    ClipFolder,
    ClipKey,
    NamesKey,
    clips_prefix,
    encode_row,
    names_prefix,
    parse,
    parse_folder,
)
from pixverse_dagster.core.values import StoredModel
from pixverse_dagster.storage.base import ClipStore
from pixverse_dagster.storage.reading import read_bytes


class RowName(StoredModel):
    """What a row and its pipeline are called."""

    pipeline: str
    row: str


class NamesDocument(StoredModel):
    """Every folder of a pipeline, or in its place, that is not the row's of the same name; and since when (UTC)."""

    pipeline: str
    at: str
    folders: dict[str, RowName]


@dataclass(frozen=True)
class Names:
    """What a pipeline's documents say, the oldest first."""

    pipeline: str
    documents: Mapping[int, NamesDocument] = field(default_factory=dict[int, NamesDocument])

    @property
    def folders(self) -> Mapping[str, RowName]:
        """Whose the folders are now that are not the row's of the same name."""
        return self.documents[max(self.documents)].folders if self.documents else {}

    def owner(self, folder: ClipFolder) -> RowName:
        """Whose clips a folder has, as they are called now."""
        return self.folders.get(str(folder)) or own_name(folder)

    def called(self, folder: ClipFolder) -> set[tuple[str, str]]:
        """Everything that the pipeline and the row of a folder were ever called: its manifest says one of these."""
        names = [own_name(folder), *(doc.folders.get(str(folder)) for doc in self.documents.values())]
        return {(name.pipeline, name.row) for name in names if name}

    def elsewhere(self, row: str) -> list[ClipFolder]:
        """The folders of a row of this pipeline that have other names."""
        found = (parse_folder(text) for text, name in self.folders.items() if name == self._name(row))
        return [folder for folder in found if folder is not None]

    def has(self, row: str, folder: ClipFolder) -> bool:
        """Whether a folder has clips of this row of the pipeline."""
        return self.owner(folder) == self._name(row)

    def _name(self, row: str) -> RowName:
        return RowName(pipeline=self.pipeline, row=row)


def own_name(folder: ClipFolder) -> RowName:
    """The names that a folder was made with."""
    return RowName(pipeline=folder.pipeline, row=folder.row)


def read_names(store: ClipStore, pipeline: str) -> Names:
    """What was renamed of a pipeline. Raises StoreConflict if a document cannot be read."""
    found: dict[int, NamesDocument] = {}
    keys = [parse(key) for key in store.keys(names_prefix(pipeline))]
    for key in sorted((key for key in keys if isinstance(key, NamesKey)), key=lambda key: key.n):
        try:
            found[key.n] = NamesDocument.model_validate_json(read_bytes(store, str(key)))
        except ValidationError:
            raise StoreConflict(
                f"{store.uri(str(key))} does not say what was renamed: nothing was overwritten, and nothing is paid "
                "for. Put the file back as it was"
            ) from None
    return Names(pipeline, found)


def find_folders(store: ClipStore, names: Names, row: str) -> Iterator[ClipFolder]:
    """Every folder with clips of a row, or with what is left of them: those of its name, and those that it got."""
    folders = {key.folder for key in map(parse, store.keys(f"{clips_prefix(names.pipeline)}{encode_row(row)}/"))
               if isinstance(key, ClipKey)}  # fmt: skip
    yield from (folder for folder in sorted(folders, key=str) if names.has(row, folder))
    yield from names.elsewhere(row)
