"""How a pipeline stands, on the page of `clips`: one observation of the whole asset, of no partition.

An observation is no materialisation: nothing downstream is asked for because of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import dagster as dg

from pixverse_dagster.core.ages import describe_age
from pixverse_dagster.core.redaction import redact_text
from pixverse_dagster.core.row_state import NEEDS_A_PERSON, RowState
from pixverse_dagster.core.text import shorten
from pixverse_dagster.core.values import iso
from pixverse_dagster.reports.status import Status, read_status
from pixverse_dagster.stages.session import Session
from pixverse_dagster.transport.logs import get_logger

_LINES_SHOWN = 30
_PLOTTED = (
    RowState.WAITING,
    RowState.RENDERING,
    RowState.READY,
    RowState.STORED,
    RowState.FAILED,
    RowState.UNKNOWN,
    RowState.STALLED,
    RowState.WITHHELD,
)
"""What one wants to see over time; the table has the others too."""
_CELL_CHARACTERS = 4000
"""Far more than any message has; a table is bounded all the same."""
_MARKUP = re.compile(r"([\\`*_{}\[\]()#+!|~<>&$:@]|(?<=www)\.)", re.IGNORECASE)
_log = get_logger()


def session_status(session: Session) -> Status:
    """How the session's pipeline stands now, with the limits of its accounts."""
    rules = session.options.checks
    return read_status(
        session.ledger,
        session.pipeline.name,
        session.clock(),
        worlds=session.worlds,
        limits={client.account: client.max_open_tasks for client in session.clients.values()},
        blocking=rules.enabled and rules.blocking,
    )


def report_status(session: Session, report: Callable[[Any], None]) -> None:
    """Report how the pipeline stands. A fault of that fails no run: what the run did is done."""
    try:
        report(status_event(session_status(session)))
    except Exception as error:  # noqa: BLE001 - whatever it is, it is about a table that people look at
        _log.warning("how the pipeline stands could not be told: %s", redact_text(f"{type(error).__name__}: {error}"))


def status_event(status: Status) -> dg.AssetObservation:
    """The status as an observation of `clips`: a table to read, and numbers that plot over time."""
    return dg.AssetObservation(
        asset_key=[status.pipeline, "clips"],
        description=describe_status(status),
        metadata={
            "pixverse/status": dg.MetadataValue.md(status_table(status)),
            **{f"pixverse/rows_{state}": status.counts.get(state, 0) for state in _PLOTTED},
            "pixverse/spent_today_usd": round(float(status.spent_today_usd), 6),
            "pixverse/spent_usd": round(float(status.spent_usd), 6),
            "pixverse/at_stake_usd": round(float(status.at_stake_usd), 6),
        },
    )


def describe_status(status: Status) -> str:
    """The status in one sentence: what needs a person first, then the rest, then the money."""
    order = sorted(RowState, key=lambda state: state not in NEEDS_A_PERSON)
    said = [f"{count} {state}" for state in order if (count := status.counts.get(state, 0))]
    said += [f"{status.invalid_rows} invalid"] if status.invalid_rows else []
    money = ", ".join(f"{usd} USD {what}" for what, usd in _money(status))
    paused = f". {'; '.join(status.paused)}" if status.paused else ""
    return redact_text(f"{', '.join(said) or 'no rows'}. {_whose(status)}: {money}{paused}")


def status_table(status: Status) -> str:
    """The status as Markdown. What it quotes is data: nothing of it is markup."""
    states = [
        (str(one.state), str(one.count), _age(status.at, one.oldest_at), one.why)
        for one in status.states[:_LINES_SHOWN]
    ]
    states += [("invalid", str(status.invalid_rows), "", "see the problems of prompts")] if status.invalid_rows else []
    rest = sum(one.count for one in status.states[_LINES_SHOWN:])
    states += [("others", str(rest), "", "for reasons that are rarer")] if rest else []
    labels = [(one.label, one.value, str(one.rows), str(one.stored), _usd(one.spent_usd)) for one in status.labels]
    accounts = [
        (
            one.account,
            str(one.open_tasks) if one.max_open_tasks is None else f"{one.open_tasks} of {one.max_open_tasks}",
            "" if one.rests_until is None else f"until {iso(one.rests_until)}: {one.rests_why}",
        )
        for one in status.accounts
    ]
    parts = [
        _table(("rows are", "rows", "the oldest", "why"), states),
        _table((_whose(status).lower(), "USD"), _money(status)),
        _table(("label", "value", "rows", "stored", "USD"), labels),
        _table(("account", "under way", "rests"), accounts),
        *map(_escape, status.paused),
    ]
    return "\n\n".join(part for part in parts if part)


def _money(status: Status) -> list[tuple[str, str]]:
    money = [("today", _usd(status.spent_today_usd)), ("in all", _usd(status.spent_usd))]
    if status.counts.get(RowState.UNKNOWN):
        unpriced = f", and {status.at_stake_unpriced} without a known price" if status.at_stake_unpriced else ""
        money.append((f"at stake{unpriced}", _usd(status.at_stake_usd)))
    return money


def _whose(status: Status) -> str:
    """What a simulator charged is nobody's money."""
    return "Charged by the simulator" if status.is_simulated else "Spent"


def _table(columns: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A table in Markdown, of the first lines; nothing where there are none."""
    lines = list(lines)
    shown = [*lines[:_LINES_SHOWN], *([("…",) * len(columns)] if len(lines) > _LINES_SHOWN else [])]
    head = [f"| {' | '.join(columns)} |", f"|{' --- |' * len(columns)}"]
    return "\n".join([*head, *(f"| {' | '.join(map(_escape, line))} |" for line in shown)]) if lines else ""


def _escape(text: str) -> str:
    """A text as one line of Markdown that reads as it is, and ends no cell."""
    return _MARKUP.sub(r"\\\1", shorten(" ".join(redact_text(text).split()), _CELL_CHARACTERS))


def _usd(usd: float) -> str:
    return f"{usd:.3f}"


def _age(now: float, since: float | None) -> str:
    return "" if since is None else describe_age(max(now - since, 0))
