"""What is read back of Dagster's event log."""

from collections.abc import Iterator
from typing import Any

import dagster as dg
import pytest

from pixverse_dagster.orchestration.events.log import EVENTS_READ, ROWS_READ, TaskEvents
from pixverse_dagster.orchestration.events.tasks import outdated_event, task_event
from pixverse_dagster_tests.harness.factories import NAME, make_task


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    make: Any = dg.DagsterInstance.ephemeral  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    with make() as made:
        yield made


def test_a_task_s_newest_event_is_found_in_a_batch_as_by_itself(instance: dg.DagsterInstance) -> None:
    """Of a row with a second take, of one that was told to be out of date, and past the rows that one query reads."""
    tasks = [make_task(id=f"t{n}", row=f"r{n}", task_id=f"at-provider-{n}") for n in range(ROWS_READ + 2)]
    second, unknown = make_task(id="t0-2", row="r0", take=2), make_task(id="nobody told of it", row="r1")
    for task in (*tasks, second):
        instance.report_runless_asset_event(task_event(task, sent=True))
    instance.report_runless_asset_event(outdated_event(tasks[2], ("prompt",)))
    batch = TaskEvents(instance, NAME, [*tasks, second, unknown])
    found = {task.id: batch.find(task) for task in (*tasks, second, unknown)}
    assert found == {task.id: TaskEvents(instance, NAME).find(task) for task in (*tasks, second, unknown)}
    # Events are numbered as they are reported.
    first, last = len(tasks) + 1, len(tasks) + 2
    assert found == {task.id: n for n, task in enumerate(tasks, 1)} | {"t0-2": first, "t2": last, unknown.id: None}


def test_a_task_is_found_that_was_told_of_after_its_batch_was_read(instance: dg.DagsterInstance) -> None:
    """A run that submits may still be telling of a task whose clip another one stores."""
    late = make_task(id="late", row="r1")
    events = TaskEvents(instance, NAME, [late])
    instance.report_runless_asset_event(task_event(late, sent=True))
    assert events.find(late) == 1


def test_a_row_with_many_events_hides_no_other_row_s_task(instance: dg.DagsterInstance) -> None:
    """A query for many rows reads so many events; a task that is not among them is looked for by itself."""
    busy, quiet = make_task(id="busy", row="r0"), make_task(id="quiet", row="r1")
    for task in (quiet, *[busy] * (2 * EVENTS_READ)):
        instance.report_runless_asset_event(task_event(task, sent=True))
    events = TaskEvents(instance, NAME, [busy, quiet])
    assert (events.find(busy), events.find(quiet)) == (2 * EVENTS_READ + 1, 1)
