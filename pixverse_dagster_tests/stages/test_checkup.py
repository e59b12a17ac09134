"""What `check` finds: every part by itself, with what mends it; nothing is spent, nothing hangs."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pixverse_dagster.core.commands import CommandLine
from pixverse_dagster.ledger.pauses import Pause
from pixverse_dagster.policy.budget import Budget
from pixverse_dagster.stages.checkup import Finding, check_pipeline
from pixverse_dagster.stages.session import Session
from pixverse_dagster.storage.local import LocalStore
from pixverse_dagster.tables import open_table
from pixverse_dagster.transport.client import ProviderClient
from pixverse_dagster_tests.harness.factories import NAME, NOW, RUNWARE, Setup, make_session, session_in
from pixverse_dagster_tests.harness.servers import Simulator

ROWS = [
    {"id": "a", "prompt": "a kite", "model": RUNWARE, "resolution": "360p"},
    {"id": "b", "prompt": "a kite", "model": RUNWARE, "resolution": "720p"},
    {"id": "c", "prompt": "a kite", "model": "pixwith/pixverse-v5"},
]


@contextmanager
def ready(tmp_path: Path, server: Simulator, setup: Setup | None = None, rows: Any = ROWS) -> Generator[Session]:
    """A session with a table and a store."""
    with session_in(tmp_path, server.url, setup) as session:
        store = LocalStore(tmp_path / "clips")
        pipeline = replace(session.pipeline, table=open_table(rows))
        commands = CommandLine(module="films", pipeline=NAME, home="/srv/films")
        yield replace(session, pipeline=pipeline, open_store=lambda: store, commands=commands)


def found(session: Session, seconds: float = 10) -> dict[str, list[Finding]]:
    """The findings by part."""
    by_part: dict[str, list[Finding]] = {}
    for one in check_pipeline(session, seconds):
        by_part.setdefault(one.part, []).append(one)
    return by_part


def test_all_is_well(tmp_path: Path, server: Simulator) -> None:
    """Every part says so, with what is left at the accounts and what the usual row costs. Nothing was submitted."""
    with ready(tmp_path, server) as session:
        parts = found(session)
    assert {one.result for name, same in parts.items() for one in same if not name.startswith("price")} == {"ok"}
    assert set(parts) >= {"ledger", "store", "table", "highway", "runware", "pixwith", f"price of {RUNWARE}"}
    assert "about 0.112 USD for the usual row, 0.26 for all 2" in parts[f"price of {RUNWARE}"][0].detail
    (unpriced,) = parts["price of pixwith/pixverse-v5"]
    assert (unpriced.result, "Price(model='pixwith/pixverse-v5'" in unpriced.fix) == ("note", True)
    assert "usd left" in parts["runware"][0].detail
    assert "credits left" in parts["pixwith"][0].detail
    assert server.tasks() == []
    assert "submit" not in {call for calls in server.requests().values() for call in calls}


def test_a_key_that_is_refused_fails_with_what_to_do_and_is_not_shown(tmp_path: Path, server: Simulator) -> None:
    """The command that looks again is complete."""
    with ready(tmp_path, server, Setup(key="not-the-key")) as session:
        parts = found(session)
    for name in ("highway", "runware", "pixwith"):
        (one,) = parts[name]
        assert one.result == "failed"
        assert "does not take the API key" in one.detail
        assert one.fix.endswith("pixverse-dagster check -m films --pipeline films --home /srv/films")
        assert "not-the-key" not in one.detail + one.fix
    assert parts["store"][0].result == parts["ledger"][0].result == "ok"


@pytest.mark.parametrize(
    "kind", ["hang", "html", *(pytest.param(kind, marks=pytest.mark.cover) for kind in ("error", "away", "flood"))]
)
def test_a_sick_provider_delays_and_hides_no_other(tmp_path: Path, server: Simulator, kind: str) -> None:
    """It alone fails."""
    server.sicken("runware", kind, "api")
    with ready(tmp_path, server) as session:
        parts = found(session, 1.5 if kind == "hang" else 10)
    assert parts["runware"][0].result == "failed"
    assert parts["runware"][0].fix
    assert {parts[name][0].result for name in ("highway", "pixwith", "ledger", "store", "table")} == {"ok"}


def test_a_provider_that_is_not_there_says_how_to_start_it(tmp_path: Path, server: Simulator) -> None:
    """Of a simulator: the command with its port."""
    with ready(tmp_path, server) as session, make_session(session.ledger, "http://127.0.0.1:9") as away:
        parts = found(replace(session, clients=away.clients))
    assert parts["runware"][0].fix.startswith("pixverse-dagster simulator --port 9; then pixverse-dagster check ")


def test_an_account_without_a_key_fails_only_where_rows_need_it(tmp_path: Path, server: Simulator) -> None:
    """Nothing of the table is for HighwayAPI; Pixwith has a row; and an account that is not there at all is named."""
    with ready(tmp_path, server) as session:
        clients: dict[str, ProviderClient] = {
            name: replace(session.clients[name], unusable="the API key is empty. Nothing was sent; set the key")
            for name in ("highway", "pixwith")
        }
        parts = found(replace(session, clients=clients))
    assert (parts["highway"][0].result, parts["pixwith"][0].result) == ("note", "failed")
    assert parts["pixwith"][0].fix.startswith("export PIXWITH_API_KEY=…")
    assert parts["runware"][0].result == "failed"
    assert "has no account here" in parts["runware"][0].detail


def test_a_store_that_cannot_be_written_to_fails(tmp_path: Path, server: Simulator) -> None:
    """With what it means for the money."""
    (tmp_path / "clips").write_text("a file")
    with ready(tmp_path, server) as session:
        (one,) = found(session)["store"]
    assert one.result == "failed"
    assert one.fix
    assert os.path.lexists(tmp_path / "clips")


@pytest.mark.parametrize("table", ["missing.csv", "odd.csv"])
def test_a_table_that_cannot_be_read_fails_by_itself(tmp_path: Path, server: Simulator, table: str) -> None:
    """The other parts are told all the same."""
    (tmp_path / "odd.csv").write_bytes(b"\xff\xfe\x00")
    with ready(tmp_path, server, rows=str(tmp_path / table)) as session:
        parts = found(session)
    assert parts["table"][0].result in {"failed", "note"}
    assert parts["table"][0].fix
    assert parts["runware"][0].result == "ok"


def test_what_keeps_rows_from_being_paid_for_is_named(tmp_path: Path, server: Simulator) -> None:
    """A pause; and of a live account, that no budget is set."""
    with ready(tmp_path, server, Setup(world="live")) as session:
        session.ledger.pauses.add(Pause("all", "", "budget talks", NOW))
        parts = found(session)
        options = session.options.model_copy(update={"budget": Budget(per_day_usd=5)})
        limited = found(replace(session, pipeline=replace(session.pipeline, options=options)))
    assert parts["spending"][0].result == "failed"
    assert "budget talks" in parts["spending"][0].detail
    assert parts["spending"][0].fix.startswith("pixverse-dagster resume ")
    assert parts["budget"][0].result == "note"
    assert "budget" not in limited
