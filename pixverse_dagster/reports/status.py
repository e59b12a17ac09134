"""How a pipeline stands: its rows by state, its money, its accounts. What Dagster and the command line show of it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from pixverse_dagster.core.manifest import World
from pixverse_dagster.core.row_state import UNDER_WAY, RowState
from pixverse_dagster.ledger.ledger import Ledger
from pixverse_dagster.ledger.totals import LabelledCost, RowCount
from pixverse_dagster.policy.budget import NOTHING_SPENT, Spent


@dataclass(frozen=True)
class StateCount:
    """How many rows are in a state for one reason, and since when the oldest of them is (seconds since the epoch)."""

    state: RowState
    why: str
    count: int
    oldest_at: float | None = None


@dataclass(frozen=True)
class LabelStatus:
    """The rows with one value of a label: how many, how many of them have their clip, and what was spent on them."""

    label: str
    value: str
    rows: int
    stored: int
    spent_usd: float


@dataclass(frozen=True)
class AccountStatus:
    """A provider account: its tasks under way, of all pipelines, how many it takes (None: no limit), why it rests."""

    account: str
    open_tasks: int
    max_open_tasks: int | None = None
    rests_until: float | None = None
    rests_why: str = ""


@dataclass(frozen=True)
class Status:
    """A pipeline at one moment. Every row is in one of `states`; `invalid_rows` are in none, they cannot be generated.

    Money is US dollars, of the pipeline's present world: `is_simulated` says that it is nobody's. What is at stake is
    what submits of unknown outcome may have cost, and is part of what was spent where this ledger sent them.
    """

    pipeline: str
    at: float
    states: tuple[StateCount, ...] = ()
    invalid_rows: int = 0
    is_simulated: bool = False
    spent_today_usd: float = 0.0
    spent_usd: float = 0.0
    at_stake_usd: float = 0.0
    at_stake_unpriced: int = 0
    """How many submits of unknown outcome have no known price."""
    labels: tuple[LabelStatus, ...] = ()
    accounts: tuple[AccountStatus, ...] = ()
    paused: tuple[str, ...] = ()
    next_poll_at: float | None = None
    counts: Mapping[RowState, int] = field(default_factory=dict[RowState, int])
    """How many rows are in each state, 0 included."""

    @property
    def rows(self) -> int:
        """How many rows there are, without those that are invalid."""
        return sum(self.counts.values())

    @property
    def is_under_way(self) -> bool:
        """Whether anything comes on by itself."""
        return any(self.counts.get(state) for state in UNDER_WAY)


def read_status(
    ledger: Ledger,
    pipeline: str,
    now: float,
    *,
    worlds: Mapping[str, World] | None = None,
    limits: Mapping[str, int | None] | None = None,
    blocking: bool = False,
) -> Status:
    """How the pipeline stands now, from few grouped queries: 25,000 rows take a fraction of a second.

    Args:
        ledger: Where it is read. Nothing is written.
        pipeline: The pipeline's name.
        now: Seconds since the epoch.
        worlds: The world of each provider, as the ledger remembers it if not given.
        limits: The accounts to tell of, each with how many open tasks it takes; as the ledger knows them if not given.
        blocking: Whether a clip that fails a check is withheld, as the pipeline's rules say.
    """
    worlds = ledger.worlds.find(pipeline) if worlds is None else worlds
    counted, costs = ledger.totals.rows(pipeline, worlds, blocking=blocking), ledger.totals.costs(pipeline)
    world: World = "simulator" if worlds and set(worlds.values()) == {"simulator"} else "live"
    spent: Spent = ledger.spent(pipeline, "", now, world) if worlds or costs else NOTHING_SPENT
    at_stake_usd, unpriced = ledger.totals.at_stake(pipeline)
    limits = dict.fromkeys(ledger.totals.accounts(pipeline)) if limits is None else limits
    states = _add_up(counted)
    totals = Counter[RowState]()
    for one in states:
        totals[one.state] += one.count
    return Status(
        pipeline,
        now,
        states=states,
        invalid_rows=len({problem.place for problem in ledger.rows.problems(pipeline)}),
        is_simulated=world == "simulator",
        spent_today_usd=spent.day_usd,
        spent_usd=spent.total_usd,
        at_stake_usd=at_stake_usd,
        at_stake_unpriced=unpriced,
        labels=_by_label(counted, (cost for cost in costs if cost.world == world)),
        accounts=_accounts(ledger, limits, now),
        paused=tuple(sorted({str(pause) for pause in ledger.pauses.applying(pipeline, limits or [""]).values()})),
        next_poll_at=ledger.totals.next_poll_at(pipeline, worlds),
        counts={state: totals[state] for state in RowState},
    )


def _add_up(counted: Iterable[RowCount]) -> tuple[StateCount, ...]:
    """The counts without regard to labels, in the order of the states, the most frequent reason first."""
    found: dict[tuple[RowState, str], StateCount] = {}
    for one in counted:
        before = found.get((one.state, one.why), StateCount(one.state, one.why, 0))
        oldest = min((at for at in (before.oldest_at, one.oldest_at) if at is not None), default=None)
        found[one.state, one.why] = StateCount(one.state, one.why, before.count + one.count, oldest)
    order = {state: n for n, state in enumerate(RowState)}
    return tuple(sorted(found.values(), key=lambda one: (order[one.state], -one.count, one.why)))


def _by_label(counted: Iterable[RowCount], costs: Iterable[LabelledCost]) -> tuple[LabelStatus, ...]:
    """Every value of every label, by label, the dearest value first."""
    rows, stored, spent = (
        Counter[tuple[str, str]](),
        Counter[tuple[str, str]](),
        defaultdict[tuple[str, str], float](float),
    )
    for one in counted:
        for pair in one.labels.items():
            rows[pair] += one.count
            stored[pair] += one.count if one.state is RowState.STORED else 0
    for cost in costs:
        for pair in cost.labels.items():
            spent[pair] += cost.usd
    pairs = sorted(rows.keys() | spent.keys(), key=lambda pair: (pair[0], -spent.get(pair, 0.0), pair[1]))
    return tuple(LabelStatus(*pair, rows[pair], stored[pair], round(spent.get(pair, 0.0), 6)) for pair in pairs)


def _accounts(ledger: Ledger, limits: Mapping[str, int | None], now: float) -> tuple[AccountStatus, ...]:
    taken = ledger.accounts.open_tasks(list(limits), now) if limits else {}
    holds = {account: ledger.accounts.held(account, now) for account in limits}
    return tuple(
        AccountStatus(
            account,
            taken.get(account, 0),
            limit,
            rests_until=hold.until if (hold := holds[account]).until > now else None,
            rests_why=hold.reason if hold.until > now else "",
        )
        for account, limit in limits.items()
    )
