"""The whole product as a user runs it: the command line, real Dagster runs, the simulator's audit as the judge."""

import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import dagster as dg
import pytest

from pixverse_dagster.core.lifecycle import TaskState
from pixverse_dagster.simulator import KINDS
from pixverse_dagster_tests.harness.code_server import write_workspace
from pixverse_dagster_tests.harness.commands import (
    MODELS,
    charges_per_reference,
    dagster,
    demo,
    finish,
    follow,
    materialize,
    pixverse,
    run_job,
    run_on,
    run_rows,
    states,
    wait_until,
    write_table,
)
from pixverse_dagster_tests.harness.counts import FULL
from pixverse_dagster_tests.harness.forked import daemon, start_forked
from pixverse_dagster_tests.harness.servers import S3Server, drop_database, new_database

DATA = Path(__file__).parents[1] / "data"
ENDS = {"stored", "failed", "unknown", "refused"}


def test_the_demo_stores_every_sample_row_and_a_second_run_charges_nothing(tmp_path: Path) -> None:
    """One command turns the sample table into clips, through all three providers and all five models.

    Without configuration the ledger stands in the instance's own storage, in WAL mode. Lost and made again, it is the
    same: it shows the same plan, and pays for nothing.
    """
    home = tmp_path / "demo"
    first = demo(home, "--generation-seconds", "1")
    assert {clip["state"] for clip in first["clips"]} == {"stored"}
    assert Counter(clip["model"] for clip in first["clips"]).keys() == set(MODELS)
    assert min(Counter(clip["model"] for clip in first["clips"]).values()) >= 2
    assert first["charged_tasks"] == len(first["clips"])
    with closing(sqlite3.connect(home / "storage" / "pixverse" / "ledger.db")) as ledger:
        assert ledger.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        found = ledger.execute("SELECT state FROM pixverse_tasks").fetchall()
        assert found == [(TaskState.STORED.value,)] * len(first["clips"])
    # Now, because with another run the simulator's images have other addresses.
    plan = json.loads(pixverse("plan", "--json", home=home).stdout)
    assert plan["totals"]["stored"] == len(first["clips"])
    for part in ("storage", "history"):  # runs, events and the ledger
        shutil.rmtree(home / part)
    assert_rebuilt(home, plan, len(first["clips"]))
    second = demo(home, "--generation-seconds", "1")
    assert second["charged_tasks"] == 0
    assert [clip["where"] for clip in second["clips"]] == [clip["where"] for clip in first["clips"]]
    printed = pixverse("demo", "--generation-seconds", "1", home=home).stdout
    (verify,) = re.findall(r"^Check it: +(.*)$", printed, re.MULTILINE)
    assert "0 disagreements" in follow(verify, Path("/")).output
    (page,) = re.findall(r"^Look at the clips: +(.*index\.html) ", printed, re.MULTILINE)
    assert Path(page) == home / "clips" / "demo" / "gallery" / "index.html"
    assert Path(page).is_file()
    assert second["gallery"] == page
    assert f"pixverse-dagster dev --home {home}" in printed


def assert_rebuilt(home: Path, plan: dict[str, Any], clips: int, environment: dict[str, str] | None = None) -> None:
    """A ledger that was lost is made again: the same plan as before, nothing for `verify` to name, and Dagster knows.

    A dry run says so, and leaves the next one all to do.
    """
    shown = pixverse("ledger", "rebuild", "--dry-run", home=home, environment=environment).stdout
    for part in ("(nothing is written)", f"{clips} taken in", "was paid for earlier", "would go on as ledger"):
        assert part in shown
    done = json.loads(pixverse("ledger", "rebuild", "--json", home=home, environment=environment).stdout)
    assert (done["totals"]["taken in"], done["totals"]["reported"]) == (clips, clips)
    assert json.loads(pixverse("plan", "--json", home=home, environment=environment, check=False).stdout) == plan
    assert "0 disagreements" in pixverse("verify", home=home, environment=environment).stdout
    with dg.DagsterInstance.from_config(str(home)) as instance:
        assert len(instance.get_materialized_partitions(dg.AssetKey(["demo", "clips"]))) == clips


