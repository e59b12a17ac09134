"""What a run's log says while it takes long, and when a person cancels it."""

from __future__ import annotations

import logging
import socket
import threading
from dataclasses import replace
from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DatabaseError

from pixverse_dagster import (
    LedgerResource,
    LocalClipIOManager,
    PipelineOptions,
    RunwareResource,
    build_clips_definitions,
)
from pixverse_dagster.core.lifecycle import TaskState
from pixverse_dagster.ledger.engine import open_engine, sqlite_url
from pixverse_dagster.ledger.schema import tasks as tasks_table
from pixverse_dagster.orchestration.cancellation import RunWatch, drop_cancelled, reporting_run
from pixverse_dagster.stages.places import Places
from pixverse_dagster.storage.local import LocalStore
from pixverse_dagster.transport.download import DownloadRules
from pixverse_dagster_tests.harness.factories import (
    NAME,
    QUICK,
    Clock,
    Setup,
    deliver,
    make_row,
    make_rows,
    record_rows,
    session_in,
    submit_all,
    succeeded_tasks,
)
from pixverse_dagster_tests.harness.raw_http import Server
from pixverse_dagster_tests.harness.servers import Simulator, StartSimulator


def test_a_cancelled_run_tells_what_goes_on(simulator: StartSimulator, tmp_path: Path):
    """What it submitted, with the money; what others had submitted before it; and that a person need do nothing."""
    server = simulator(generation_seconds=600)
    with session_in(tmp_path, server.url, Setup(run_id="before")) as session:
        submit_all(session, [make_row("old")])
    with session_in(tmp_path, server.url) as made:
        keys = record_rows(made.ledger, [make_row("old"), make_row("new")])
        session = replace(made, stopped=lambda: len(server.tasks()) == 2)
        with pytest.raises(dg.Failure) as ended, reporting_run(session, keys, logging.getLogger("run")):
            deliver(session, LocalStore(tmp_path / "clips"), keys, 3600)
    said = ended.value.description or ""
    assert said.startswith("Cancelled: nothing further is submitted. 1 tasks that this run submitted go on at the")
    assert "about 0.112 USD" in said
    assert "so do 1 of its rows that were submitted before" in said
    assert not ended.value.allow_retries


@pytest.mark.parametrize(("status", "kept"), [("CANCELED", 0), ("FAILURE", 2)])
def test_what_a_cancelled_run_asked_for_is_given_up_even_if_it_died(tmp_path: Path, status: str, kept: int):
    """It could not do it itself. With what another run leaves that died, others go on."""
    with dg.DagsterInstance.ephemeral() as instance:  # pyright: ignore[reportUnknownMemberType]
        job = dg.GraphDefinition("dead").to_job()  # pyright: ignore[reportUnknownMemberType]
        run = instance.create_run_for_job(job, status=dg.DagsterRunStatus(status))
        with session_in(tmp_path, "http://127.0.0.1:9", Setup(run_id=run.run_id), Clock(-3600)) as dead:
            record_rows(dead.ledger, make_rows(2))
            Places(dead, dead.ledger.rows.find(NAME).values())
        with session_in(tmp_path, "http://127.0.0.1:9") as session:
            assert drop_cancelled(session, instance) == 2 - kept
            assert len(session.ledger.queue.find(NAME)) == kept


def test_a_run_that_takes_long_says_how_its_rows_stand(
    simulator: StartSimulator, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    """At every so many seconds, whatever it waits for: how many render, and why others wait."""
    caplog.set_level(logging.INFO)
    server, log = simulator(generation_seconds=600), logging.getLogger("run")
    words = ": of 2 rows, 1 renders, 1 waits for its turn (1 of 1 slots at runware are taken"
    pace = QUICK.model_copy(update={"progress_seconds": 0.05})

    def said() -> list[str]:
        return [record.getMessage() for record in caplog.records if record.name == "run"]

    with session_in(tmp_path, server.url, Setup(max_open_tasks=1, pace=pace)) as made:
        keys = record_rows(made.ledger, make_rows(2))
        session = replace(made, stopped=lambda: any(words in line for line in said()))
        with pytest.raises(dg.Failure), reporting_run(session, keys, log):
            deliver(session, LocalStore(tmp_path / "clips"), keys, 3600)
    assert any(line.startswith("after ") and words in line for line in said())


@pytest.mark.filterwarnings("ignore:.*dagster_run:DeprecationWarning")  # Dagster meets its own
def test_a_collect_run_that_downloads_is_cancelled_by_the_flag_alone(server: Simulator, tmp_path: Path):
    """Its clips stay ready, with no attempt counted against them, and it says that nothing is lost."""
    release = threading.Event()

    def cancel(_connection: socket.socket, _number: int) -> None:
        (run,) = instance.get_runs()
        instance.report_run_canceling(run)
        release.wait()

    host = Server(cancel)
    url = sqlite_url(tmp_path / "ledger.db")
    clips = LocalClipIOManager(base_dir=str(tmp_path / "clips"), ledger=LedgerResource(url=url))
    definitions = build_clips_definitions(
        NAME,
        [],
        providers=[RunwareResource(api_key="simulator", base_url=f"{server.url}/runware")],
        clips=clips,
        options=PipelineOptions(download=DownloadRules(allow_private_network=True)),
    )
    with session_in(tmp_path, server.url) as session, dg.instance_for_test() as instance:
        succeeded_tasks(session, make_rows(1))
        engine = open_engine(url)
        with engine.begin() as connection:
            connection.execute(sa.update(tasks_table).values(urls=f'["http://127.0.0.1:{host.port}/clip.mp4"]'))
        engine.dispose()
        job = definitions.resolve_job_def(f"{NAME}_collect")
        config = {"ops": {f"{NAME}_collect_rows": {"config": {"rows": ["r000"]}}}}
        job.execute_in_process(instance=instance, run_config=config, raise_on_error=False)
        (run,) = instance.get_runs()
        said = [entry.user_message for entry in instance.all_logs(run.run_id)]
        (task,) = session.ledger.tasks.find(NAME)
    release.set()
    host.close()
    assert run.status is dg.DagsterRunStatus.CANCELED
    assert (task.state, task.collects) == (TaskState.SUCCEEDED, 0)
    assert any("Cancelled: nothing further is submitted." in line and "1 of them are ready" in line for line in said)


def test_a_dagster_that_cannot_be_asked_cancels_nothing(tmp_path: Path):
    """A run goes on that waits while Dagster's database is away for a moment."""
    with dg.instance_for_test(temp_dir=str(tmp_path)) as instance:
        watch = RunWatch(instance, "a-run")
        assert not watch.look_again()
        for database in (tmp_path / "history").rglob("runs.db"):
            database.write_bytes(b"no database" * 1000)
        with pytest.raises(DatabaseError):
            instance.get_run_by_id("a-run")
        assert not watch.look_again()
