"""The production example: what its files say, and the same topology at work with a worker killed on the way."""

import json
import re
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from pixverse_dagster_tests.harness.commands import pixverse, wait_until, write_table
from pixverse_dagster_tests.harness.counts import FULL
from pixverse_dagster_tests.harness.fixtures import Tell
from pixverse_dagster_tests.harness.servers import S3Server, Simulator, StartSimulator, drop_database, new_database
from pixverse_dagster_tests.harness.topology import PRODUCTION, Topology, documented, started

ROWS = 300 if FULL else 80
# Short waits, and submits slow enough that two workers are at it at the same time for a while.
PACE = {
    "first_poll_seconds": 0.5,
    "max_poll_seconds": 2,
    "claim_lease_seconds": 5,
    "record_seconds": 1,
    "collect_after_seconds": 5,
    "collect_retry_seconds": 1,
    "offer_seconds": 30,
    "collect_lease_seconds": 10,
}
ACCOUNTS = {"runware": {"submits_per_minute": 2 * ROWS, "submit_timeout_seconds": 8, "connect_timeout_seconds": 1}}


@pytest.fixture
def settings(
    tmp_path: Path,
    simulator: StartSimulator,
    s3_bucket: tuple[S3Server, str],
    postgres_database: str,
) -> Iterator[tuple[Simulator, dict[str, str]]]:
    """What .env would say on this machine, and the simulator."""
    running = simulator(generation_seconds=1)
    server, bucket = s3_bucket
    table = write_table(tmp_path / "prompts.csv", ROWS, ("runware/pixverse-v4.5",))
    ledger = new_database(postgres_database)
    yield (
        running,
        {
            "DAGSTER_POSTGRES_URL": postgres_database,
            "PIXVERSE_LEDGER_URL": ledger,
            "PIXVERSE_S3_BUCKET": bucket,
            "AWS_ENDPOINT_URL_S3": server.endpoint_url,
            "AWS_ACCESS_KEY_ID": server.access_key,
            "AWS_SECRET_ACCESS_KEY": server.secret_key,
            "AWS_REGION": server.region,
            "PIXVERSE_PROMPTS": str(table),
            "PIXVERSE_SIMULATOR_URL": running.url,
            "PIXVERSE_PACE": json.dumps(PACE),
            "PIXVERSE_ACCOUNTS": json.dumps(ACCOUNTS),
        },
    )
    drop_database(ledger)


@pytest.mark.cover
@pytest.mark.timeout(600)
def test_every_row_passes_through_with_one_worker_killed_on_the_way(
    tmp_path: Path, settings: tuple[Simulator, dict[str, str]], s3_bucket: tuple[S3Server, str], tell: Tell
) -> None:
    """Two workers submit, one is killed; Dagster notices, runs it again, and every count is that of the rows."""
    running, values = settings
    began = time.monotonic()
    with started(tmp_path / "home", values) as topology:
        web = topology.webserver
        ready = time.monotonic()
        _read_table(topology)
        assert web.asset("trailers", "clips")["partitionStats"]["numPartitions"] == ROWS
        submits = _launch_submits(topology)
        both = time.monotonic()
        wait_until(lambda: len(running.tasks()) >= 16, 120, "16 submitted rows")
        assert [web.run(run)["status"] for run in submits] == ["STARTED"] * 2, "both are at it at the same moment"
        workers = [web.worker(run) for run in submits]
        assert {worker.pid for worker in workers} <= {part.pid for part in topology.crew.parts("worker")}
        workers[0].send_signal(signal.SIGKILL)
        killed, charged = time.monotonic(), len(running.tasks())
        wait_until(lambda: web.run(submits[0])["status"] == "FAILURE", 90, "the death is noticed")
        noticed = time.monotonic()
        assert charged < ROWS / 2, "killed too late to prove anything"

        def all_materialised() -> bool:
            return web.asset("trailers", "clips")["partitionStats"]["numMaterialized"] == ROWS

        wait_until(all_materialised, 240, f"{ROWS} clips materialised")
        done = time.monotonic()
        runs = wait_until(lambda: _at_rest(topology), 60, "every run has ended")
        tasks = json.loads(_ask(topology, "tasks", "list", "--json"))
        assert Counter(task["state"] for task in tasks) == {"stored": ROWS}
        assert len(running.tasks()) == len({task["client_reference"] for task in running.tasks()}) == ROWS
        assert f"{ROWS} stored clips" in _ask(topology, "verify")
        _check_runs(runs, submits)
        _check_webserver(topology)
        _check_bucket(s3_bucket)
    tell(
        "the production topology",
        f"{ROWS} rows in {done - began:.0f} s, {ready - began:.0f} s of them start-up; two workers at once after "
        f"{both - ready:.0f} s; one killed at {charged} charges, noticed after {noticed - killed:.0f} s; "
        f"{len(runs)} runs, {len(running.tasks())} charges",
    )


