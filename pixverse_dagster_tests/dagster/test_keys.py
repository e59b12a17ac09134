"""One key that is blank or no key at all stops its own provider, and nothing else."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from pixverse_dagster import (
    LedgerResource,
    LocalClipIOManager,
    PipelineOptions,
    PixwithResource,
    RunwareResource,
    build_clips_definitions,
)
from pixverse_dagster.core.errors import ReadFailed, Unauthorized
from pixverse_dagster.core.lifecycle import TaskState
from pixverse_dagster.ledger.engine import sqlite_url
from pixverse_dagster.ledger.ledger import open_ledger
from pixverse_dagster.providers.base import TaskRef
from pixverse_dagster_tests.harness.factories import CELLS, PIXWITH, RUNWARE
from pixverse_dagster_tests.harness.servers import Simulator

pytestmark = [pytest.mark.filterwarnings("ignore:InitResourceContext.dagster_run:DeprecationWarning")]
BAD_KEYS = {"": "is empty", "  \t": "is empty", "schlüssel-s3cret": "no header can carry", "s3\x00cret": "no header"}
PACE = {"first_poll_seconds": 0.05, "max_poll_seconds": 0.1, "collect_after_seconds": 0}


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    make: Any = dg.DagsterInstance.ephemeral  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    with make(str(tmp_path)) as made:
        yield made


def films(folder: Path, url: str, runware_key: str, **runware: Any) -> dg.Definitions:
    """Two rows, one for each of two providers."""
    values: dict[str, Any] = {"api_key": runware_key, "base_url": f"{url}/runware", "account": "films"}
    rows = [{"id": model.split("/")[0], "model": model, **CELLS[model]} for model in (RUNWARE, PIXWITH)]
    return build_clips_definitions(
        "films",
        rows,
        providers=[
            RunwareResource(**values | runware),
            PixwithResource(api_key="simulator", base_url=f"{url}/pixwith"),
        ],
        clips=LocalClipIOManager(
            base_dir=str(folder / "clips"), ledger=LedgerResource(url=sqlite_url(folder / "ledger.db"))
        ),
        options=PipelineOptions.model_validate({"pace": PACE, "download": {"allow_private_network": True}}),
    )


def read(definitions: dg.Definitions, instance: dg.DagsterInstance) -> bool:
    job = definitions.resolve_implicit_global_asset_job_def()
    return job.execute_in_process(instance=instance, asset_selection=[dg.AssetKey(["films", "prompts"])]).success


def submit(definitions: dg.Definitions, instance: dg.DagsterInstance) -> Any:
    config = {"ops": {"films_submit_rows": {"config": {"rows": ["runware", "pixwith"]}}}}
    job = definitions.resolve_job_def("films_submit")
    return job.execute_in_process(instance=instance, run_config=config, raise_on_error=False)


def tick(definitions: dg.Definitions, name: str, instance: dg.DagsterInstance) -> Any:
    sensor = definitions.resolve_sensor_def(name)
    wanted = {key: one for key, one in (definitions.resources or {}).items() if key in sensor.required_resource_keys}
    with dg.build_sensor_context(instance=instance, resources=wanted, definitions=definitions) as context:
        return sensor.evaluate_tick(context)


@pytest.mark.parametrize("key", BAD_KEYS, ids=range(len(BAD_KEYS)))
def test_a_bad_key_stops_its_own_provider_and_nothing_else(
    server: Simulator, tmp_path: Path, instance: dg.DagsterInstance, key: str
) -> None:
    """The table is read, the other's row is sent, every sensor ticks, and the key is named; a good key goes on."""
    bad, good = films(tmp_path, server.url, key), films(tmp_path, server.url, "simulator")
    assert read(bad, instance)
    submit(bad, instance)
    assert [task["provider"] for task in server.tasks()] == ["pixwith"]
    ledger = open_ledger(sqlite_url(tmp_path / "ledger.db"))
    assert [task.row for task in ledger.tasks.find("films")] == ["pixwith"], "no claim is used up"
    for sensor in ("films_poll", "films_continue", "films_submit_new"):
        assert tick(bad, sensor, instance) is not None
    submit(good, instance)
    assert len(server.tasks()) == 2
    (task,) = ledger.tasks.find("films", keys=["runware"])
    ledger.keep_polling(task, "", 0)
    told = tick(bad, "films_poll", instance)
    assert BAD_KEYS[key] in told.skip_message
    assert "s3cret" not in told.skip_message
    (after,) = ledger.tasks.find("films", keys=["runware"])
    assert after.state is TaskState.SUBMITTED