@pytest.mark.timeout(900)
def test_a_table_is_as_many_charges_clips_and_partitions_in_few_runs(tmp_path: Path) -> None:
    """Sixty rows cost a handful of runs, and every count agrees; with `--full`, all 944 of VBench."""
    rows = 944 if FULL else 60
    home = tmp_path / "demo"
    report = demo(
        home, "--rows", str(rows), "--prompts", str(DATA / "vbench.csv"), "--model", "runware/pixverse-v4.5",
        "--generation-seconds", "1",
    )  # fmt: skip
    assert report["charged_tasks"] == rows
    assert Counter(clip["state"] for clip in report["clips"]) == {"stored": rows}
    assert len(list((home / "clips" / "demo" / "clips").glob("*/*/manifest.json"))) == rows
    with dg.DagsterInstance.from_config(str(home)) as instance:
        assert len(instance.get_materialized_partitions(dg.AssetKey(["demo", "clips"]))) == rows
        assert len(instance.get_materialized_partitions(dg.AssetKey(["demo", "tasks"]))) == rows
        assert instance.get_runs_count() == report["dagster_runs"] <= (21 if rows == 944 else 9)
    assert f"{rows} stored clips" in pixverse("verify", home=home).stdout


def test_lost_answers_on_runware_still_mean_one_charge_and_one_clip_per_row(tmp_path: Path) -> None:
    """Where the caller chooses the task's id, an unknown outcome heals by itself."""
    table = write_table(tmp_path / "t.csv", 40, ("runware/pixverse-v4.5",))
    arguments = ("--prompts", str(table), "--generation-seconds", "1", "--fault", "submit.lost_response=0.3")
    report = demo(tmp_path / "demo", *arguments)
    assert report["charged_tasks"] == 40
    assert Counter(clip["state"] for clip in report["clips"]) == {"stored": 40}


def test_lost_answers_elsewhere_are_unknown_named_and_never_sent_again(tmp_path: Path) -> None:
    """Where nobody can tell, the system stops and says what a person can do; every other row is stored."""
    home = tmp_path / "demo"
    table = write_table(tmp_path / "t.csv", 30, ("highway/pixverse-v6-i2v", "pixwith/pixverse-v5"))
    arguments = ("--prompts", str(table), "--generation-seconds", "1", "--fault", "submit.lost_response=0.3")
    report = demo(home, *arguments, check=False)
    ended = Counter(clip["state"] for clip in report["clips"])
    assert report["charged_tasks"] == 30
    assert ended["unknown"] >= 2
    assert ended["stored"] == 30 - ended["unknown"]
    again = demo(home, *arguments, check=False)
    assert again["charged_tasks"] == 0
    lost = next(clip["row"] for clip in report["clips"] if clip["state"] == "unknown")
    told = pixverse("tasks", "show", lost, home=home).stdout
    assert "unknown outcome" in told
    assert "console" in told
    assert "--adopt TASK_ID -m pixverse_dagster.definitions" in told


@pytest.mark.cover
def test_under_every_other_fault_at_once_each_row_is_stored_or_has_a_named_end(tmp_path: Path) -> None:
    """Refusals, errors, failed tasks, broken reads: nothing is charged twice and nothing is unaccounted for."""
    rows = 50 if FULL else 30
    table = write_table(tmp_path / "t.csv", rows)
    kinds = [kind for kind in KINDS if kind != "submit.lost_response"]
    faults = [argument for kind in kinds for argument in ("--fault", f"{kind}=0.1")]
    home = tmp_path / "demo"
    report = demo(home, "--prompts", str(table), "--generation-seconds", "1", *faults, check=False)
    ended = Counter(clip["state"] for clip in report["clips"])
    assert set(ended) <= ENDS, ended
    assert ended["stored"] >= rows * 0.4
    assert report["charged_tasks"] <= rows
    accepted = sum(ended[state] for state in ("stored", "failed"))
    assert accepted <= report["charged_tasks"] <= accepted + ended["unknown"]
    assert all(clip["where"] for clip in report["clips"]), "every end has a reason"
    assert "0 disagreements" in pixverse("verify", home=home).stdout


