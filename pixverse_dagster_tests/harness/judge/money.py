"""Money and ends: a provider's audit, the ledgers and Dagster say the same of every charge and row.

Each check yields what is wrong; nothing is wrong where none yields. The audit is `/_simulator/tasks`, the provider's
own books: no word of the product is taken for what was charged or made.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from pixverse_dagster_tests.harness.judge.records import (
    Books,
    ClipEvent,
    Files,
    Record,
    provider_of,
    words_of,
    words_of_task,
)
from pixverse_dagster_tests.harness.judge.store import check_stored

OPEN = frozenset({"claimed", "unknown", "abandoned"})
"""States in which a task without an id may have been charged: nobody knows yet, or a person gave it up."""
_ENDED_WITHOUT_A_CLIP = {"failed", "abandoned", "refused"}
_CENTS_APART = 0.000_01


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
            if task["task_id"] and task["paid_by"] is None and task["state"] != "unknown":
                payers[task["task_id"]].append(books.ledger_id)
    yield from (f"task {task_id} was paid by {who}, each says" for task_id, who in payers.items() if len(who) > 1)


def _assign(charges: Sequence[Record], books: Books) -> tuple[set[str], list[str]]:
    """The ids of the charges that this ledger answers for, and what is wrong with its tasks."""
    sold = {charge["task_id"] for charge in charges}
    with_id = [task for task in books.tasks if task["task_id"]]
    open_tasks = [task for task in books.tasks if not task["task_id"] and task["state"] in OPEN]
    wrong = [
        f"row {task['row']!r} has task {task['task_id']}, which was never accepted"
        for task in with_id
        if task["task_id"] not in sold
    ]
    answered: set[str] = set()
    for charge in charges:
        tasks = [task for task in with_id if task["task_id"] == charge["task_id"]]
        if not tasks and (named := _open_task(charge, open_tasks)):
            open_tasks.remove(named)
            tasks = [named]
        answered |= {charge["task_id"]} if tasks else set()
        wrong += _check_answer(charge, tasks)
    return answered, wrong


def _check_answer(charge: Record, tasks: Sequence[Record]) -> Iterator[str]:
    if len(tasks) > 1:
        yield f"{_describe(charge)} is answered for by {len(tasks)} attempts of {[task['row'] for task in tasks]}"
    for task in tasks:
        if words_of(charge) != words_of_task(task):
            yield f"{_describe(charge)} is recorded for row {task['row']!r}, which has other words"
        if task["state"] == "unknown" and not task["reason"]:
            yield f"row {task['row']!r} is unknown for no reason"


def _open_task(charge: Record, tasks: Sequence[Record]) -> Record | None:
    """The submit of unknown outcome that this charge may be the outcome of."""
    reference = charge["client_reference"]
    if reference is not None and (mine := [task for task in tasks if task["client_reference"] == reference]):
        return mine[0]
    same = [
        task for task in tasks if provider_of(task) == charge["provider"] and words_of_task(task) == words_of(charge)
    ]
    return same[0] if same else None


def _check_total(mine: Sequence[Record], books: Books) -> Iterator[str]:
    """Where no outcome is unknown, the total is what was charged; an unknown one may count with its estimate."""
    paid = sum(charge["charged_usd"] for charge in mine)
    known = {task["task_id"] for task in books.tasks}
    sure = sum(charge["charged_usd"] for charge in mine if charge["task_id"] in known)
    open_tasks = [task for task in books.tasks if not task["task_id"] and task["state"] in OPEN]
    most = sure + sum(task["estimate_usd"] or 0 for task in open_tasks)
    if not sure - _CENTS_APART <= books.total_usd <= max(most, sure) + _CENTS_APART:
        yield (
            f"ledger {books.ledger_id} counts {books.total_usd:.4f} USD; charged were {paid:.4f}, of them {sure:.4f} "
            f"for tasks that it knows, and {len(open_tasks)} are open"
        )


def check_attempts(charges: Sequence[Record], tasks: Sequence[Record], attempts: int = 1) -> Iterator[str]:
    """No request is charged oftener than it may be, and only after an attempt that ended without a clip."""
    charged: dict[str, list[str]] = defaultdict(list)
    for charge in charges:
        charged[words_of(charge)].append(charge["task_id"])
    yield from (f"{len(ids)} charges for {words!r}: {ids}" for words, ids in charged.items() if len(ids) > attempts)
    yield from check_claims(charges, tasks)


def check_claims(charges: Sequence[Record], tasks: Sequence[Record]) -> Iterator[str]:
    """A further claim of a request comes only after one that ended without a clip, and ended for the provider too."""
    paid = {charge["task_id"]: charge for charge in charges}
    claims: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for task in sorted(tasks, key=lambda task: task["claim"]):
        claims[task["row"], task["digest"]].append(task)
    for (row, _), found in claims.items():
        for task in found[:-1]:
            if task["state"] not in _ENDED_WITHOUT_A_CLIP:
                yield f"row {row!r} has a further claim after claim {task['claim']}, which is {task['state']}"
            charge = paid.get(task["task_id"] or "")
            if charge and task["state"] == "failed" and charge["status"] == "processing" and not task["released"]:
                yield f"row {row!r} was paid again while task {task['task_id']} was still under way"


def check_ends(charges: Sequence[Record], tasks: Sequence[Record], files: Files) -> Iterator[str]:
    """Each task has ended, as its provider says; what is stored is wholly there, and was sold to it."""
    sold = {charge["task_id"]: charge for charge in charges}
    for task in tasks:
        row, state, charge = task["row"], task["state"], sold.get(task["task_id"] or "")
        if state in {"stored", "failed"}:
            if charge is None:
                yield f"row {row!r} is {state} without a charge of its own"
            elif state == "stored":
                yield from check_stored(task, charge, files)
            else:
                yield from _check_failed(task, charge)
        elif state == "unknown":
            yield from [] if task["reason"] else [f"row {row!r} is unknown for no reason"]
        elif state not in {"refused", "abandoned"}:
            yield f"row {row!r} has not ended: {state}"


def _check_failed(task: Record, charge: Record) -> Iterator[str]:
    expected = {"lost": "processing", "expired": "succeeded"}.get(task["kind"], "failed")
    if charge["status"] != expected or not task["reason"]:
        yield f"row {task['row']!r} failed ({task['kind']}: {task['reason']}), its provider: {charge['status']}"


def check_events(
    charges: Sequence[Record], tasks: Mapping[str, Record], events: Mapping[str, ClipEvent]
) -> Iterator[str]:
    """Dagster shows the clips of the rows that are stored, and of no others; what it shows is what their tasks made.

    `tasks` are the rows' newest ones.
    """
    made = {charge["task_id"]: [output["sha256"] for output in charge["outputs"]] for charge in charges}
    stored = {row: task for row, task in tasks.items() if task["state"] == "stored"}
    if {*stored} != {*events}:
        yield f"Dagster shows {sorted(events)} as materialised, the ledger has stored {sorted(stored)}"
    for row, event in events.items():
        if row in stored and event.task_id != stored[row]["task_id"]:
            yield f"Dagster shows task {event.task_id} for row {row!r}, the ledger {stored[row]['task_id']}"
        known = made.get(event.task_id, [])
        if known != event.sha256s or (len(known) == 1 and known[0] != event.data_version):
            yield f"Dagster shows {event.sha256s} ({event.data_version}) for row {row!r}, whose task made {known}"


def _describe(charge: Record) -> str:
    return f"task {charge['task_id']} of {charge['provider']} ({words_of(charge)!r})"
