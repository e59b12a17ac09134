"""The judge of money and bytes: a provider's audit, the ledgers and the store say the same of every charge and clip.

Each check yields what is wrong; nothing is wrong where none yields. The audit is `/_simulator/tasks`, the provider's
own books: no word of the product is taken for what was charged or made.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from pixverse_dagster.core.layout import ClipKey, clips_prefix, parse
from pixverse_dagster.core.lifecycle import OPEN_SUBMIT, TaskState
from pixverse_dagster.core.manifest import ClipManifest, World
from pixverse_dagster.core.task import Task
from pixverse_dagster.ledger.ledger import Ledger
from pixverse_dagster.storage.base import ClipStore
from pixverse_dagster.storage.reading import copy_hashed, read_manifest

Record = Mapping[str, Any]
_CENTS_APART = 0.000_01
_ENDED_WITHOUT_A_CLIP = {TaskState.FAILED, TaskState.ABANDONED, TaskState.REFUSED}


@dataclass(frozen=True)
class Books:
    """What one ledger says of a pipeline: its tasks, and the money that it counts as spent or reserved, ever."""

    ledger_id: str
    tasks: Sequence[Task]
    total_usd: float


def read_books(ledger: Ledger, pipeline: str) -> Books:
    """A ledger's books as they are now."""
    total = sum(ledger.spent(pipeline, "", time.time(), world).total_usd for world in get_args(World))
    return Books(ledger.id, ledger.tasks.find(pipeline), total)


def words_of(charge: Record) -> str:
    """The prompt of a charged submission: by it the rows of a test are told apart."""
    body = charge["request"]
    return str(body.get("prompt") or body.get("positivePrompt")).strip()


def check_store(charges: Sequence[Record], store: ClipStore, pipeline: str) -> Iterator[str]:
    """Each manifest tells of a charged task, and has this very task's outputs; no clip is stored twice."""
    sold = {charge["task_id"]: charge for charge in charges}
    keys = [(key, parse(key)) for key in store.keys(clips_prefix(pipeline))]
    bytes_of: dict[str, str] = {}
    places: dict[str, list[str]] = defaultdict(list)
    for key in (key for key, known in keys if isinstance(known, ClipKey) and known.kind == "output"):
        with store.open(key) as file:
            bytes_of[key] = copy_hashed(file).sha256
        places[bytes_of[key]].append(key)
    yield from (f"one clip is stored {len(here)} times: {sorted(here)}" for here in places.values() if len(here) > 1)
    made = {output["sha256"] for charge in charges for output in charge["outputs"]}
    yield from (f"{key}: no provider made these bytes" for key, sha256 in bytes_of.items() if sha256 not in made)
    folders: dict[str, list[str]] = defaultdict(list)
    for key in (key for key, known in keys if isinstance(known, ClipKey) and known.kind == "manifest"):
        manifest = read_manifest(store, key)
        folders[manifest.task_id].append(key)
        yield from (f"{key}: {wrong}" for wrong in _check_manifest(key, manifest, sold, bytes_of))
    for task_id, here in folders.items():
        if len(here) > 1:
            yield f"task {task_id} is stored {len(here)} times: {here}"


def _check_manifest(
    key: str, manifest: ClipManifest, sold: Mapping[str, Record], bytes_of: Mapping[str, str]
) -> Iterator[str]:
    charge = sold.get(manifest.task_id)
    if charge is None:
        yield f"task {manifest.task_id} was never accepted"
        return
    if charge["provider"] != manifest.provider or charge["client_reference"] not in {None, manifest.client_reference}:
        yield f"the manifest is not of this task: {manifest.provider}, {manifest.client_reference}"
    if words_of(charge) != str(manifest.request["prompt"]).strip():
        yield f"task {manifest.task_id} was paid for other words than those of row {manifest.row!r}"
    made = [output["sha256"] for output in charge["outputs"]]
    if (told := [output.sha256 for output in manifest.outputs]) != made:
        yield f"task {manifest.task_id} made {made}, and the manifest has {told}"
    if (stored := [bytes_of.get(output.key) for output in manifest.outputs]) != made:
        yield f"task {manifest.task_id} made {made}, and the files hold {stored}"
    folder = key.rsplit("/", 1)[0]
    if any(output.key.rsplit("/", 1)[0] != folder for output in manifest.outputs):
        yield "the manifest names files of another folder"


