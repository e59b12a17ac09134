"""Hands off: the real daemon follows an upstream asset to clips and to what is downstream of them."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from pixverse_dagster_tests.harness.commands import charges_per_reference, materialize, wait_until
from pixverse_dagster_tests.harness.servers import StartSimulator
from pixverse_dagster_tests.harness.webserver import LOCATION, Webserver, open_dagster

MODULE = "pixverse_dagster_tests.harness.automated"
ROWS = [
    {"id": f"r{n}", "model": "runware/pixverse-v4.5", "prompt": f"kite {n}", "resolution": "360p"} for n in range(3)
]
SECONDS = 200
_START = """mutation($sensor: SensorSelector!) { startSensor(sensorSelector: $sensor) { __typename
  ... on PythonError { message } } }"""


def turn_on(web: Webserver, sensor: str) -> None:
    """What the switch beside a sensor does."""
    selector = {"repositoryLocationName": LOCATION, "repositoryName": "__repository__", "sensorName": sensor}
    assert web.ask(_START, sensor=selector)["startSensor"]["__typename"] == "Sensor"


def thumbnails(home: Path) -> Counter[str]:
    """How many times the thumbnail of each row was made."""
    with dg.DagsterInstance.from_config(str(home)) as instance:
        records = instance.fetch_materializations(dg.AssetKey("thumbnail"), limit=100).records
        return Counter(str(record.partition_key) for record in records)


def asked_for_several(home: Path) -> bool:
    """Whether the conditions have asked for thumbnails: of several rows at once, that is a backfill."""
    with dg.DagsterInstance.from_config(str(home)) as instance:
        return bool(instance.get_backfills())


@pytest.mark.cover
@pytest.mark.timeout(600)
def test_rows_become_clips_and_thumbnails_by_themselves(tmp_path: Path, simulator: StartSimulator) -> None:
    """Conditions upstream and downstream, sensors between: a changed row goes the whole way again, and no other."""
    running = simulator(generation_seconds=0.5)
    table = tmp_path / "rows.json"
    table.write_text(json.dumps(ROWS))
    environment: dict[str, Any] = {"DAGSTER_HOME": str(tmp_path), "SIMULATOR": running.url}
    with open_dagster(tmp_path, environment, ("-m", MODULE)) as web:
        turn_on(web, "demo_submit_new")
        materialize(environment, "scripts", module=MODULE)
        wait_until(lambda: asked_for_several(tmp_path) or thumbnails(tmp_path), SECONDS, "thumbnails are asked for")
        web.start_daemon()
        wait_until(lambda: thumbnails(tmp_path) == {"r0": 1, "r1": 1, "r2": 1}, SECONDS, "a thumbnail of every row")
        assert set(charges_per_reference(running).values()) == {1}
        table.write_text(json.dumps([ROWS[0] | {"prompt": "the kite falls"}, *ROWS[1:]]))
        materialize(environment, "scripts", module=MODULE)
        wait_until(lambda: thumbnails(tmp_path)["r0"] == 2, SECONDS, "the thumbnail of the changed row")
    assert thumbnails(tmp_path) == {"r0": 2, "r1": 1, "r2": 1}
    assert charges_per_reference(running) == {"kite 0": 1, "kite 1": 1, "kite 2": 1, "the kite falls": 1}
