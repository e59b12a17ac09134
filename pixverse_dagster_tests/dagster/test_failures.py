"""What a failed step says of its rows."""

import dagster as dg
import pytest

from pixverse_dagster.orchestration.events.failures import raise_failures


def test_what_is_wrong_with_many_rows_for_one_reason_is_said_once():
    """And names the rows; what is wrong with one row alone stands by itself."""
    withheld = [f"row 'r{n}' is withheld: the store knows of another ledger. Run x" for n in range(14)]
    with pytest.raises(dg.Failure) as caught:
        raise_failures("failed", [*withheld, 'row "it\'s" is invalid: no prompt', "the store is full"], 20)
    title, first, second, third = (caught.value.description or "").splitlines()
    assert title == "16 of 20 rows failed; the others are done."
    assert first.startswith(withheld[0])
    assert first.endswith("13 other rows: " + ", ".join(f"'r{n}'" for n in range(1, 11)) + ", and 3 more")
    assert (second, third) == ('row "it\'s" is invalid: no prompt', "the store is full")
