"""What providers say of accounts by free calls: balances, prices, and whether a key is taken."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from pixverse_dagster.core.errors import ReadFailed, Unauthorized
from pixverse_dagster.core.price import Price
from pixverse_dagster.policy.budget import Budget
from pixverse_dagster.providers import PROVIDERS
from pixverse_dagster.providers.base import Provider
from pixverse_dagster.providers.highway.protocol import Highway
from pixverse_dagster.providers.pixwith import Pixwith
from pixverse_dagster.providers.runware.protocol import Runware
from pixverse_dagster.stages.balance import look_first, read_balances, tried_keys
from pixverse_dagster.stages.plan import plan_rows
from pixverse_dagster.stages.session import Session
from pixverse_dagster_tests.harness.factories import (
    NAME,
    PIXWITH,
    RUNWARE,
    Clock,
    Setup,
    make_row,
    record_rows,
    session_in,
    submit_all,
)
from pixverse_dagster_tests.harness.servers import Simulator

V45 = "highway/pixverse-v4.5-i2v"
LIVE = Setup(world="live")
WRONG = Setup(world="live", key="not-the-key")
EVERY_PROVIDER = pytest.mark.parametrize("provider", PROVIDERS, ids=lambda provider: provider.NAME)


@pytest.fixture(autouse=True)
def new_process() -> Iterator[None]:
    """As in a process that has asked nobody yet."""
    tried_keys.clear()
    yield
    tried_keys.clear()


@EVERY_PROVIDER
def test_a_key_is_tried_by_a_free_call(provider: type[Provider], tmp_path: Path, server: Simulator) -> None:
    """The right one is taken, a wrong one is refused with words that say so, and nothing was charged."""
    with session_in(tmp_path, server.url) as session:
        assert session.clients[provider.NAME].read_account() is not None
    with (
        session_in(tmp_path, server.url, WRONG) as session,
        pytest.raises(Unauthorized, match=r"^Not ch.* key"),
    ):
        session.clients[provider.NAME].read_account()
    assert server.tasks() == []


ODD = [
    httpx.Response(200, text="<html>hello</html>"),
    httpx.Response(200, json=[]),
    httpx.Response(500, json={"errors": [{"code": "internalServerError"}]}),
    httpx.Response(502, text=""),
    httpx.Response(200, content=b"\xff\xfe{"),
]
STRANGE: list[Any] = [{"data": [{"balance": value}]} for value in (-1, "many", None, True, "[]", 1e12)]


@EVERY_PROVIDER
@pytest.mark.parametrize("answer", ODD, ids=lambda answer: f"{answer.status_code} {answer.text[:12]}")
def test_an_answer_that_says_nothing_is_no_refusal(provider: type[Provider], answer: httpx.Response) -> None:
    """It says nothing about the key, and no balance is read out of it; no price either."""
    with pytest.raises(ReadFailed):
        provider("key").read_account(answer)
    assert provider("key").read_prices(answer) == ()


def test_balances_are_read_leniently() -> None:
    """Numbers and numbers as text; anything else is no balance, and no error."""
    said = [Runware("key").read_account(httpx.Response(200, json=body)).balance for body in STRANGE]
    assert said == [None] * len(STRANGE)
    told = {"data": [{"taskType": "accountManagement", "balance": "12.5", "apiKeys": [{"apiKey": "x"}]}]}
    assert Runware("key").read_account(httpx.Response(200, json=told)).balance == 12.5
    for left, amount in ((500, 500.0), ("7", 7.0), (0, 0.0), ("none", None)):
        answer = httpx.Response(200, json={"code": 1, "data": {"credits": left}})
        assert Pixwith("key").read_account(answer).balance == amount


def test_prices_are_read_leniently() -> None:
    """US dollars of products that are known; a figure that no clip costs is of another unit, and left out."""
    product = "PIXVERSE_V4_5_IMG_TO_VIDEO_5S_720P"

    def read(**entry: object) -> tuple[Price, ...]:
        prices = [{"product_id": product, **entry}, "odd", {"product_id": "ANOTHER", "price": 1}]
        return Highway("key").read_prices(httpx.Response(200, json={"prices": prices}))

    (line,) = read(price="0.6")
    assert (line.model, line.usd, line.resolution, line.motion_mode) == (V45, 0.6, "720p", "normal")
    assert line.shape_text() == Price(**line.model_dump()).shape_text()
    for entry in ({"price": 0}, {"price": 4500}, {"price": 0.0001}, {"price": 1, "currency": "CNY"}, {}):
        assert read(**entry) == ()


def test_balances_are_kept_for_a_day_with_their_date(tmp_path: Path, server: Simulator) -> None:
    """They are not asked for again. Who does not tell one is not named; who cannot be asked is, with its last one."""
    clock = Clock()
    with session_in(tmp_path, server.url, clock=clock) as session:
        submit_all(session, [make_row("a"), make_row("b", PIXWITH)])
        first = {one.provider: one for one in read_balances(session)}
        calls = server.requests()
        assert {one.provider: one for one in read_balances(session)} == first
        assert server.requests() == calls
        assert {name: (one.amount, one.unit, one.problem) for name, one in first.items()} == {
            "runware": (pytest.approx(100_000 - 0.1121, abs=1e-3), "usd", ""),
            "pixwith": (9_999_955, "credits", ""),
        }
        clock.ahead_seconds = 90_000
        server.sicken("runware", "error")
        later = {one.provider: one for one in read_balances(session)}
    assert later["runware"].problem
    assert later["runware"].read_at == first["runware"].read_at
    assert (later["pixwith"].read_at or 0) > (first["pixwith"].read_at or 0)


def test_a_provider_that_hangs_delays_no_other(tmp_path: Path, server: Simulator) -> None:
    """What the others say is there all the same."""
    server.sicken("runware", "hang")
    with session_in(tmp_path, server.url) as session:
        told = {one.provider: one for one in read_balances(session, 1)}
    assert told["pixwith"].amount is not None
    assert told["runware"].amount is None
    assert "got no answer" in told["runware"].problem or "in time" in told["runware"].problem


def test_a_key_that_is_refused_is_said_before_anything_is_claimed(tmp_path: Path, server: Simulator) -> None:
    """No task is in the ledger and no submit left; the rows keep their places."""
    with session_in(tmp_path, server.url, WRONG) as session:
        said = submit_all(session, [make_row("a"), make_row("b"), make_row("c", PIXWITH)])
        assert session.ledger.tasks.find(NAME) == []
        assert {entry.row for entry in session.ledger.queue.find(NAME)} == {"a", "b", "c"}
    assert all("does not take the API key" in one.problem for one in said.values() if one.problem)
    assert {one for one in said.values() if one.problem}
    assert "submit" not in server.requests()["runware"]
    assert server.tasks() == []


def test_the_key_is_tried_once_and_an_hour_holds_for_all_processes(tmp_path: Path, server: Simulator) -> None:
    """Two runs of one process, and another process soon after: one free call."""
    clock = Clock()
    with session_in(tmp_path, server.url, LIVE, clock) as session:
        submit_all(session, [make_row("a")])
        submit_all(session, [make_row("b")])
        tried_keys.clear()
        submit_all(session, [make_row("c")])
        assert server.requests()["runware"]["other"] == {"200": 1}
        tried_keys.clear()
        clock.ahead_seconds = 4000
        submit_all(session, [make_row("d")])
    assert server.requests()["runware"]["other"] == {"200": 2}
    assert len(server.tasks()) == 4


def test_a_provider_whose_free_call_fails_is_submitted_to_all_the_same(tmp_path: Path, server: Simulator) -> None:
    """What cannot be asked is no reason not to send."""
    with session_in(tmp_path, server.url, replace(LIVE, key="simulator")) as session:
        client = session.clients["pixwith"]
        assert look_first(session, client) is None
        submit_all(session, [make_row("a", PIXWITH)])
    assert len(server.tasks()) == 1


def test_a_listed_price_is_reserved_until_a_charge_is_seen(tmp_path: Path, server: Simulator) -> None:
    """Ten rows at 0.10 by the price book, listed and charged at 0.45: a budget of 1.00 takes two, not ten."""
    rows = [replace(make_row(f"r{n}", V45), line=n + 2) for n in range(10)]
    with session_in(tmp_path, server.url, LIVE) as opened:
        options = opened.options.model_copy(
            update={"budget": Budget(total_usd=1.0), "prices": (Price(model=V45, usd=0.10),)}
        )
        session: Session = replace(opened, pipeline=replace(opened.pipeline, options=options))
        record_rows(session.ledger, rows)
        sent = [one for one in submit_all(session, rows).values() if one.sent]
        shown = plan_rows(session, rows)
    assert len(sent) == 2
    assert sum(task["charged_usd"] for task in server.tasks()) == pytest.approx(0.9)
    assert shown.cost_usd == 0
    assert RUNWARE not in {line.model for line in shown.lines}
