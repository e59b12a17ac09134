"""Ages and moments: what a person writes is read as what it says, or refused with what could be written."""

import pytest

from pixverse_dagster.core.ages import describe_age, read_since
from pixverse_dagster.core.values import iso

NOW = 1_700_000_000.0


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("7d", "2023-11-07T22:13:20.000+00:00"),
        (" 12 H ", "2023-11-14T10:13:20.000+00:00"),
        ("4w", "2023-10-17T22:13:20.000+00:00"),
        ("90m", "2023-11-14T20:43:20.000+00:00"),
        ("2023-11-01", "2023-11-01T00:00:00.000+00:00"),
        ("2023-11-01T09:30", "2023-11-01T09:30:00.000+00:00"),
        ("2023-11-01T00:30+02:00", "2023-10-31T22:30:00.000+00:00"),
    ],
)
def test_since_is_a_moment_or_an_age(text: str, moment: str):
    """Without an offset it is UTC, whatever the machine's zone is."""
    assert iso(read_since(text, NOW)) == moment


@pytest.mark.parametrize("text", ["", "yesterday", "7", "d", "-7d", "7 days", "2023-13-01", "1e3d", "7d7d", "9999999d"])
def test_what_is_neither_is_refused_with_what_can_be_written(text: str):
    """Nobody guesses a period that money is told of."""
    with pytest.raises(ValueError, match=r"a date or time \(2026-11-01, .* or an age \(12h, 7d, 4w\)"):
        read_since(text, NOW)


def test_an_age_is_told_in_its_largest_unit():
    """Rounded down; a clock that is behind makes nothing negative."""
    told = [describe_age(seconds) for seconds in (-5, 0, 59.9, 60, 3599, 3600, 86_399, 86_400, 40 * 86_400)]
    assert told == ["0 s", "0 s", "59 s", "1 min", "59 min", "1 h", "23 h", "1 d", "40 d"]
