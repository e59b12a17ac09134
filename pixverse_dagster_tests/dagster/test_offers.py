"""What a tick asks for, and for how long rows are left to the run that it asked for."""

import time
from pathlib import Path
from threading import Event
from typing import Any

import dagster as dg
import pytest
from dagster import DagsterRunStatus

from pixverse_dagster import LedgerResource, LocalClipIOManager, RunwareResource, build_clips_definitions
from pixverse_dagster.core.outcomes import Accepted, Succeeded
from pixverse_dagster.ledger.claims import ClaimTerms
from pixverse_dagster.ledger.engine import open_engine, sqlite_url
from pixverse_dagster.ledger.ledger import Ledger
from pixverse_dagster.orchestration.sensors import build_table_sensor
from pixverse_dagster.stages.options import PipelineOptions
from pixverse_dagster.tables import FileTable
from pixverse_dagster_tests.harness.factories import NAME, NOW, RUN, make_row, moved, record_rows

URL = "https://r.example.org/1.mp4"


class Films:
    """A pipeline whose provider nobody hears, with one clip that is ready and one row that waits."""

    def __init__(self, folder: Path, collect_after_seconds: float = 0, finished_at: float = NOW) -> None:
        url = sqlite_url(folder / "ledger.db")
        pace = {"collect_after_seconds": collect_after_seconds}
        self.engine = open_engine(url)
        self.ledger = Ledger(self.engine)
        self.instance = dg.DagsterInstance.ephemeral(tempdir=str(folder))  # pyright: ignore[reportUnknownMemberType]
        self.definitions = build_clips_definitions(
            NAME,
            str(folder / "table.csv"),
            providers=[RunwareResource(api_key="k", base_url="http://127.0.0.1:1")],
            clips=LocalClipIOManager(base_dir=str(folder / "clips"), ledger=LedgerResource(url=url)),
            options=PipelineOptions.model_validate({"watch_table": True, "pace": pace}),
        )
        rows = [make_row("ready"), make_row("under-way")]
        record_rows(self.ledger, rows)
        for row in rows:
            terms = ClaimTerms(RUN, NOW, 180, account="runware/simulator", world="simulator")
            task = self.ledger.accept(self.ledger.claim(NAME, row, terms)[0], Accepted(row.id), NOW, NOW).task
            if row.id == "ready":
                self.task = moved(self.ledger.succeed(task, Succeeded((URL,)), finished_at))

    def tick(self, name: str) -> Any:
        sensor = self.definitions.resolve_sensor_def(f"{NAME}_{name}")
        wanted = {k: one for k, one in (self.definitions.resources or {}).items() if k in sensor.required_resource_keys}
        with dg.build_sensor_context(instance=self.instance, resources=wanted, definitions=self.definitions) as context:
            return sensor.evaluate_tick(context)

    def asked(self) -> list[str]:
        return [request.job_name or "" for request in self.tick("poll").run_requests or ()]


@pytest.fixture
def films(tmp_path: Path) -> Any:
    films = Films(tmp_path)
    yield films
    films.instance.dispose()
    films.engine.dispose()


def test_what_is_ready_is_asked_for_whatever_becomes_of_the_polling(films: Films):
    """Also where it ends in a fault of the system's own, such as a table of the ledger that is gone."""
    with films.engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE pixverse_policies")
    assert films.asked() == [f"{NAME}_collect"]
    assert films.asked() == [], "it is left to that run"


def test_what_is_ready_waits_for_no_company_from_a_provider_that_does_not_answer(tmp_path: Path):
    """Else a sick provider's tasks, which are under way until it is well, would delay everybody's clips for as long."""
    films = Films(tmp_path, collect_after_seconds=3600, finished_at=time.time())
    try:
        assert [*films.asked(), *films.asked()] == [f"{NAME}_collect"]
    finally:
        films.instance.dispose()
        films.engine.dispose()


def test_an_offer_lasts_while_its_run_is_queued_or_starting_and_no_longer(films: Films):
    """A run that failed to start, or never came, frees its rows when the offer ends; one that is coming keeps them."""
    job = f"{NAME}_collect"
    config = {"ops": {f"{job}_rows": {"config": {"rows": ["ready"]}}}}
    definition = films.definitions.resolve_job_def(job)
    for status, asked in ((None, [job]), (DagsterRunStatus.STARTING, []), (DagsterRunStatus.FAILURE, [job])):
        if status:
            films.instance.create_run_for_job(definition, run_config=config, status=status)
        films.ledger.collecting.lease([films.task], NOW)
        assert films.asked() == asked, status
        for run in films.instance.get_runs():
            films.instance.delete_run(run.run_id)


class Share(FileTable):
    """A table on a share that hangs until it is `there`."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.asked = 0
        self.there = Event()

    def fingerprint(self) -> str | None:
        self.asked += 1
        self.there.wait(60)
        return "its state"


def test_a_table_that_hangs_keeps_no_tick_for_long(films: Films, tmp_path: Path):
    """It is waited for by one thread, however many ticks there are, and what it says in the end counts."""
    table, spec = Share(tmp_path / "table.csv"), (films.definitions.resources or {})[f"{NAME}_pipeline"]
    sensor = build_table_sensor(spec, table, look_seconds=0.1)
    for _ in range(3):
        with dg.build_sensor_context(instance=films.instance, definitions=films.definitions) as context:
            assert "has not answered" in (sensor.evaluate_tick(context).skip_message or "")
    assert table.asked == 1
    table.there.set()
    cursor = None
    while not cursor:
        with dg.build_sensor_context(instance=films.instance, definitions=films.definitions) as context:
            cursor = sensor.evaluate_tick(context).cursor
    assert "its state" in cursor
