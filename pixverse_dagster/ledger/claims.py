"""The one transaction that decides who may pay: the row as it is now, pauses, attempts so far, budgets, slots."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa

from pixverse_dagster.core.errors import NoSlot, OverBudget, RowChanged
from pixverse_dagster.core.lifecycle import Event, TaskState
from pixverse_dagster.core.manifest import World
from pixverse_dagster.core.request import DIGEST_VERSION
from pixverse_dagster.core.row import Row
from pixverse_dagster.core.task import Task, governing
from pixverse_dagster.ledger.accounts import count_open, find_neglected
from pixverse_dagster.ledger.codec import task_values
from pixverse_dagster.ledger.engine import one_at_a_time
from pixverse_dagster.ledger.history import remember
from pixverse_dagster.ledger.pauses import check_pauses
from pixverse_dagster.ledger.policies import find_retries
from pixverse_dagster.ledger.prices import find_seen
from pixverse_dagster.ledger.queries import find_claims
from pixverse_dagster.ledger.schema import pauses, rows, tasks, waiting, withdrawals
from pixverse_dagster.ledger.spending import count_spent, sum_account, sum_spent
from pixverse_dagster.policy.budget import NO_LIMIT, Budget, Spent, fits
from pixverse_dagster.policy.prices import correct_usd, missing_line, reserve_usd
from pixverse_dagster.policy.retry import NO_RETRIES, RetryPolicy, may_attempt


def _of_row(table: sa.Table, column: sa.ColumnElement[Any]) -> sa.ScalarSelect[Any]:
    same = (table.c.pipeline == sa.bindparam("of_pipeline"), table.c.row == sa.bindparam("of_row"))
    return sa.select(column).select_from(table).where(*same).scalar_subquery()


_LOOK = sa.select(
    _of_row(rows, rows.c.digest).label("digest"),
    _of_row(waiting, sa.func.count()).label("waiting"),
    _of_row(withdrawals, sa.func.count()).label("withdrawals"),
    sa.select(sa.func.count()).select_from(pauses).scalar_subquery().label("pauses"),
)
"""What else the ledger has about a row, in one statement: its digest now, and how many entries of each kind."""
_WITH_REFERENCE = sa.select(tasks.c.pipeline, tasks.c.row).where(
    tasks.c.client_reference == sa.bindparam("of_reference")
)
_INSERT = sa.insert(tasks)


@dataclass(frozen=True)
class ClaimTerms:
    """Who claims a request, when, on which account, and under which limits.

    `key` is the fingerprint of the API key that the submit is sent with. `estimate_usd` is the price book's figure:
    what was charged before corrects it, and with a budget the higher of the two is reserved by the claim. With
    `max_open_tasks`, a slot of the account is. `body` makes the submit as it will be sent, for a replay, out of the
    client reference; None where no replay is possible. With `asked`, the run asked for the row by `SubmitQueue.ask`, so
    that a withdrawal that is there came after that, and nothing is claimed.
    """

    run_id: str
    now: float
    lease_seconds: float
    estimate_usd: float | None = None
    budget: Budget = NO_LIMIT
    account_budget: Budget = NO_LIMIT
    retry: RetryPolicy = NO_RETRIES
    account: str = ""
    world: World = "live"
    key: str = ""
    max_open_tasks: int | None = None
    asked: bool = False
    body: Callable[[str], str] | None = None


def claim(connection: sa.Connection, ledger_id: str, pipeline: str, row: Row, terms: ClaimTerms) -> tuple[Task, bool]:
    """The task that answers for the row's request, and whether this transaction made it.

    Raises RowChanged, Paused, OverBudget or NoSlot, and then claims nothing. A racing claim of the same number ends in
    IntegrityError.
    """
    limited = terms.budget.limits or terms.account_budget.limits
    if limited or terms.max_open_tasks is not None:
        one_at_a_time(connection)
    seen = connection.execute(_LOOK, {"of_pipeline": pipeline, "of_row": row.id}).one()
    _check_digest(seen.digest, row.digest)
    every_claim = find_claims(connection, pipeline, row.id, row.digest)
    claims = [one for one in every_claim if one.world == terms.world]
    answer = governing(claims)
    if answer is not None and not may_attempt(claims, find_retries(connection, pipeline, terms.retry)):
        return answer, False
    if terms.asked and seen.withdrawals:
        _check_withdrawals(connection, pipeline, row)
    if seen.pauses:
        check_pauses(connection, pipeline, terms.account)
    # Read here, so that what another process has just seen counts, also for rows that were planned before.
    find_price = reserve_usd if limited else correct_usd
    usd = find_price(terms.estimate_usd, row.request, find_seen(connection, terms.account, row.request), terms.now)
    terms = replace(terms, estimate_usd=usd)
    _check_budgets(connection, pipeline, row, terms)
    if terms.max_open_tasks is not None:
        _check_slot(connection, pipeline, row, terms, terms.max_open_tasks)
    # The numbers go on over both worlds, so that no two tasks ever have one folder.
    number = 1 + max((one.claim for one in every_claim), default=0)
    while _is_used(connection, pipeline, row.id, client_reference(ledger_id, pipeline, row.id, row.digest, number)):
        number += 1
    task = _new_task(ledger_id, pipeline, row, number, terms)
    body = terms.body(task.client_reference) if terms.body else None
    connection.execute(_INSERT, task_values(task, body))
    for table, entries in ((waiting, seen.waiting), (withdrawals, seen.withdrawals)):
        if entries:
            connection.execute(sa.delete(table).where(table.c.pipeline == pipeline, table.c.row == row.id))
    count_spent(connection, task)
    remember(connection, Event.CLAIM, task)
    return task, True


def _is_used(connection: sa.Connection, pipeline: str, row: str, reference: str) -> bool:
    """Whether a row that had this name before, and has another one now, was sent under the reference.

    Never by the row itself: of two that claim the same number at the same moment, one has to fail.
    """
    found = connection.execute(_WITH_REFERENCE, {"of_reference": reference})
    return any((task.pipeline, task.row) != (pipeline, row) for task in found)


def check_current(connection: sa.Connection, pipeline: str, row: str, digest: str) -> None:
    """Raise RowChanged unless the row asks for this request now."""
    query = sa.select(rows.c.digest).where(rows.c.pipeline == pipeline, rows.c.row == row)
    _check_digest(connection.execute(query).scalar(), digest)


def _check_withdrawals(connection: sa.Connection, pipeline: str, row: Row) -> None:
    same = {"pipeline": pipeline, "row": row.id, "digest": row.digest}
    query = sa.select(withdrawals.c.row).where(*(withdrawals.c[name] == value for name, value in same.items()))
    if connection.execute(query.limit(1)).first():
        raise RowChanged("it was withdrawn while it waited. Nothing was sent for it, and nothing was spent")


def _check_digest(current: str | None, digest: str) -> None:
    if current != digest:
        what = "left the table" if current is None else "changed"
        raise RowChanged(f"it {what} while it waited. Nothing was sent for its earlier words, and nothing was spent")


def _check_budgets(connection: sa.Connection, pipeline: str, row: Row, terms: ClaimTerms) -> None:
    if terms.budget.limits:
        spent = sum_spent(connection, pipeline, terms.run_id, terms.now, terms.world)
        _check_budget(row, terms, terms.budget, spent, "the budget")
    if terms.account_budget.limits:
        spent = sum_account(connection, terms.account, terms.now)
        _check_budget(row, terms, terms.account_budget, spent, f"the budget of account {terms.account}")


def _check_budget(row: Row, terms: ClaimTerms, budget: Budget, spent: Spent, whose: str) -> None:
    room = spent.room_usd(budget)
    if terms.estimate_usd is None:
        raise OverBudget(
            "it has no known price, and a budget is set. Nothing was sent; "
            f"add a line to the price book: {missing_line(row.request)}"
        )
    if not fits(terms.estimate_usd, room):
        raise OverBudget(
            f"it costs about {terms.estimate_usd:.3f} USD and {room:.3f} USD are left of {whose}. "
            "Nothing was sent; raise the budget, or leave the row for another day"
        )


def _check_slot(connection: sa.Connection, pipeline: str, row: Row, terms: ClaimTerms, max_open_tasks: int) -> None:
    taken = count_open(connection, [terms.account], terms.now).get(terms.account, 0)
    if taken < max_open_tasks:
        return
    words = f"{taken} of {max_open_tasks} slots at {row.request.provider()} are taken"
    held = find_neglected(connection, [terms.account], pipeline, terms.now)
    words += f": {', '.join(map(str, held))}. `tasks list --all` names them" if held else ""
    raise NoSlot(f"{words}. Nothing was sent, and nothing was spent; the row keeps its place")


def _new_task(ledger_id: str, pipeline: str, row: Row, number: int, terms: ClaimTerms) -> Task:
    return Task(
        id=uuid.uuid4().hex,
        pipeline=pipeline,
        row=row.id,
        digest=row.digest,
        digest_version=DIGEST_VERSION,
        address_digest=row.address_digest,
        claim=number,
        take=row.take,
        request=row.request,
        images=row.images,
        labels=row.labels,
        differences=row.differences,
        client_reference=client_reference(ledger_id, pipeline, row.id, row.digest, number),
        account=terms.account,
        world=terms.world,
        key=terms.key,
        state=TaskState.CLAIMED,
        run_id=terms.run_id,
        claimed_at=terms.now,
        lease_until=terms.now + terms.lease_seconds,
        next_poll_at=terms.now + terms.lease_seconds,
        estimate_usd=terms.estimate_usd,
    )


def client_reference(ledger_id: str, pipeline: str, row: str, digest: str, claim: int) -> str:
    """Our own id of a submit: a UUID that anyone can derive who knows the ledger, the request and the claim's number.

    So a replay has the same one, and one of a lost ledger can be asked about; two deployments never meet.
    """
    seed = json.dumps([ledger_id, pipeline, row, digest, claim])
    return str(uuid.UUID(bytes=hashlib.sha256(seed.encode()).digest()[:16], version=4))
