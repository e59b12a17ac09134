"""What providers charged and list, by account, model and shape: it corrects estimates, and what budgets reserve."""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa

from pixverse_dagster.core.lifecycle import TaskState
from pixverse_dagster.core.price import Price, price_terms_text
from pixverse_dagster.core.request import Request
from pixverse_dagster.core.task import Task
from pixverse_dagster.ledger.codec import TASK_COLUMNS, changed, read_task
from pixverse_dagster.ledger.engine import one_at_a_time, reading
from pixverse_dagster.ledger.schema import prices, tasks
from pixverse_dagster.ledger.spending import count_spent
from pixverse_dagster.policy.prices import HIGHEST_SECONDS, SeenPrice, ShapePrices

_CHARGED, _LISTED = "charged", "listed"
_FRESH_SECONDS = 3600.0
"""The same price is written again after so long: then it is known to hold still."""
_MAY_COST_MORE = (TaskState.CLAIMED, TaskState.SUBMITTED, TaskState.UNKNOWN, TaskState.SUCCEEDED)
_OF_SHAPE = sa.select(prices).where(
    prices.c.account == sa.bindparam("of_account"),
    prices.c.model == sa.bindparam("of_model"),
    prices.c.terms == sa.bindparam("of_terms"),
)
# The same words in SQLite and PostgreSQL; SQLAlchemy's own would import both dialects into every process.
_KEEP = sa.text(
    f"INSERT INTO {prices.name} (account, model, terms, source, usd, highest_usd, seen_at, highest_at) "  # noqa: S608 - our constant
    "VALUES (:account, :model, :terms, :source, :usd, :usd, :now, :now) "
    "ON CONFLICT (account, model, terms, source) DO UPDATE SET usd = excluded.usd, seen_at = excluded.seen_at, "
    f"highest_usd = CASE WHEN excluded.usd >= {prices.name}.highest_usd OR {prices.name}.highest_at < :forget_before "
    f"THEN excluded.usd ELSE {prices.name}.highest_usd END, "
    f"highest_at = CASE WHEN excluded.usd >= {prices.name}.highest_usd OR {prices.name}.highest_at < :forget_before "
    f"THEN excluded.seen_at ELSE {prices.name}.highest_at END"
)
_OPEN = (
    sa.select(*TASK_COLUMNS)
    .where(
        sa.or_(
            tasks.c.id == sa.bindparam("of_id"),
            sa.and_(
                tasks.c.account == sa.bindparam("of_account"),
                tasks.c.model == sa.bindparam("of_model"),
                tasks.c.state.in_([str(state) for state in _MAY_COST_MORE]),
                tasks.c.cost_usd.is_(None),
            ),
        )
    )
    .order_by(tasks.c.id)
    .with_for_update()
)


class Prices:
    """Reads and writes what was seen of prices. Every method is one transaction; safe to use from many threads."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def find(self, accounts: list[str]) -> dict[tuple[str, str, str], ShapePrices]:
        """What was seen at these accounts, by account, model and shape."""
        found: dict[tuple[str, str, str], dict[str, SeenPrice]] = {}
        with reading(self._engine) as connection:
            for record in connection.execute(sa.select(prices).where(prices.c.account.in_(accounts))):
                found.setdefault((record.account, record.model, record.terms), {})[record.source] = _read(record)
        return {shape: _of_sources(sources) for shape, sources in found.items()}

    def keep_listed(self, account: str, lines: Iterable[Price], now: float) -> None:
        """The provider says what one output costs at the account; each line is of one shape."""
        with self._engine.begin() as connection:
            for line in lines:
                _keep(connection, (account, line.model, line.shape_text()), _LISTED, line.usd, now)


def find_seen(connection: sa.Connection, account: str, request: Request) -> ShapePrices:
    """What was seen of this shape at the account."""
    return _of_sources(
        {record.source: _read(record) for record in connection.execute(_OF_SHAPE, _shape(account, request))}
    )


def see_charge(connection: sa.Connection, task: Task, usd: float, now: float) -> None:
    """The provider charged so much for one output of the task. Nothing is written that is known already."""
    charged = find_seen(connection, task.account, task.request).charged
    if charged is None or charged.usd != usd or now - charged.seen_at > _FRESH_SECONDS:
        shape = (task.account, task.request.MODEL, price_terms_text(task.request))
        _keep(connection, shape, _CHARGED, usd, now)


def see_dearer(connection: sa.Connection, task: Task, usd: float) -> None:
    """The provider charged more for one output of the task than was reserved: what is under way will cost as much.

    What is reserved for every other such task is raised, so that a claim which follows finds what is really left. The
    caller records the charge of the task itself in the same transaction. All are locked in one order, this one too.
    """
    one_at_a_time(connection)
    terms = price_terms_text(task.request)
    which = {"of_id": task.id, "of_account": task.account, "of_model": task.request.MODEL}
    found = connection.execute(_OPEN, which)
    for before in [read_task(record) for record in found if record.id != task.id]:
        likely = round(usd * before.request.outputs_asked(), 6)
        if price_terms_text(before.request) == terms and (before.estimate_usd or 0.0) < likely:
            connection.execute(sa.update(tasks).where(tasks.c.id == before.id).values(estimate_usd=likely))
            count_spent(connection, changed(before, {"estimate_usd": likely}), before)


def _keep(connection: sa.Connection, shape: tuple[str, str, str], source: str, usd: float, now: float) -> None:
    values = {"account": shape[0], "model": shape[1], "terms": shape[2], "source": source}
    connection.execute(_KEEP, {**values, "usd": usd, "now": now, "forget_before": now - HIGHEST_SECONDS})


def _shape(account: str, request: Request) -> dict[str, str]:
    return {"of_account": account, "of_model": request.MODEL, "of_terms": price_terms_text(request)}


def _of_sources(sources: dict[str, SeenPrice]) -> ShapePrices:
    return ShapePrices(sources.get(_CHARGED), sources.get(_LISTED))


def _read(record: sa.Row[tuple[object, ...]]) -> SeenPrice:
    return SeenPrice(record.usd, record.highest_usd, record.seen_at, record.highest_at)
