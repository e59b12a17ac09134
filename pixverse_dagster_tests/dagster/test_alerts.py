"""The alerts of docs/operating.md, run as they stand there: each tells what it is for, once, and is quiet otherwise."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from pixverse_dagster import LedgerResource
from pixverse_dagster.core.outcomes import Accepted
from pixverse_dagster.core.task import AccountHold, HoldCause
from pixverse_dagster.ledger.claims import ClaimTerms
from pixverse_dagster.ledger.ledger import Ledger
from pixverse_dagster_tests.harness.factories import NAME, make_row, put_row
from pixverse_dagster_tests.harness.ledgers import ledger_in

PAGE = Path(__file__).parents[2] / "docs" / "operating.md"


@dataclass
class Alerts:
    """The blocks of the page as one module, with an instance and its ledger; `told` is what they told."""

    instance: dg.DagsterInstance
    names: dict[str, Any] = field(default_factory=dict[str, Any])
    told: list[str] = field(default_factory=list[str])

    @property
    def ledger(self) -> Ledger:
        return self.names["LEDGER"].get_ledger(self.instance)

    def tick(self, name: str, cursor: str | None = None) -> str | None:
        """Evaluate one of the sensors; its new cursor."""
        context = dg.build_sensor_context(self.instance, cursor=cursor)
        return self.names[name](context).cursor

    def claim(self, row: str, usd: float = 1.0, seconds_ago: float = 0) -> Any:
        """A submit of the pipeline."""
        terms = ClaimTerms("run", time.time() - seconds_ago, 60, usd, account="runware/live")
        return self.ledger.claim(NAME, put_row(self.ledger, make_row(row)), terms)[0]


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test(temp_dir=str(tmp_path_factory.mktemp("home"))) as made:
        yield made


@pytest.fixture
def alerts(tmp_path: Path, instance: dg.DagsterInstance) -> Alerts:
    text = PAGE.read_text().partition("## Alerts\n")[2].partition("\n## ")[0]
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == 5
    found = Alerts(instance)
    # Without this module's own `annotations`, of which Dagster takes none.
    exec(compile("\n".join(blocks), str(PAGE), "exec", dont_inherit=True), found.names)  # noqa: S102 - our own page
    found.names |= {"tell": found.told.append, "LEDGER": LedgerResource(url=ledger_in(tmp_path))}
    assert found.names["PIPELINE"] == NAME
    return found


def test_unknown_outcomes_are_told_once(alerts: Alerts) -> None:
    """And again when there are more."""
    assert alerts.tick("alert_unknown") == "0"
    alerts.ledger.mark_unknown(alerts.claim("a", 0.5), "lost", None)
    cursor = alerts.tick("alert_unknown", "0")
    alerts.tick("alert_unknown", cursor)
    assert alerts.told == ["films: 1 rows of unknown outcome, 0.50 USD at stake"]
    alerts.ledger.mark_unknown(alerts.claim("b", 0.25), "lost", None)
    alerts.tick("alert_unknown", cursor)
    assert alerts.told[1:] == ["films: 2 rows of unknown outcome, 0.75 USD at stake"]


def test_a_budget_that_is_near_fails_a_check_on_clips(alerts: Alerts) -> None:
    """Run by the job of its schedule."""
    clips = dg.AssetSpec(dg.AssetKey([NAME, "clips"]))
    definitions = dg.Definitions.merge(dg.Definitions(assets=[clips]), alerts.names["alerts"])
    job = definitions.resolve_job_def("watch_budget")

    def passed() -> bool:
        ended = job.execute_in_process(instance=alerts.instance)
        (evaluation,) = ended.get_asset_check_evaluations()
        return evaluation.passed

    alerts.claim("a", 79)
    assert passed()
    alerts.claim("b", 1.5)
    assert not passed()
    assert alerts.told == ["films: 80.50 of 100.00 USD are spent today"]


def test_rows_that_take_too_long_are_told(alerts: Alerts) -> None:
    """Those that were sent long ago, not those of today."""
    for row, seconds_ago in (("new", 60.0), ("old", 7 * 3600.0)):
        task = alerts.claim(row, seconds_ago=seconds_ago)
        at = time.time() - seconds_ago
        alerts.ledger.accept(task, Accepted(f"task of {row}"), at, at)
        if row == "new":
            assert alerts.tick("alert_slow") == ""
    cursor = alerts.tick("alert_slow")
    alerts.tick("alert_slow", cursor)
    (told,) = alerts.told
    assert told.startswith("films: for more than 6 hours: 2 rendering")


def test_a_provider_that_fails_is_told_with_its_reason(alerts: Alerts) -> None:
    """While it is left alone."""
    alerts.claim("a")
    assert alerts.tick("alert_provider") == ""
    now = time.time()
    hold = AccountHold(now + 600, 1, "Not charged. Runware does not take the API key", HoldCause.KEY, "")
    alerts.ledger.accounts.hold("runware/live", hold, now, 900)
    cursor = alerts.tick("alert_provider")
    alerts.tick("alert_provider", cursor)
    assert alerts.told == ["films: runware/live: Not charged. Runware does not take the API key"]


def test_a_run_that_fails_is_told_with_what_it_says(alerts: Alerts) -> None:
    """As Dagster gives it to a run failure sensor."""

    @dg.asset
    def fails() -> None:
        raise dg.Failure("row 'kite': nothing was sent")

    ended = dg.materialize([fails], instance=alerts.instance, raise_on_error=False)
    context = dg.build_run_status_sensor_context(
        sensor_name="alert_failure",
        dagster_event=ended.get_run_failure_event(),
        dagster_instance=alerts.instance,
        dagster_run=ended.dagster_run,
    ).for_run_failure()
    alerts.names["alert_failure"](context)
    (told,) = alerts.told
    assert told.startswith(f"run {ended.run_id} of ")
    assert " failed: " in told