@pytest.mark.cover
def test_a_killed_submit_run_is_run_on_with_one_charge_per_row(tmp_path: Path, project: Any) -> None:
    """SIGKILL half-way through submitting: running on pays for no row twice and stores every clip."""
    rows = 20
    table = write_table(tmp_path / "t.csv", rows, ("runware/pixverse-v4.5",))
    home, environment, running = project(table, generation_seconds=1)
    materialize(environment, "demo/prompts")
    keys = [f"r{n:03}" for n in range(rows)]
    # One row a second, so that there is a half-way; what runs on need not be slow.
    slow = environment | {"PIXVERSE_ACCOUNTS": json.dumps({"runware": {"submits_per_minute": 60}})}
    process = run_job(slow, "demo_submit", "demo_submit_rows", keys)
    wait_until(lambda: len(running.tasks()) >= 4, 60, "4 submitted rows")
    process.send_signal(signal.SIGKILL)
    finish(process)
    assert len(running.tasks()) < rows, "killed too late to prove anything"
    run_on(environment, rows)
    assert states(home, environment) == {"stored": rows}
    assert len(running.tasks()) == rows
    assert "0 disagreements" in pixverse("verify", home=home, environment=environment).stdout


@pytest.mark.cover
def test_a_killed_collect_run_is_run_on_with_every_clip_stored(tmp_path: Path, project: Any) -> None:
    """SIGKILL half-way through collecting: running on completes what is half there, and charges nothing."""
    rows = 20
    table = write_table(tmp_path / "t.csv", rows)
    home, environment, running = project(table, generation_seconds=0.2, faults={"media.slow": 1})
    materialize(environment, "demo/prompts")
    keys = [f"r{n:03}" for n in range(rows)]
    run_rows(environment, "demo_submit", "demo_submit_rows", keys)
    clips = home / "clips" / "demo" / "clips"
    process = dagster(
        environment, "asset", "materialize", "-m", "pixverse_dagster.definitions",
        "--select", "demo/clips", "--partition-range", f"r000...r{rows - 1:03}",
    )  # fmt: skip
    wait_until(lambda: len(list(clips.glob("*/*/manifest.json"))) >= 4, 90, "4 stored clips")
    process.send_signal(signal.SIGKILL)
    finish(process)
    assert len(list(clips.glob("*/*/manifest.json"))) < rows, "killed too late to prove anything"
    run_on(environment, rows)
    assert states(home, environment) == {"stored": rows}
    assert set(charges_per_reference(running).values()) == {1}
    assert "0 disagreements" in pixverse("verify", home=home, environment=environment).stdout


def test_materialising_clips_submits_what_is_missing_and_fails_only_the_rows_that_failed(
    tmp_path: Path, project: Any
) -> None:
    """A direct materialisation of tasks and clips together: failed rows are failed, the others materialised."""
    table = write_table(tmp_path / "t.csv", 20, ("pixwith/pixverse-v5", "runware/pixverse-v4.5"))
    home, environment, running = project(table, generation_seconds=0.5, seed=3, faults={"task.failed": 0.3})
    materialize(environment, "demo/prompts")
    log = materialize(environment, "demo/tasks,demo/clips", "--partition-range", "r000...r019", fails=True)
    ended = states(home, environment)
    assert ended["failed"] >= 1
    assert ended["stored"] == 20 - ended["failed"]
    assert len(running.tasks()) == 20
    assert f"{ended['failed']} of 20 rows failed; the others are done" in log
    with dg.DagsterInstance.from_config(str(home)) as instance:
        stored = instance.get_materialized_partitions(dg.AssetKey(["demo", "clips"]))
        assert len(stored) == ended["stored"]
        assert len(instance.get_materialized_partitions(dg.AssetKey(["demo", "tasks"]))) == 20


