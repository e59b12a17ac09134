"""Tables in a terminal: nothing that they say is cut off."""

import io
import re
from collections import Counter

import pytest
from rich.console import Console

from pixverse_dagster.cli.output import print_to
from pixverse_dagster_tests.harness.answers import UUID


@pytest.mark.parametrize("width", [20, 40, 79, 80, 120, 160])
def test_no_cell_is_cut_in_a_terminal_however_narrow(width: int):
    """Every word of every cell is there, broken into lines or not; a cell is no markup."""
    columns = ["row", "model", "attempt", "state", "task id", "usd", "note"]
    note = "It may have been charged, and is not sent again: HighwayAPI answered HTTP 500: [bold]out of memory[/bold]."
    record = ["a kite", "runware/pixverse-v4.5", "1", "unknown", UUID, "0.299", note]
    page = io.StringIO()
    print_to(Console(file=page, width=width), "Tasks of films", columns, [record, record])
    shown = Counter(re.sub(r"[^!-~]", "", page.getvalue()))
    expected = Counter("".join("".join(record).split()) * 2)
    assert {c: n for c, n in expected.items() if shown[c] < n} == {}
