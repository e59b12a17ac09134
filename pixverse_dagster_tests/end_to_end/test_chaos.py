"""The chaos run in short: one provider hangs, Dagster's daemon goes on, and no neighbour's clip is much later."""

from pathlib import Path

import pytest

from pixverse_dagster_tests.harness.chaos.chaos import Scale, chaos
from pixverse_dagster_tests.harness.chaos.rounds import Plan, plan_rounds
from pixverse_dagster_tests.harness.counts import FULL
from pixverse_dagster_tests.harness.fixtures import Tell
from pixverse_dagster_tests.harness.soak.stage import Options

SHORT = [Plan(), Plan("runware", "hang")]


@pytest.mark.cover
@pytest.mark.timeout(3000)
def test_beside_a_sick_provider_the_others_clips_are_stored_within_a_tick_more(tmp_path: Path, tell: Tell) -> None:
    """No tick is longer than 20 s, every row has an end, nothing is charged twice. All kinds, and kills: `--full`."""
    plans, scale = (plan_rounds(full=True), Scale()) if FULL else (SHORT, Scale(rows=12, sick_seconds=18))
    outcome = chaos(tmp_path, plans, Options(seed=0), scale)
    tell("chaos", outcome.text)
    assert not outcome.wrong, "\n".join([*outcome.wrong, outcome.report])