def test_the_daemon_goes_on_with_what_a_submit_run_left(tmp_path: Path, project: Any) -> None:
    """With the real daemon, rows are submitted as slots become free, and stored, without anybody waiting for them."""
    table = write_table(tmp_path / "t.csv", 7, ("runware/pixverse-v4.5",))
    home, environment, running = project(table, generation_seconds=0.5)
    environment["PIXVERSE_ACCOUNTS"] = json.dumps({"runware": {"max_open_tasks": 4}})
    materialize(environment, "demo/prompts")
    run_rows(environment, "demo_submit", "demo_submit_rows", [f"r{n:03}" for n in range(7)])
    assert len(running.tasks()) == 4
    workspace = write_workspace(home, "pixverse_dagster.definitions")
    printed = home / "daemon.log"
    process = start_forked(
        daemon, ["run", "-w", str(workspace)], os.environ | environment, (printed, printed), cwd=home
    )
    clips = home / "clips" / "demo" / "clips"
    try:
        wait_until(lambda: len(list(clips.glob("*/*/manifest.json"))) == 7, 120, "7 clips stored by the daemon")
        wait_until(lambda: states(home, environment)["stored"] == 7, 30, "the ledger says stored")
    finally:
        process.terminate()
        log = finish(process, 30)
    assert "demo_poll" in log
    assert "Warning" not in log, log
    with dg.DagsterInstance.from_config(str(home)) as instance:
        assert len(instance.get_materialized_partitions(dg.AssetKey(["demo", "clips"]))) == 7
        assert instance.get_runs_count() <= 7, "not a run for every row"
    assert len(running.tasks()) == 7


def test_by_configuration_alone_the_same_job_runs_on_s3_and_postgresql(
    tmp_path: Path, project: Any, s3_bucket: tuple[S3Server, str], postgres_database: str, postgres_url: str
) -> None:
    """The environment chooses the store and the ledger; nothing else changes."""
    server, bucket = s3_bucket
    table = write_table(tmp_path / "t.csv", 10)
    home, environment, running = project(table, generation_seconds=0.5)
    environment |= {
        "PIXVERSE_S3_BUCKET": bucket,
        "PIXVERSE_S3_PREFIX": "media/2026",
        "PIXVERSE_LEDGER_URL": postgres_database,
        "AWS_ENDPOINT_URL_S3": server.endpoint_url,
        "AWS_ACCESS_KEY_ID": server.access_key,
        "AWS_SECRET_ACCESS_KEY": server.secret_key,
        "AWS_REGION": server.region,
    }
    materialize(environment, "demo/prompts")
    materialize(environment, "demo/clips", "--partition-range", "r000...r009")
    assert states(home, environment) == {"stored": 10}
    assert len(running.tasks()) == 10
    listed = server.client().list_objects_v2(Bucket=bucket)["Contents"]
    keys = [item["Key"] for item in listed]
    assert sum(key.endswith("/manifest.json") for key in keys) == 10
    own = ("demo/clips/r0", "demo/images/", "pixverse-store.json", "ledgers/")
    assert all(key.removeprefix("media/2026/").startswith(own) for key in keys)
    assert "0 disagreements" in pixverse("verify", home=home, environment=environment).stdout
    assert not (home / "storage" / "pixverse").exists(), "the ledger is in PostgreSQL alone"
    plan = json.loads(pixverse("plan", "--json", home=home, environment=environment).stdout)
    for part in ("storage", "history"):  # runs, events and the ledger
        shutil.rmtree(home / part)
    drop_database(postgres_database)
    new_database(postgres_url, urlsplit(postgres_database).path.strip("/"))
    assert_rebuilt(home, plan, 10, environment)
    materialize(environment, "demo/clips", "--partition-range", "r000...r009")
    assert len(running.tasks()) == 10


def test_downstream_assets_receive_clips(tmp_path: Path, project: Any) -> None:
    """One `Clip` for one partition, a dict by row for many, readable without knowing the store."""
    table = write_table(tmp_path / "t.csv", 4, ("runware/pixverse-v4.5",))
    home, environment, _ = project(table, generation_seconds=0.2)
    materialize(environment, "demo/prompts")
    materialize(environment, "demo/clips", "--partition-range", "r000...r002")
    module = home / "downstream.py"
    module.write_text(DOWNSTREAM)
    environment["PYTHONPATH"] = str(home)
    materialize(environment, "reel", module="downstream")
    materialize(environment, "thumbnail", "--partition", "r002", module="downstream")
    assert json.loads((home / "reel.json").read_text()) == {f"r00{n}": [640, 360, True] for n in range(3)}
    log = materialize(environment, "thumbnail", "--partition", "r003", module="downstream", fails=True)
    assert "row 'r003' of 'demo' has no stored clip yet" in log
    assert (home / "thumbnail.jpg").read_bytes()[:2] == b"\xff\xd8"