UNSET: dict[str, tuple[dict[str, Any], str]] = {
    "a key": ({"api_key": dg.EnvVar("NO_SUCH")}, "the API key for runware is not set: there is no environment"),
    "an address": ({"base_url": dg.EnvVar("NO_SUCH")}, "the base_url for runware is not set: there is no environment"),
}


@pytest.mark.parametrize("kind", UNSET)
def test_what_a_resource_lacks_stops_its_own_provider_and_nothing_else(
    server: Simulator, tmp_path: Path, instance: dg.DagsterInstance, kind: str
) -> None:
    """A variable that is not set, an address that is none: Dagster would end every tick and every run for them."""
    values, words = UNSET[kind]
    good, bad = films(tmp_path, server.url, "simulator"), films(tmp_path, server.url, "simulator", **values)
    assert read(bad, instance)
    submit(bad, instance)
    ledger = open_ledger(sqlite_url(tmp_path / "ledger.db"))
    assert [task.row for task in ledger.tasks.find("films")] == ["pixwith"], (
        "the other's row is sent, and no claim used"
    )
    submit(good, instance)
    assert [task.world for task in ledger.tasks.find("films")] == ["simulator", "simulator"]
    (task,) = ledger.tasks.find("films", keys=["runware"])
    ledger.keep_polling(task, "", 0)
    for sensor in ("films_continue", "films_submit_new", "films_poll"):
        assert tick(bad, sensor, instance) is not None
    with dg.build_resources({"runware": (bad.resources or {})["films_runware"]}, instance=instance) as built:
        assert built.runware.get_client().unusable.startswith(words)
    assert ledger.tasks.find("films", keys=["runware"])[0].state is TaskState.SUBMITTED
    assert ledger.worlds.find("films") == {"runware": "simulator", "pixwith": "simulator"}, (
        "it is of the world as before"
    )


@pytest.mark.parametrize("url", ["http://[s3cret", "/srv/s3cret", "ftp://s3cret", "http://", "http://x:s3cret/"])
def test_an_address_that_is_none_stops_its_own_provider(url: str) -> None:
    """It is named without what it says, and what is known of the account's world stays true."""
    resource = RunwareResource(api_key="simulator", base_url=url)
    with dg.build_resources({"films": resource}) as built:
        client = built.films.get_client({"runware": "simulator"})
    assert client.unusable == "the base_url for runware is no http(s) address. Nothing was sent; correct it"
    assert (client.world, client.account) == ("simulator", "runware/simulator")
    with pytest.raises(Unauthorized, match="no http"):
        client.submit(lambda: pytest.fail("nothing may be claimed for a submit that cannot leave"))
    client.close()


def test_a_variable_that_is_set_is_read_and_shown_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dagster's page shows its name and never its value, and what kind of resource it is."""
    given = RunwareResource(api_key=dg.EnvVar("FILMS_KEY"), base_url=dg.EnvVar("FILMS_URL"), max_open_tasks=7)
    monkeypatch.setenv("FILMS_KEY", "s3cret")
    monkeypatch.setenv("FILMS_URL", "http://127.0.0.1:1/runware")
    definition = given.get_resource_definition()
    assert definition is given.get_resource_definition()
    shown = json.loads(definition.config_schema.default_value_as_json_str)
    assert (shown["api_key"], shown["base_url"]) == ({"env": "FILMS_KEY"}, {"env": "FILMS_URL"})
    assert f"{definition.resource_fn.__module__}.{definition.resource_fn.__name__}" == (
        "pixverse_dagster.orchestration.resources.RunwareResource"
    )
    with dg.build_resources({"films": given}) as built:
        client = built.films.get_client()
    assert (client.unusable, client.provider.base_url, client.max_open_tasks) == ("", "http://127.0.0.1:1/runware", 7)
    client.close()


@pytest.mark.parametrize("key", BAD_KEYS, ids=range(len(BAD_KEYS)))
def test_a_client_without_a_key_sends_nothing(key: str) -> None:
    """Not even to ask: what it says is that its key is to be set, and that nothing was sent or spent."""
    client = RunwareResource(api_key=key, base_url="http://127.0.0.1:1").get_client()
    with pytest.raises(Unauthorized, match=BAD_KEYS[key]) as refused:
        client.submit(lambda: pytest.fail("nothing may be claimed for a submit that cannot leave"))
    assert "Nothing was sent" in str(refused.value)
    with pytest.raises(ReadFailed, match=BAD_KEYS[key]):
        client.poll([TaskRef("t")])
    assert "s3cret" not in repr(client)
    client.close()
