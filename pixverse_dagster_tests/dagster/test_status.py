"""How a pipeline stands in Dagster: one table for all rows, red for those that ended without a clip, nothing asked for.

The ledger is moved by hand, so that every state is there without a provider; ticks and runs are Dagster's own.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from pixverse_dagster import LocalClipIOManager, PipelineOptions, RunwareResource, build_clips_definitions
from pixverse_dagster.core.lifecycle import FailureKind
from pixverse_dagster.core.outcomes import Accepted, Failed, Succeeded
from pixverse_dagster.core.task import QueuedRow, Task
from pixverse_dagster.ledger.claims import ClaimTerms
from pixverse_dagster.ledger.ledger import Ledger
from pixverse_dagster.orchestration.events.red import red_rows
from pixverse_dagster.orchestration.events.status import status_event, status_table
from pixverse_dagster.orchestration.events.tasks import ended_event, task_event
from pixverse_dagster.orchestration.internal import INTERNAL, internal
from pixverse_dagster.orchestration.resources import LedgerResource
from pixverse_dagster.orchestration.seen import LOOK_SECONDS, REPEAT_SECONDS, Seen, look_at_status
from pixverse_dagster.reports.status import read_status
from pixverse_dagster_tests.harness.factories import (
    NAME,
    NOW,
    RUN,
    RUNWARE,
    Clock,
    make_row,
    make_session,
    moved,
    record_rows,
)

pytestmark = pytest.mark.filterwarnings("ignore:.*(run_id|dagster_run) is deprecated:DeprecationWarning")
CLIPS, TASKS = dg.AssetKey([NAME, "clips"]), dg.AssetKey([NAME, "tasks"])
HOST = "http://127.0.0.1:9/runware"
ROWS = ("failed", "unknown", "refused", "waits", "again", "under-way")


class Stage:
    """A pipeline whose rows came to every kind of end, in a Dagster instance of its own."""

    def __init__(self, folder: Path, instance: dg.DagsterInstance, **options: Any) -> None:
        self.instance = instance
        self.definitions = build_clips_definitions(
            NAME,
            [{"id": row, "prompt": f"a {row}", "resolution": "360p"} for row in ROWS],
            providers=[RunwareResource(api_key="simulator", base_url=HOST)],
            clips=LocalClipIOManager(base_dir=str(folder / "clips"), ledger=LedgerResource()),
            options=PipelineOptions(defaults={"model": RUNWARE}, **options),
        )
        self.cursor: str | None = None
        job = self.definitions.resolve_implicit_global_asset_job_def()
        read = job.execute_in_process(instance=instance, asset_selection=[dg.AssetKey([NAME, "prompts"])])
        assert read.success
        resources: Any = self.definitions.resources
        self.resources: dict[str, Any] = {key: resources[key] for key in resources[f"{NAME}_pipeline"].resource_keys}
        with dg.build_sensor_context(instance=instance, resources=self.resources, definitions=self.definitions) as made:
            self.session = resources[f"{NAME}_pipeline"].open(made.resources, instance)
        self.ledger: Ledger = self.session.ledger
        self.account = self.session.clients["runware"].account
        self._end()

    def claim(self, row: str) -> Task:
        terms = ClaimTerms(RUN, self.session.clock(), 600, 0.1, account=self.account, world="simulator")
        return self.ledger.claim(NAME, self.ledger.rows.find(NAME)[row], terms)[0]

    def submit(self, row: str) -> Task:
        now = self.session.clock()
        task = self.ledger.accept(self.claim(row), Accepted(f"at-{row}-{now}"), now, now + 3600).task
        self.instance.report_runless_asset_event(task_event(task, sent=True))
        return task

    def fail(self, row: str) -> Task:
        said = Failed(FailureKind.MODERATED, "the words are not allowed.")
        return moved(self.ledger.fail(self.submit(row), said, self.session.clock()))

    def store(self, row: str) -> Task:
        done = moved(self.ledger.succeed(self.submit(row), Succeeded(("https://x.example/1",)), self.session.clock()))
        self.instance.report_runless_asset_event(dg.AssetMaterialization(CLIPS, partition=row))
        return moved(self.ledger.store(done, self.session.clock(), "0" * 64))

    def _end(self) -> None:
        self.fail("failed")
        moved(self.ledger.mark_unknown(self.claim("unknown"), "no answer came", None))
        moved(self.ledger.refuse(self.claim("refused"), "no such size."))
        waits = self.fail("waits")
        place = QueuedRow("waits", waits.digest, "runware", RUN, "no slot is free", self.session.clock())
        self.ledger.queue.add(NAME, [place], self.session.clock() + 3600)
        self.store("again")
        self.ledger.rows.raise_take(NAME, "again")
        self.fail("again")
        self.submit("under-way")

    def tick(self) -> Any:
        """What the poll sensor says; its cursor is kept."""
        with dg.build_sensor_context(
            instance=self.instance, resources=self.resources, definitions=self.definitions, cursor=self.cursor
        ) as context:
            ticked = self.definitions.resolve_sensor_def(f"{NAME}_poll").evaluate_tick(context)
        self.cursor = ticked.cursor
        return ticked

    def run(self, request: dg.RunRequest) -> dg.ExecuteInProcessResult:
        job = self.definitions.resolve_job_def(request.job_name or "")
        return job.execute_in_process(instance=self.instance, raise_on_error=False, run_config=request.run_config)


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test() as made:
        yield made


def test_rows_that_ended_without_a_clip_are_red_with_their_reason(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    """In one run for all, asked for once. A row that waits is not red, nor one that has a clip of an earlier take."""
    stage = Stage(tmp_path, instance)
    (request,) = stage.tick().run_requests
    assert (request.job_name, _rows(request)) == (f"{NAME}_report", ["failed", "refused", "unknown"])
    assert not stage.tick().run_requests
    ran = stage.run(request)
    assert not ran.success
    failure = ran.failure_data_for_node(f"{NAME}_report_rows")
    assert failure
    assert failure.user_failure_data
    text = str(failure.user_failure_data.description)
    assert text.startswith("3 of 3 rows have no clip and need a person.")
    for row, why in {"failed": "moderated", "unknown": "unknown outcome", "refused": "not accepted"}.items():
        (line,) = [one for one in text.splitlines() if one.startswith(f"row {row!r}")]
        assert why in line
    assert red_rows(instance, CLIPS) == {"failed", "refused", "unknown"}
    assert red_rows(instance, TASKS) == {"refused", "unknown"}
    checks = _checks(instance, ran)
    assert checks.keys() == {"failed", "refused", "unknown"}
    assert not any(one.passed or one.blocking for one in checks.values())
    assert "tasks retry failed" in str(checks["failed"].description)

    stage.cursor = None
    assert not stage.tick().run_requests, "what is red is not asked for again, though the cursor is lost"
    instance.report_runless_asset_event(dg.AssetMaterialization(CLIPS, partition="failed"))
    assert red_rows(instance, CLIPS) == {"refused", "unknown"}, "a later clip makes it green"


def test_a_row_that_was_settled_meanwhile_is_not_made_red(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    """Between the tick and its run, a person may have done something, or a clip may have come."""
    stage = Stage(tmp_path, instance)
    (request,) = stage.tick().run_requests
    task = stage.ledger.tasks.find(NAME, keys=["unknown"])[0]
    moved(stage.ledger.adopt(task, "found-it", stage.session.clock(), "by a test"))
    assert not stage.run(request).success
    assert red_rows(instance, CLIPS) == {"failed", "refused"}


def test_without_dagsters_private_names_the_reasons_are_told_all_the_same(
    tmp_path: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """In the run and in the checks; the rows stay grey."""
    monkeypatch.setitem(INTERNAL, "AssetMaterializationPlannedData", "dagster.no_such_module")  # type: ignore[misc]
    internal.cache_clear()
    stage = Stage(tmp_path, instance)
    ran = stage.run(stage.tick().run_requests[0])
    internal.cache_clear()
    assert not ran.success
    assert _checks(instance, ran).keys() == {"failed", "refused", "unknown"}
    assert red_rows(instance, CLIPS) == set()
    assert "AssetMaterializationPlannedData" in caplog.text


def test_a_tick_tells_how_the_pipeline_stands_without_a_partition(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    """One observation of `clips`: no materialisation, numbers that plot, and a table."""
    stage = Stage(tmp_path, instance)
    (event,) = [one for one in stage.tick().asset_events if one.partition is None and one.asset_key == CLIPS]
    assert isinstance(event, dg.AssetObservation)
    numbers = _numbers(event.metadata)
    assert numbers["pixverse/rows_failed"] == 2
    assert numbers["pixverse/rows_rendering"] == numbers["pixverse/rows_waiting"] == 1
    assert numbers["pixverse/spent_usd"] == pytest.approx(0.6)
    assert "1 unknown, 1 refused" in str(event.description)
    assert isinstance(event.metadata["pixverse/status"], dg.MarkdownMetadataValue)
    assert "| waiting | 1 | 0 s | no slot is free |" in str(event.metadata["pixverse/status"].value)
    assert [one for one in stage.tick().asset_events if one.partition is None] == []


def test_the_status_is_told_at_most_once_a_minute_and_once_at_rest(ledger: Ledger) -> None:
    """While something is under way; again after ten minutes though nothing changed; never again at rest."""
    clock = Clock()
    row = make_row("kite")
    record_rows(ledger, [row])
    with make_session(ledger, "http://127.0.0.1:9", clock=clock) as session:
        account = session.clients["runware"].account
        terms = ClaimTerms(RUN, clock(), 60, 0.1, account=account, world="simulator")
        event, seen = look_at_status(session, Seen())
        assert event is None, "nothing has happened"
        task = ledger.accept(ledger.claim(NAME, row, terms)[0], Accepted("t1"), clock(), clock() + 60).task
        told: list[bool] = []

        def look(ahead_seconds: float) -> bool:
            nonlocal seen
            clock.ahead_seconds += ahead_seconds
            event, seen = look_at_status(session, seen)
            told.append(event is not None)
            return told[-1]

        assert look(0)
        assert not look(LOOK_SECONDS / 2), "not twice in a minute"
        assert not look(LOOK_SECONDS), "nothing changed"
        assert look(REPEAT_SECONDS), "it is told again from time to time"
        moved(ledger.fail(task, Failed(FailureKind.LOST, "gone"), clock()))
        assert look(LOOK_SECONDS), "it came to rest"
        assert not seen.under_way
        assert not any(look(REPEAT_SECONDS) for _ in range(3))


def test_what_the_table_quotes_is_no_markup(ledger: Ledger) -> None:
    """Labels and reasons are data: they end no cell, make no link, no image, no HTML."""
    evil = "a|b\n<img src=x> ![p](http://x.example/p.png) `c` **d** www.x.example"
    row = make_row("kite", campaign=evil)
    record_rows(ledger, [row])
    ledger.queue.add(NAME, [QueuedRow("kite", row.digest, "runware", RUN, evil, NOW)], NOW)
    table = status_table(read_status(ledger, NAME, NOW))
    lines = [line for line in table.splitlines() if "img" in line]
    assert len(lines) == 2
    for line in lines:
        bare = re.sub(r"\\.", " ", line)
        assert bare.count("|") == (5 if "waiting" in line else 6)
        assert not [one for one in ("<", "](", "[", "http:", "`c`", "**d**", "www.") if one in bare]


def test_nothing_downstream_is_asked_for_because_of_the_status(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    """Nor because of rows that turn red: an eager asset is asked for by a new clip alone."""
    stage = Stage(tmp_path, instance)
    rows = dg.DynamicPartitionsDefinition(name=f"{NAME}_rows")

    @dg.asset(deps=[CLIPS], partitions_def=rows, automation_condition=dg.AutomationCondition.eager())
    def trailer() -> None: ...

    @dg.asset(deps=[CLIPS], automation_condition=dg.AutomationCondition.any_deps_updated())
    def reel() -> None: ...

    merged = dg.Definitions.merge(stage.definitions, dg.Definitions(assets=[trailer, reel]))

    def evaluate(cursor: Any = None) -> Any:
        return dg.evaluate_automation_conditions(
            merged, instance, asset_selection=dg.AssetSelection.assets(trailer, reel), cursor=cursor
        )

    first = evaluate()
    second = evaluate(first.cursor)
    assert second.total_requested == 0
    instance.report_runless_asset_event(status_event(read_status(stage.ledger, NAME, NOW)))
    third = evaluate(second.cursor)
    assert third.total_requested == 0
    stage.run(stage.tick().run_requests[0])
    assert red_rows(instance, CLIPS)
    fourth = evaluate(third.cursor)
    assert fourth.total_requested == 0
    instance.report_runless_asset_event(dg.AssetMaterialization(CLIPS, partition="failed"))
    assert evaluate(fourth.cursor).total_requested == 2


def test_a_task_says_no_state_that_goes_stale_and_few_numbers(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    """What a materialisation of `tasks` says stays true; what plots is what one wants to see plotted."""
    stage = Stage(tmp_path, instance)
    task = stage.ledger.tasks.find(NAME, keys=["failed"])[0]
    handle = task_event(task, sent=True)
    assert "pixverse/state" not in handle.metadata
    assert _numbers(handle.metadata).keys() == {"pixverse/cost_usd"}
    ended = ended_event(task, stage.session.commands)
    assert "the words are not allowed" in str(ended.metadata["pixverse/reason"].value)
    assert _numbers(ended.metadata).keys() == {"pixverse/cost_usd"}
    assert [str(one.description).startswith("row 'failed' ") for one in (handle, ended)] == [True, True]


def _rows(request: dg.RunRequest) -> list[str]:
    (op,) = request.run_config["ops"].values()
    return op["config"]["rows"]


def _checks(instance: dg.DagsterInstance, ran: dg.ExecuteInProcessResult) -> dict[str, dg.AssetCheckEvaluation]:
    """What a run logged of each row's check."""
    logged = [one.dagster_event for one in instance.all_logs(ran.run_id)]
    said = [one for one in logged if one and one.event_type_value == "ASSET_CHECK_EVALUATION"]
    return {str(one.partition): one for one in (event.asset_check_evaluation_data for event in said)}


def _numbers(metadata: Mapping[str, Any]) -> dict[str, float]:
    kinds = (dg.IntMetadataValue, dg.FloatMetadataValue)
    return {name: float(one.value or 0) for name, one in metadata.items() if isinstance(one, kinds)}