DOWNSTREAM = """
import json
import re
import os
from pathlib import Path

import dagster as dg

from pixverse_dagster import Clip
import pixverse_dagster.definitions as project

HOME = Path(os.environ["DAGSTER_HOME"])
ROWS = dg.DynamicPartitionsDefinition(name="demo_rows")


@dg.asset(ins={"clips": dg.AssetIn(["demo", "clips"], partition_mapping=dg.AllPartitionMapping())})
def reel(clips: dict):
    facts = {}
    for row, clip in clips.items():
        with clip.open() as file:
            whole = len(file.read()) == clip.manifest.outputs[0].size_bytes
        facts[row] = [clip.manifest.outputs[0].width, clip.manifest.outputs[0].height, whole]
    (HOME / "reel.json").write_text(json.dumps(facts))


@dg.asset(ins={"clip": dg.AssetIn(["demo", "clips"])}, partitions_def=ROWS)
def thumbnail(clip: Clip):
    (HOME / "thumbnail.jpg").write_bytes(clip.open_poster().read())


defs = dg.Definitions.merge(project.defs, dg.Definitions(assets=[reel, thumbnail]))
"""


def test_dagster_loads_the_workspace_without_keys_or_warnings(tmp_path: Path) -> None:
    """The repository's workspace loads on a machine that has no configuration at all."""
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-W", "default", "-m", "dagster", "definitions", "validate", "-w", root / "workspace.yaml"],
        env=os.environ | {"DAGSTER_HOME": str(tmp_path)}, cwd=tmp_path, capture_output=True, text=True, timeout=100,
        check=False,
    )  # fmt: skip
    text = done.stdout + done.stderr
    assert done.returncode == 0, text
    ours = [line for line in text.splitlines() if "Warning" in line and "pixverse" in line]
    assert not ours


def test_a_bad_row_never_stops_the_good_ones(tmp_path: Path, project: Any) -> None:
    """Invalid rows are named with line and column, fail the check, and the others are registered."""
    table = tmp_path / "t.csv"
    table.write_text(
        "id,model,prompt,resolution\n"
        "good,runware/pixverse-v4.5,A calm lake,360p\n"
        "bad,runware/pixverse-v4.5,A calm lake,4k\n"
        "worse,runware/pixverse-v9,A calm lake,360p\n"
    )
    home, environment, running = project(table)
    log = materialize(environment, "demo/prompts")
    assert "line 3, row 'bad', column 'resolution'" in log
    assert "did you mean 'runware/pixverse-v4.5'?" in log
    with dg.DagsterInstance.from_config(str(home)) as instance:
        assert instance.get_dynamic_partitions("demo_rows") == ["good"]
    assert not running.tasks()
    planned = pixverse("plan", "--json", home=home, check=False, environment=environment)
    assert planned.returncode == 1
    totals = json.loads(planned.stdout)["totals"]
    assert (totals["new"], totals["invalid"]) == (1, 2)


def test_a_demo_never_touches_what_the_environment_says_of_a_live_project(tmp_path: Path) -> None:
    """A live ledger, bucket and name in the environment stay as they are, and later commands on the home follow it."""
    home = tmp_path / "demo"
    live = {
        "PIXVERSE_MODE": "live",
        "RUNWARE_API_KEY": "real",
        "PIXVERSE_NAME": "trailers",
        "PIXVERSE_LEDGER_URL": "postgresql://db.example.invalid/ledger",
        "PIXVERSE_S3_BUCKET": "media",
        "PIXVERSE_CLIPS_DIR": str(tmp_path / "live"),
    }
    pixverse("demo", "--rows", "2", "--generation-seconds", "0.2", home=home, environment=live)
    assert len(list((home / "clips" / "demo").rglob("manifest.json"))) == 2
    assert not (tmp_path / "live").exists()
    assert "2 stored clips" in pixverse("verify", home=home, environment=live).stdout
