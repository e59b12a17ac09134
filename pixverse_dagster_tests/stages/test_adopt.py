"""A person says which task a row has; the provider is asked whether that can be."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pixverse_dagster.core.lifecycle import FailureKind, TaskState
from pixverse_dagster.core.outcomes import Failed
from pixverse_dagster.core.task import Applied, Task
from pixverse_dagster.stages.adopt import AdoptionRefused, adopt
from pixverse_dagster.stages.session import Session
from pixverse_dagster_tests.harness.factories import (
    HIGHWAY,
    NAME,
    make_row,
    moved,
    poll_until,
    session_in,
    submit_all,
)
from pixverse_dagster_tests.harness.servers import StartSimulator


@pytest.fixture
def session(tmp_path: Path, simulator: StartSimulator) -> Iterator[Session]:
    """One row whose submit was accepted and whose answer was lost, at a provider that cannot tell."""
    server = simulator(faults={"submit.lost_response": 1.0}, generation_seconds=0.1)
    with session_in(tmp_path, server.url) as session:
        submit_all(session, [make_row("a", HIGHWAY), make_row("b", HIGHWAY, prompt="another")])
        yield session


def unknown(session: Session) -> dict[str, Task]:
    return {task.row: task for task in session.ledger.tasks.unresolved(NAME)}


@pytest.fixture
def server_tasks(session: Session) -> list[str]:
    """The ids that the provider gave, in the order of the rows that it charged."""
    import httpx  # noqa: PLC0415 - for this one call

    url = session.clients["highway"].provider.base_url.rsplit("/", 1)[0]
    return [task["task_id"] for task in httpx.get(f"{url}/_simulator/tasks").json()]


def test_a_task_that_the_provider_shows_is_adopted(session: Session, server_tasks: list[str]):
    """Free; and from then on it is polled like any other."""
    task = unknown(session)["a"]
    move = adopt(session, task, server_tasks[0], "by hand")
    assert isinstance(move, Applied)
    assert (move.task.state, move.task.attempt) == (TaskState.SUBMITTED, 1)
    poll_until(session, lambda tasks: any(one.state is TaskState.SUCCEEDED for one in tasks))


def test_the_id_of_another_row_is_refused(session: Session, server_tasks: list[str]):
    """One clip is not two rows'."""
    tasks = unknown(session)
    moved(session.ledger.adopt(tasks["a"], server_tasks[0], 0, "by hand"))
    for unchecked in (False, True):
        with pytest.raises(AdoptionRefused, match="it is the task of row 'a'"):
            adopt(session, tasks["b"], server_tasks[0], "by hand", unchecked=unchecked)
    assert set(unknown(session)) == {"b"}


def test_an_id_that_the_provider_does_not_know_needs_a_persons_word(session: Session):
    """A typing error is not a task; what a person has checked by eye is."""
    task = unknown(session)["a"]
    with pytest.raises(AdoptionRefused, match="gives no answer about it"):
        adopt(session, task, "no such id", "by hand")
    assert isinstance(adopt(session, task, "no such id", "by hand", unchecked=True), Applied)


def test_without_the_providers_resource_it_cannot_be_asked(session: Session, server_tasks: list[str]):
    """Then too a person's word is needed."""
    with pytest.raises(AdoptionRefused, match="no resource for provider 'highway'"):
        adopt(replace(session, clients={}), unknown(session)["a"], server_tasks[0], "by hand")


def test_a_task_that_failed_at_the_provider_is_refused(tmp_path: Path, simulator: StartSimulator):
    """There is no clip to be had, whatever a person says."""
    server = simulator(faults={"submit.lost_response": 1.0, "task.failed": 1.0}, generation_seconds=0)
    with session_in(tmp_path, server.url) as session:
        submit_all(session, [make_row("a", HIGHWAY)])
        task = unknown(session)["a"]
        for unchecked in (False, True):
            with pytest.raises(AdoptionRefused, match="says that this task failed"):
                adopt(session, task, server.tasks()[0]["task_id"], "by hand", unchecked=unchecked)


@pytest.mark.parametrize("end", [FailureKind.LOST, FailureKind.EXPIRED, "abandoned", "refused"])
def test_what_was_given_up_is_revived(session: Session, server_tasks: list[str], end: str):
    """Paid is paid: its clip is fetched all the same, into the folder that it had."""
    ledger = session.ledger
    task = unknown(session)["a"]
    if end == "refused":
        task = moved(ledger.set_not_accepted(task, "not there", 1e12, "by hand"))
    else:
        task = moved(ledger.adopt(task, server_tasks[0], 0, "by hand"))
        if end == "abandoned":
            task = moved(ledger.abandon(task, "given up", "by hand"))
        else:
            task = moved(ledger.fail(task, Failed(FailureKind(end), "gone"), 0))
    move = adopt(session, task, server_tasks[0], "by hand")
    assert isinstance(move, Applied)
    assert (move.task.state, move.task.kind, move.task.attempt) == (TaskState.SUBMITTED, None, 1)
