"""The comparison as a whole: the store folder by folder, then the ledger and Dagster row by row. In bounded memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import groupby

from pixverse_dagster.core.errors import PixverseError, StoreConflict
from pixverse_dagster.core.layout import ClipKey, ImageKey, parse, parse_folder, task_folder
from pixverse_dagster.core.lifecycle import MAY_HAVE_FILES, MAY_HAVE_LEFT_FILES, TaskState
from pixverse_dagster.core.task import Task
from pixverse_dagster.core.values import chunked
from pixverse_dagster.ledger.ledger import Ledger
from pixverse_dagster.reports.verify import kinds
from pixverse_dagster.reports.verify.clips import Compared, compare_clip
from pixverse_dagster.reports.verify.findings import Discrepancy, Verification
from pixverse_dagster.reports.verify.images import compare_image
from pixverse_dagster.reports.verify.ledgers import compare_ledgers
from pixverse_dagster.reports.verify.manifests import Known
from pixverse_dagster.reports.verify.names import PipelineNames
from pixverse_dagster.reports.verify.reported import DagsterSide, RowReport, RowTruth, compare_partitions, compare_row
from pixverse_dagster.reports.verify.rows import compare_history, compare_ids, compare_table, compare_tasks
from pixverse_dagster.reports.verify.seen import Seen
from pixverse_dagster.reports.verify.tombstones import compare_buried, compare_forgotten
from pixverse_dagster.storage.base import ClipStore
from pixverse_dagster.storage.marker import check_form

_WORKERS = 8
_AT_ONCE = 200
"""How many folders, or rows, are looked at together: so much is in memory at a time."""
_WITH_CLIP = (TaskState.STORED, TaskState.FORGOTTEN)


@dataclass
class _Comparison:
    """What one comparison has found so far."""

    ledger: Ledger
    store: ClipStore
    names: PipelineNames
    deep: bool
    progress: Callable[[int, int], None]
    total: int
    seen: Seen = field(default_factory=Seen)
    found: list[Discrepancy] = field(default_factory=list[Discrepancy])
    files: int = 0
    bytes_read: int = 0


def verify(  # noqa: PLR0913 - each says what is compared
    ledger: Ledger,
    store: ClipStore,
    pipeline: str,
    *,
    deep: bool = False,
    dagster: DagsterSide | None = None,
    progress: Callable[[int, int], None] | None = None,
    now: float | None = None,
) -> Verification:
    """Compare store, manifests, ledger and, where it is given, Dagster. Changes nothing.

    Without `deep`, of the files of clips only the sizes are compared, and no image is read. With it, every byte is read
    and hashed, and every clip decoded. `progress` is told how many clips are done, and of how many. Raises
    StoreConflict for a store of another form, and the store's own error where it cannot be read.
    """
    check_form(store, pipeline)
    stored = ledger.tasks.counts(pipeline, {}, (TaskState.STORED,)).get(TaskState.STORED, 0)
    names = PipelineNames(store, pipeline, ledger.consistency.trees(pipeline))
    run = _Comparison(ledger, store, names, deep, progress or (lambda _done, _total: None), stored)
    run.found += compare_ledgers(ledger, store, pipeline, stored=ledger.consistency.has_stored_here(pipeline))
    with ThreadPoolExecutor(_WORKERS) as pool:
        for batch in chunked(_folders(names.keys()), _AT_ONCE):
            _compare_folders(run, pool, batch)
    run.seen.seal()
    _compare_ledger(run, pipeline, dagster, time.time() if now is None else now)
    return Verification(
        stored, run.files, tuple(run.found), deep=deep, with_dagster=dagster is not None, bytes_read=run.bytes_read
    )


def _folders(keys: Iterable[str]) -> Iterator[tuple[str, list[str]]]:
    """The keys of each folder: a store lists them together."""
    for folder, of_folder in groupby(keys, lambda key: key.rsplit("/", 1)[0]):
        yield folder, list(of_folder)


def _compare_folders(run: _Comparison, pool: ThreadPoolExecutor, batch: Sequence[tuple[str, list[str]]]) -> None:
    """Everything in these folders of the store: clips, what is left of them, images, and what nobody knows."""
    by_folder = _find_tasks(run, [folder for folder, _ in batch])
    tasks = {task.id: task for of_folder in by_folder.values() for task in of_folder}
    files = run.ledger.consistency.files_of([task.id for task in tasks.values() if task.state is TaskState.STORED])
    waiting: list[tuple[Task, list[str]]] = []
    images: list[ImageKey] = []
    for folder, keys in batch:
        parsed = {key: parse(key) for key in keys}
        images += [known for known in parsed.values() if isinstance(known, ImageKey)]
        own = by_folder.get(folder, [])
        if parse_folder(folder) is None:
            run.found += [_stray(run, key) for key, known in parsed.items() if known is None]
            run.files += sum(known is None for known in parsed.values())
            continue
        run.files += sum(not (isinstance(known, ClipKey) and known.kind == "tombstone") for known in parsed.values())
        if stored := next((task for task in own if task.state is TaskState.STORED), None):
            waiting.append((stored, keys))
        else:
            run.found += _compare_rest(run, keys, own)

    def compare(one: tuple[Task, list[str]]) -> Compared:
        task, keys = one
        return _compare_stored(run, task, keys, Known(run.ledger.id, run.names.called(task), claims(task),
                                                      files.get(task.id, {})))  # fmt: skip

    def claims(task: Task) -> list[Task]:
        return [one for one in tasks.values() if (one.row, one.digest) == (task.row, task.digest)]

    for compared in pool.map(compare, waiting):
        _add(run, compared)
    if run.deep:
        for size, found in pool.map(partial(compare_image, run.store), images):
            run.bytes_read += size
            run.found += found


def _add(run: _Comparison, compared: Compared) -> None:
    run.found += compared.found
    run.bytes_read += compared.bytes_read
    run.seen.add(compared.task.id, compared.sha256)
    run.progress(len(run.seen), max(run.total, len(run.seen)))


def _find_tasks(run: _Comparison, folders: Sequence[str]) -> dict[str, list[Task]]:
    """The tasks of these folders, with the other claims of their rows: by the rows, which are indexed."""
    parsed = {text: folder for text in folders if (folder := parse_folder(text))}
    rows = {run.names.owner(folder).row for folder in parsed.values()}
    found: dict[str, list[Task]] = {}
    for task in run.ledger.tasks.find(run.names.pipeline, keys=sorted(rows)):
        found.setdefault(str(task_folder(task)), []).append(task)
    unknown = [text for text in parsed if text not in found]
    for task in run.ledger.tasks.in_folders(unknown):
        if task.pipeline == run.names.pipeline:
            found.setdefault(task.folder, []).append(task)
    return found


def _compare_stored(run: _Comparison, task: Task, keys: Sequence[str], known: Known) -> Compared:
    """A stored task and everything that stands in its folder."""
    try:
        compared = compare_clip(run.store, task, known, deep=run.deep)
    except FileNotFoundError as error:
        gone = Discrepancy(task.row, str(error), "was there and is gone", kinds.CLIP_MISSING, task.id)
        return Compared(task, (gone,))
    tombstone = task_folder(task).tombstone
    buried = list(compare_buried(run.store, task)) if tombstone in keys else []
    strays = [_stray(run, key) for key in keys if key not in compared.keys and key != tombstone]
    return replace(compared, found=(*compared.found, *buried, *strays))


def _compare_rest(run: _Comparison, keys: Sequence[str], tasks: Sequence[Task]) -> Iterator[Discrepancy]:
    """A folder of no stored task: of a forgotten one, of one under way, of one that ended, or of nobody."""
    if forgotten := next((task for task in tasks if task.state is TaskState.FORGOTTEN), None):
        run.seen.add(forgotten.id, ())
        yield from compare_forgotten(run.ledger.id, run.store, forgotten, run.names.called(forgotten), keys)
        return
    under_way = any(task.state in MAY_HAVE_FILES for task in tasks)
    left = any(task.attempt and task.state in MAY_HAVE_LEFT_FILES for task in tasks)
    for key in keys:
        known = parse(key)
        is_file = isinstance(known, ClipKey) and known.kind in {"output", "poster"}
        if under_way or (left and is_file):
            continue
        if isinstance(known, ClipKey) and known.kind == "tombstone":
            words = "says that a clip was forgotten, of a task that the ledger does not know as that"
            yield Discrepancy("", run.store.uri(key), words, kinds.TOMBSTONE_UNKNOWN, key=key)
        elif isinstance(known, ClipKey) and known.kind == "manifest":
            yield replace(_stray(run, key), kind=kinds.CLIP_UNKNOWN)
        else:
            yield _stray(run, key)


def _stray(run: _Comparison, key: str) -> Discrepancy:
    words = "is in the store, but no stored task of the ledger has it"
    return Discrepancy("", run.store.uri(key), words, kinds.STRAY, key=key)


def _compare_ledger(run: _Comparison, pipeline: str, dagster: DagsterSide | None, now: float) -> None:
    """Row by row: tasks that have nothing in the store, what contradicts itself, and what Dagster says."""
    ledger = run.ledger
    run.found += compare_ids(ledger, pipeline)
    run.found += compare_history(ledger, pipeline)
    run.found += compare_table(ledger, pipeline)
    there = set(dagster.partitions()) if dagster else set[str]()
    failed = frozenset(ledger.consistency.failed_checks(pipeline)) if dagster else frozenset[str]()
    worlds = ledger.worlds.find(pipeline)
    rows_seen = set(dagster.materialized()) if dagster else set[str]()
    for page in ledger.consistency.task_pages(pipeline, _AT_ONCE):
        rows = list(dict.fromkeys(task.row for task in page))
        histories = ledger.consistency.histories(pipeline, rows)
        _compare_unseen(run, page)
        run.found += compare_tasks(page, histories, run.seen)
        run.found += run.names.compare([task for task in page if task.state in _WITH_CLIP])
        if dagster is None:
            continue
        rows_seen -= set(rows)
        newest, said = ledger.tasks.newest_stored(pipeline, rows, worlds), dagster.read(rows)
        counted = frozenset(t.id for t in page if worlds.get(t.provider, t.world) == t.world)
        for row, of_row in groupby(page, lambda task: task.row):
            truth = RowTruth(row, list(of_row), counted, newest.get(row), failed)
            run.found += compare_row(dagster, truth, said.get(row, RowReport()), run.seen, now)
        run.found += compare_partitions(dagster, there, (), sorted(newest))
    if dagster is not None:
        for page in ledger.consistency.row_pages(pipeline, _AT_ONCE):
            run.found += compare_partitions(dagster, there, [row.id for row in page], ())
        for some in chunked(sorted(rows_seen), _AT_ONCE):
            run.found += _compare_unknown(ledger, dagster, some)


def _compare_unknown(ledger: Ledger, dagster: DagsterSide, rows: Sequence[str]) -> Iterator[Discrepancy]:
    """Rows with a clip in Dagster and no task in the ledger. Under the name that a renamed row had, its events stay."""
    shown = {row: said.clips[0] for row, said in dagster.read(rows).items() if said.clips}
    known = {task.id for task in ledger.tasks.by_id({one.made_from for one in shown.values()} - {""})}
    for row in rows:
        if row not in shown or shown[row].made_from not in known:
            words = "shows a clip of a row of which the ledger knows no task"
            yield Discrepancy(row, f"{dagster.where}: clips, partition {row!r}", words, kinds.CLIP_NOWHERE)


def _compare_unseen(run: _Comparison, page: Sequence[Task]) -> None:
    """The tasks with a clip, or a tombstone, whose folder the store did not list: looked for once more."""
    for task in page:
        if task.state not in _WITH_CLIP or run.seen.has(task.id):
            continue
        try:
            keys = list(run.store.keys(f"{task_folder(task)}/"))
            if task.state is TaskState.FORGOTTEN:
                run.found += compare_forgotten(run.ledger.id, run.store, task, run.names.called(task), keys)
                continue
            files = run.ledger.consistency.files_of([task.id]).get(task.id, {})
            known = Known(run.ledger.id, run.names.called(task), run.ledger.tasks.claims(task), files)
            run.found += _compare_stored(run, task, keys, known).found
        except (StoreConflict, PixverseError) as error:
            where = run.store.uri(str(task_folder(task)))
            run.found.append(Discrepancy(task.row, where, str(error), kinds.MANIFEST_UNREADABLE, task.id))
