"""The files of a gallery while it is written: put once, kept for a day when they are out of use, then deleted."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from pixverse_dagster.core.manifest import ClipOutput
from pixverse_dagster.reports.gallery.app import PAGE, load_app
from pixverse_dagster.reports.gallery.chunks import INDEX, DataFile, data_path
from pixverse_dagster.reports.gallery.index import KEPT_SECONDS, Index, read_index
from pixverse_dagster.reports.gallery.thumbs import put_thumb, thumb_path
from pixverse_dagster.storage.base import ClipStore
from pixverse_dagster.storage.pages import PageFiles, is_path

WORKERS = 8
INDEX_PATH = data_path(INDEX)
_MANY_RETIRED = 500
_KEPT_OF_MANY_SECONDS = 3_600
"""For a pipeline at work all day: its index, which open pages ask for each minute, stays small."""


class GalleryFiles:
    """What one attempt at writing puts. A file whose name says what it holds is put only where it is not known."""

    def __init__(self, store: ClipStore, pages: PageFiles) -> None:
        self.pages = pages
        self.known: set[str] = set()
        """Files that are there: those that the index names, or, after `look`, all."""
        self.written: list[str] = []
        self.bytes_written = 0
        self.pictures: set[str] = set()
        """The small pictures that clips of the next index have: all of them, where the gallery is listed."""
        self.at_once = False
        """Whether a clip was forgotten: then what is out of use is deleted now, and not a day later."""
        self._store = store
        self._found: dict[str, float] | None = None

    def look(self) -> None:
        """List what is there: for a first gallery, and for one that is made anew."""
        if self._found is None:
            self._found = dict(self.pages.list())
            self.known = {path for path in self._found if is_path(path)}

    def forget(self) -> None:
        """Look at all that is there, and delete at once what is out of use: a clip was forgotten."""
        self.look()
        self.at_once = True

    def put(self, file: DataFile) -> str:
        """Put a data file; its name."""
        if file.path not in self.known:
            self._write(file.path, file.encode())
        return file.name

    def put_thumbs(self, outputs: Iterable[ClipOutput]) -> None:
        """Put the small pictures of these clips."""
        wanted = {path: output for output in outputs if (path := thumb_path(output))}
        self.pictures |= wanted.keys()
        missing = [output for path, output in wanted.items() if path not in self.known]
        if not missing:
            return
        with ThreadPoolExecutor(WORKERS) as pool:
            put = pool.map(partial(put_thumb, self._store, self.pages), missing)
            for output, is_there in zip(missing, put, strict=True):
                self.known.add(thumb_path(output))
                if is_there:
                    self.written.append(thumb_path(output))
                    self.bytes_written += output.poster_size_bytes

    def has_page(self) -> bool:
        """Whether the page is there; where nothing was listed, the index says so, which is written after it."""
        return self._found is None or load_app().files.keys() <= self._found.keys()

    def put_scripts(self) -> bool:
        """Put what the page loads, its script and style; whether any of it was missing."""
        missing = {path: data for path, data in load_app().files.items() if path not in self.known and path != PAGE}
        for path, data in missing.items():
            self._write(path, data)
        return bool(missing)

    def put_app(self) -> None:
        """Put the page; its script and style first."""
        app = load_app()
        if self.put_scripts() or not self.has_page():
            there = self.pages.read(PAGE)
            if there is None or there.data != app.files[PAGE]:
                self._write(PAGE, app.files[PAGE])

    def commit(self, index: Index, version: str | None) -> bool:
        """Write the index, which makes all true; False, and nothing is, if another writer wrote one."""
        data = index.encode()
        if not self.pages.write_if(INDEX_PATH, data, version):
            return False
        self.written.append(INDEX_PATH)
        self.bytes_written += len(data)
        return True

    def with_retired(self, before: Index | None, index: Index, now: int, left: Collection[str]) -> Index:
        """The index with what went out of use, since when: what the one before named, and `left`, that none names."""
        in_use = index.paths()
        since = {path: at for path, at in (before.writer.retired if before else ()) if path not in in_use}
        out = (
            (before.paths() if before else set[str]()) | {path for path in left if path.startswith("data/")}
        ) - in_use
        since |= {path: now for path in sorted(out) if path not in since and path != INDEX_PATH}
        state = index.writer.model_copy(
            update={"retired": tuple(since.items()), "sweeps": before.writer.sweeps if before else 0}
        )
        return index.model_copy(update={"writer": state})

    def sweep(self, index: Index, now: int) -> bool:
        """Delete what was out of use for a day, and what is doomed. False if another writer may have used some of it.

        The index is written once more after that, so that whoever has put one of the same files before begins again.
        """
        retired = index.writer.retired
        kept_seconds = KEPT_SECONDS if len(retired) <= _MANY_RETIRED else _KEPT_OF_MANY_SECONDS
        old = {path for path, at in retired if self.at_once or now - at > kept_seconds}
        old |= self._strays(index, now)
        old -= index.paths()
        if not old:
            return True
        delete_all(self.pages, old)
        kept = tuple((path, at) for path, at in index.writer.retired if path not in old)
        state = index.writer.model_copy(update={"retired": kept, "sweeps": index.writer.sweeps + 1})
        found = read_index(self.pages)
        if found.index is None or found.index.writer != index.writer:
            return found.index is not None and not found.index.paths() & old
        return self.pages.write_if(INDEX_PATH, index.model_copy(update={"writer": state}).encode(), found.version)

    def _strays(self, index: Index, now: int) -> set[str]:
        """Of a gallery that was listed: what nobody asks for, and no writer that is at work can have put."""
        if self._found is None:
            return set()
        retired = {path for path, _ in index.writer.retired}
        asked = index.paths() | self.pictures | retired | {PAGE, INDEX_PATH}
        return {
            path for path, at in self._found.items() if path not in asked and (self.at_once or now - at > KEPT_SECONDS)
        }

    def _write(self, path: str, data: bytes) -> None:
        self.pages.write(path, data)
        self.known.add(path)
        self.written.append(path)
        self.bytes_written += len(data)


def delete_all(pages: PageFiles, paths: Iterable[str]) -> None:
    """Delete these files, several at a time. Raises the store's own errors."""
    wanted: Sequence[str] = sorted(paths)
    with ThreadPoolExecutor(WORKERS) as pool:
        list(pool.map(pages.delete, wanted))