@pytest.mark.cover
@pytest.mark.timeout(600)
def test_runs_that_died_with_their_code_server_are_run_again(
    tmp_path: Path, settings: tuple[Simulator, dict[str, str]], tell: Tell
) -> None:
    """Nobody is left to notice such a death but run monitoring, by the longest time that a run may take."""
    running, values = settings
    slow = {"PIXVERSE_ACCOUNTS": json.dumps({"runware": {"submits_per_minute": 120}})}
    with started(tmp_path / "home", values | slow) as topology:
        web = topology.webserver
        _read_table(topology)
        run = _submit(topology, range(30), **{"dagster/max_runtime": "20"})
        wait_until(lambda: len(running.tasks()) >= 5, 120, "5 submitted rows")
        topology.kill_code()
        died, charged = time.monotonic(), len(running.tasks())
        topology.start_code()
        assert web.run(run)["status"] == "STARTED", "so it would stay for ever"
        wait_until(lambda: web.run(run)["status"] == "FAILURE", 150, "the run is given up")
        noticed = time.monotonic()
        wait_until(lambda: web.asset("trailers", "clips")["partitionStats"]["numMaterialized"] == 30, 200, "30 clips")
        done = time.monotonic()
        runs = wait_until(lambda: _at_rest(topology), 60, "every run has ended")
        assert charged < 30
        assert len(running.tasks()) == 30
        assert "exceeding maximum runtime of 20 seconds" in web.log(run)
        assert [one["runId"] for one in runs if one["status"] == "FAILURE"] == [run]
        assert "30 stored clips" in _ask(topology, "verify")
    tell(
        "a code server killed with its run",
        f"at {charged} of 30 charges; given up after {noticed - died:.0f} s, all stored after {done - died:.0f} s, "
        f"{len(running.tasks())} charges",
    )


def _read_table(topology: Topology) -> None:
    web = topology.webserver
    prompts = web.launch("__ASSET_JOB", {}, assets=[["trailers", "prompts"]])
    wait_until(lambda: web.run(prompts)["status"] == "SUCCESS", 120, "the table is read")


def _submit(topology: Topology, rows: range, **tags: str) -> str:
    """A submit run for these rows."""
    config = {"ops": {"trailers_submit_rows": {"config": {"rows": [f"r{n:03}" for n in rows]}}}}
    return topology.webserver.launch("trailers_submit", config, tags=tags)


