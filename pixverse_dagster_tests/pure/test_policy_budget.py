"""What a clip is expected to cost, and how much may still be spent."""

from typing import Any

import pytest

from pixverse_dagster.core.price import Price
from pixverse_dagster.policy.budget import Budget, Spent
from pixverse_dagster.policy.prices import estimate_usd, missing_line
from pixverse_dagster_tests.harness.factories import make_row

V6 = "highway/pixverse-v6-i2v"


@pytest.mark.parametrize(
    ("cells", "usd"),
    [
        ({"resolution": "1080p"}, 0.299),
        ({"resolution": "720p", "duration_seconds": 8}, 0.299),
        ({"resolution": "360p", "motion_mode": "fast"}, 0.2242),
        ({"resolution": "540p", "outputs": 4}, 0.4484),
        ({"resolution": "", "width": 1920, "height": 1080, "outputs": 2}, 0.598),
        ({"resolution": ""}, 0.1495),
    ],
)
def test_published_prices_scale_as_their_source_says(cells: dict[str, Any], usd: float) -> None:
    """0.299 for 5 s at 1080p; 45 : 60 : 120 by size, to four digits; double for 8 s or fast; times the outputs."""
    assert estimate_usd(make_row(**cells).request) == pytest.approx(usd)


def test_the_users_own_price_comes_first_and_may_be_per_second() -> None:
    """The first line that fits counts; a price per second is times the seconds."""
    row = make_row(model=V6, duration_seconds=8, audio=True)
    assert estimate_usd(row.request) is None
    book = (Price(model=V6, usd=0.09, per="second", audio=True), Price(model=V6, usd=0.05, per="second"))
    assert estimate_usd(row.request, book) == pytest.approx(0.72)
    assert estimate_usd(make_row(model=V6, duration_seconds=2).request, book) == pytest.approx(0.10)
    assert estimate_usd(make_row().request, (Price(model="runware/pixverse-v4.5", usd=1),)) == 1


def test_the_line_that_is_missing_can_be_pasted_into_the_price_book() -> None:
    """The error's line fits the request that it was made for."""
    request = make_row(model=V6, duration_seconds=8, audio=True).request
    line = missing_line(request).replace("'…'", "0.5")
    assert eval(line, {"Price": Price}).fits(request)  # noqa: S307 - our own text, in a test
    assert not any(price.fits(request) for price in request.PRICES)


@pytest.mark.parametrize(
    ("limits", "spent", "room"),
    [
        ({}, Spent(1, 2, 3), float("inf")),
        ({"per_run_usd": 5}, Spent(1, 9, 9), 4),
        ({"per_day_usd": 5, "total_usd": 20}, Spent(0, 2, 18.5), 1.5),
        ({"total_usd": 1}, Spent(0, 0, 3), 0),
        ({"per_run_usd": 0}, Spent(), 0),
    ],
)
def test_room_is_the_smallest_that_any_limit_leaves(limits: dict[str, float], spent: Spent, room: float) -> None:
    """Per run, per day and in all; never below zero; without a limit there is no end."""
    assert spent.room_usd(Budget(**limits)) == pytest.approx(room)
