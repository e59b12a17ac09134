"""`costs`: what was spent, for people, for spreadsheets and for programs."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from pixverse_dagster.cli.costs import cell
from pixverse_dagster_tests.harness.factories import make_row
from pixverse_dagster_tests.harness.operated import Operated, failed, make_project, stored, unknown
from pixverse_dagster_tests.harness.servers import Simulator

pytestmark = [
    pytest.mark.filterwarnings("ignore::dagster._utils.warnings.BetaWarning"),
    pytest.mark.filterwarnings("ignore:.*dagster_run:DeprecationWarning"),
]
DAY = 86_400
EVIL = '=HYPERLINK("https://evil.example.org")'


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Operated:
    """Two campaigns, one of them called as a formula, and a row without one. The tests change nothing."""
    made = make_project(tmp_path_factory.mktemp("costs"))
    ledger = made.ledger
    failed(ledger, make_row("b", campaign="winter"), 0.25, world="live")
    unknown(ledger, make_row("c", campaign=EVIL), 1.5, world="live")
    stored(ledger, make_row("d"), None, world="live")
    stored(ledger, make_row("e", campaign="winter"), 7.0)
    # What was charged corrects the estimates that follow, so it comes last.
    stored(ledger, make_row("a", campaign="winter"), 0.5, 0.57, world="live")
    return made


def test_a_person_reads_what_counts_as_spent_first_and_nothing_is_cut(project: Operated):
    """At any width; what is not known is said, and what a simulator charged is apart."""
    for width in (40, 80, 160):
        said = project.run("costs", "--by", "label:campaign", width=width).text
        assert "2.320 USD spent, and 1 task whose price is not public and in no sum: 0.570 charged" in said
        assert "0.250 estimated, 1.500 at stake: nobody knows whether that was charged." in said
        assert "0.250 USD were paid, or perhaps paid, for tasks that brought no clip" in said
        assert "7.000 USD spent at the simulator (nobody's money)" in said
        assert "…" not in said
    assert "(none)" in said


def test_eighty_columns_hold_a_table(project: Operated):
    """One line for each value, with its sums side by side."""
    lines = project.run("costs", "--by", "label:campaign", width=80).output.splitlines()
    (line,) = [line for line in lines if "winter" in line and "0.820" in line]
    assert [part.strip() for part in line.strip("│").split("│")] == [
        "winter", "2", "0.570", "0.250", "0.000", "0.820", "0.250",
    ]  # fmt: skip


def test_a_spreadsheet_takes_no_name_for_a_formula(project: Operated):
    """Whoever wrote the label; sums are plain numbers, and there is no total to be added twice."""
    rows = list(csv.DictReader(io.StringIO(project.run("costs", "--by", "label:campaign", "--csv").output)))
    found = {(row["label:campaign"], row["world"]): row["spent_usd"] for row in rows}
    assert found == {
        ("'" + EVIL, "live"): "1.500000",
        ("winter", "live"): "0.820000",
        ("", "live"): "0.000000",
        ("winter", "simulator"): "7.000000",
    }


@pytest.mark.parametrize("text", ["=1", "+1", "-1", "@a", "\t=1", " =1", "\r=1", "\n=1", "\uff1d1"])
def test_a_cell_that_could_be_a_formula_is_text(text: str):
    """Also behind white space; other words stay as they are."""
    assert cell(text) == f"'{text}"
    assert cell("winter = fun") == "winter = fun"


def test_json_has_lines_and_totals_of_each_world(project: Operated):
    """As one document; without --by only totals."""
    document = project.run("costs", "--by", "provider", "--json", "--since", "30d").document
    assert [(one["world"], one["name"], one["spent_usd"]) for one in document["lines"]] == [
        ("live", "runware", 2.32), ("simulator", "runware", 7.0),
    ]  # fmt: skip
    assert [one["spent_usd"] for one in document["totals"]] == [2.32, 7.0]
    assert project.run("costs", "--json").document["lines"] == []


def test_a_balance_stands_beside_what_the_ledger_says(tmp_path: Path, server: Simulator):
    """As information, in no sum; a provider that does not answer is named, with what it said last."""
    project = make_project(tmp_path, server.url)
    stored(project.ledger, make_row("a"), 0.5, 0.57)
    said = project.run("costs", "--balance").text
    assert "0.570 USD spent at the simulator" in said
    assert "runware/simulator: 100,000 USD left, said runware at 20" in said
    assert "This ledger counts 0.570 USD spent there; others may use it." in said
    server.sicken("runware", "error")
    (balance,) = project.run("costs", "--balance", "--json").document["balances"]
    assert (balance["amount"], balance["spent_usd"], bool(balance["problem"])) == (100_000, 0.57, True)


def test_nothing_spent_is_said(tmp_path: Path):
    """Before the first row, and for a period in which nothing was."""
    project = make_project(tmp_path)
    assert "Nothing was spent by films." in project.run("costs").text
    stored(project.ledger, make_row("a"), at=1_700_000_000.0)
    assert "Nothing was spent by films since" in project.run("costs", "--since", "1d").text
    assert "0.250 USD spent at the simulator" in project.run("costs", "--since", "2023-11-14").text


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--by", "campaign"], "label:KEY, model, day, provider, account, and not by 'campaign'"),
        (["--since", "yesterday"], "'yesterday' is not a date or time (2026-11-01, 2026-11-01T09:30"),
        (["--csv", "--json"], "give one of --csv and --json, and --balance without --csv"),
    ],
)
def test_a_slip_is_named_with_what_could_be_meant(project: Operated, words: list[str], said: str):
    """And ends with 2."""
    done = project.run("costs", *words)
    assert (done.code, said in done.text.replace("│ ", "").replace(" │", "")) == (2, True), done.text