def check_money(charges: Sequence[Record], ledgers: Sequence[Books]) -> Iterator[str]:
    """Every charge has one attempt that answers for it, or is named as needing a person; the totals are the charges'.

    A ledger that another one's clips were taken into answers for them as well, and says who paid.
    """
    answered: set[str] = set()
    accounts: dict[str, list[str]] = defaultdict(list)
    for charge in charges:
        accounts[charge["task_id"]].append(f"{charge['provider']} {charge.get('account', '')}".strip())
    yield from (f"task {i} was charged by each of {who}" for i, who in accounts.items() if len(who) > 1)
    for books in ledgers:
        mine, wrong = _assign(charges, books)
        yield from wrong
        answered |= mine
        yield from _check_total([charge for charge in charges if charge["task_id"] in mine], books)
    for charge in charges:
        if charge["task_id"] not in answered:
            yield f"{_describe(charge)} has no attempt that answers for it, and nobody is told of it"
    payers: dict[str, list[str]] = defaultdict(list)
    for books in ledgers:
        for task in books.tasks:
            if task.task_id and task.paid_by is None and task.state is not TaskState.UNKNOWN:
                payers[task.task_id].append(books.ledger_id)
    yield from (f"task {task_id} was paid by {who}, each says" for task_id, who in payers.items() if len(who) > 1)


def _assign(charges: Sequence[Record], books: Books) -> tuple[set[str], list[str]]:
    """The ids of the charges that this ledger answers for, and what is wrong with its tasks."""
    sold = {charge["task_id"] for charge in charges}
    with_id = [task for task in books.tasks if task.task_id]
    open_tasks = [task for task in books.tasks if not task.task_id and task.state in OPEN_SUBMIT]
    wrong = [
        f"row {task.row!r} has task {task.task_id}, which was never accepted"
        for task in with_id
        if task.task_id not in sold
    ]
    answered: set[str] = set()
    for charge in charges:
        tasks = [task for task in with_id if task.task_id == charge["task_id"]]
        if not tasks and (named := _open_task(charge, open_tasks)):
            open_tasks.remove(named)
            tasks = [named]
        answered |= {charge["task_id"]} if tasks else set()
        wrong += _check_answer(charge, tasks)
    return answered, wrong


def _check_answer(charge: Record, tasks: Sequence[Task]) -> Iterator[str]:
    if len(tasks) > 1:
        yield f"{_describe(charge)} is answered for by {len(tasks)} attempts of {[task.row for task in tasks]}"
    for task in tasks:
        if words_of(charge) != _words(task):
            yield f"{_describe(charge)} is recorded for row {task.row!r}, which has other words"
        if task.state is TaskState.UNKNOWN and not task.reason:
            yield f"row {task.row!r} is unknown for no reason"


def _open_task(charge: Record, tasks: Sequence[Task]) -> Task | None:
    """The submit of unknown outcome that this charge may be the outcome of."""
    reference = charge["client_reference"]
    if reference is not None and (mine := [task for task in tasks if task.client_reference == reference]):
        return mine[0]
    same = [task for task in tasks if task.provider == charge["provider"] and _words(task) == words_of(charge)]
    return same[0] if same else None


def _check_total(mine: Sequence[Record], books: Books) -> Iterator[str]:
    """Where no outcome is unknown, the total is what was charged; an unknown one may count with its estimate."""
    paid = sum(charge["charged_usd"] for charge in mine)
    known = {task.task_id for task in books.tasks}
    sure = sum(charge["charged_usd"] for charge in mine if charge["task_id"] in known)
    open_tasks = [task for task in books.tasks if not task.task_id and task.state in OPEN_SUBMIT]
    most = sure + sum(task.estimate_usd or 0 for task in open_tasks)
    if not sure - _CENTS_APART <= books.total_usd <= max(most, sure) + _CENTS_APART:
        yield (
            f"ledger {books.ledger_id} counts {books.total_usd:.4f} USD; charged were {paid:.4f}, of them {sure:.4f} "
            f"for tasks that it knows, and {len(open_tasks)} are open"
        )


def check_attempts(charges: Sequence[Record], tasks: Sequence[Task], attempts: int = 1) -> Iterator[str]:
    """No request is charged oftener than it may be, and only after an attempt that ended without a clip."""
    paid = {charge["task_id"]: charge for charge in charges}
    charged: dict[str, list[str]] = defaultdict(list)
    for charge in charges:
        charged[words_of(charge)].append(charge["task_id"])
    yield from (f"{len(ids)} charges for {words!r}: {ids}" for words, ids in charged.items() if len(ids) > attempts)
    claims: dict[tuple[str, str], list[Task]] = defaultdict(list)
    for task in sorted(tasks, key=lambda task: task.claim):
        claims[task.row, task.digest].append(task)
    for (row, _), found in claims.items():
        for task in found[:-1]:
            if task.state not in _ENDED_WITHOUT_A_CLIP:
                yield f"row {row!r} has a further claim after claim {task.claim}, which is {task.state}"
            charge = paid.get(task.task_id or "")
            if charge and task.state is TaskState.FAILED and charge["status"] == "processing" and not task.released:
                yield f"row {row!r} was paid again while task {task.task_id} was still under way"


def _words(task: Task) -> str:
    return str(task.request.public()["prompt"]).strip()


def _describe(charge: Record) -> str:
    return f"task {charge['task_id']} of {charge['provider']} ({words_of(charge)!r})"