def _launch_submits(topology: Topology) -> list[str]:
    """Two runs for one half of the rows each, both with a worker."""
    web = topology.webserver
    runs = [_submit(topology, half) for half in (range(ROWS // 2), range(ROWS // 2, ROWS))]
    wait_until(lambda: {web.run(run)["status"] for run in runs} == {"STARTED"}, 120, "two workers")
    return runs


def _at_rest(topology: Topology) -> list[Any]:
    """Every run, once none is under way."""
    runs = topology.webserver.runs()
    return runs if all(run["status"] in {"SUCCESS", "FAILURE"} for run in runs) else []


def _ask(topology: Topology, *arguments: str) -> str:
    """What the project's command line prints, asked in the code server's place."""
    environment = {**topology.environment, "PYTHONPATH": str(topology.home)}
    return pixverse(*arguments, "-m", "definitions", home=topology.home, environment=environment).stdout


def _check_runs(runs: list[Any], submits: list[str]) -> None:
    """One run failed, the killed one, and Dagster ran it again by itself; the sensors' runs say how many rows."""
    tags = {run["runId"]: {tag["key"]: tag["value"] for tag in run["tags"]} for run in runs}
    assert [run["runId"] for run in runs if run["status"] == "FAILURE"] == [submits[0]]
    again = [run for run in runs if tags[run["runId"]].get("dagster/parent_run_id") == submits[0]]
    assert [(run["jobName"], run["status"]) for run in again] == [("trailers_submit", "SUCCESS")]
    collects = [run for run in runs if run["jobName"] == "trailers_collect"]
    assert collects
    assert all(int(tags[run["runId"]]["pixverse/rows"]) for run in collects)
    assert len(runs) <= 25, "not a run for every row"


def _check_webserver(topology: Topology) -> None:
    """The newest clip as a person sees it in the UI."""
    web = topology.webserver
    clips, tasks = web.asset("trailers", "clips"), web.asset("trailers", "tasks")
    assert clips["partitionStats"] == {"numPartitions": ROWS, "numMaterialized": ROWS, "numFailed": 0}
    assert tasks["partitionStats"]["numMaterialized"] == ROWS
    (newest,) = clips["assetMaterializations"]
    assert newest["partition"].startswith("r")
    assert "pixverse/poster" in {entry["label"] for entry in newest["metadataEntries"]}


def _check_bucket(s3_bucket: tuple[S3Server, str]) -> None:
    """Clips, posters, manifests, the store's marker, its ledger and what runs printed are there, and nothing else."""
    server, bucket = s3_bucket
    pages = server.client().get_paginator("list_objects_v2").paginate(Bucket=bucket)
    names = [item["Key"] for page in pages for item in page["Contents"]]
    kinds = Counter(name.rpartition(".")[2] for name in names if name.startswith("trailers/clips/"))
    assert kinds == dict.fromkeys(("mp4", "jpg", "json"), ROWS)
    logs = [name for name in names if name.startswith("dagster-logs/")]
    assert logs
    own = [name for name in names if name.startswith(("pixverse-store.json", "ledgers/"))]
    assert len(own) == 2
    assert len(logs) + len(own) + 3 * ROWS == len(names)


def test_the_instance_of_the_production_example_is_what_its_readme_says(
    tmp_path: Path, postgres_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """dagster.yaml against Dagster's own schema."""
    for name, value in {
        "DAGSTER_POSTGRES_URL": postgres_database,
        "PIXVERSE_S3_BUCKET": "b",
        "AWS_REGION": "r",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    (tmp_path / "dagster.yaml").write_text((PRODUCTION / "dagster.yaml").read_text())
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        assert type(instance.run_coordinator).__name__ == "QueuedRunCoordinator"
        assert type(instance.run_launcher).__name__ == "DefaultRunLauncher"
        assert type(instance.event_log_storage).__name__ == "PostgresEventLogStorage"
        queue = instance.get_concurrency_config().run_queue_config
        assert queue is not None
        assert (queue.max_concurrent_runs, [limit["key"] for limit in queue.tag_concurrency_limits]) == (
            8,
            ["pixverse/rows"],
        )
        assert instance.run_monitoring_enabled
        assert instance.run_retries_enabled
        assert not instance.telemetry_enabled


def test_compose_values_and_environment_say_the_same() -> None:
    """The three ways to set the example up agree on names, and every file that they name is there."""
    compose = yaml.safe_load((PRODUCTION / "compose.yaml").read_text())
    values = yaml.safe_load((PRODUCTION / "values.yaml").read_text())
    instance = yaml.safe_load((PRODUCTION / "dagster.yaml").read_text())
    text = (PRODUCTION / ".env.example").read_text()
    names = set(re.findall(r"^#?([A-Z][A-Z0-9_]*)=", text, re.MULTILINE))
    assert json.loads(documented()["PIXVERSE_BUDGET"])["per_run_usd"] == 20
    assert set(re.findall(r"\$\{(\w+)[:}]", (PRODUCTION / "compose.yaml").read_text())) <= names | {"WEBSERVER_PORT"}
    (deployment,) = values["dagster-user-deployments"]["deployments"]
    assert {variable["name"] for variable in deployment["env"]} <= names
    queue = values["dagsterDaemon"]["runCoordinator"]["config"]["queuedRunCoordinator"]
    assert queue["tagConcurrencyLimits"] == instance["concurrency"]["runs"]["tag_concurrency_limits"]
    assert queue["maxConcurrentRuns"] == instance["concurrency"]["runs"]["max_concurrent_runs"]
    assert values["dagsterDaemon"]["runRetries"]["maxRetries"] == instance["run_retries"]["max_retries"]
    assert set(compose["services"]) == {"postgres", "code", "daemon", "webserver", "simulator"}
    dockerfile = (PRODUCTION / "Dockerfile").read_text()
    copied = [word for line in re.findall(r"^COPY (.+)$", dockerfile, re.MULTILINE) for word in line.split()[:-1]]
    assert copied
    assert all((PRODUCTION.parent.parent / name).exists() for name in copied)
