"""A stored clip is judged as it stands in the store, and the simulator's are what was asked for."""

from pathlib import Path
from typing import Any, BinaryIO

import pytest

from pixverse_dagster import CheckRules
from pixverse_dagster.core.lifecycle import TaskState
from pixverse_dagster.core.manifest import ClipManifest
from pixverse_dagster.stages.check import check_clip
from pixverse_dagster.stages.collect import collect_tasks
from pixverse_dagster.storage.local import LocalStore
from pixverse_dagster_tests.harness.factories import (
    CELLS,
    NAME,
    PIXWITH,
    RUNWARE,
    Setup,
    make_row,
    session_in,
    succeeded_tasks,
)
from pixverse_dagster_tests.harness.films import RULES, Film, film
from pixverse_dagster_tests.harness.servers import Simulator


@pytest.mark.parametrize("model", CELLS)
def test_the_simulators_clips_are_what_was_asked_for(server: Simulator, tmp_path: Path, model: str):
    """For every model: whoever develops against it sees checks pass that would pass."""
    cells: dict[str, Any] = {"outputs": 2} if model in {RUNWARE, PIXWITH} else {}
    rows = [make_row("plain", model, **cells)]
    if "audio" in type(rows[0].request).model_fields:
        rows.append(make_row("sound", model, audio=True, duration_seconds=2))
    if model == RUNWARE:
        rows.append(make_row("webm", model, output_format="WEBM", aspect_ratio="3:4"))
    store = LocalStore(tmp_path / "store")
    with session_in(tmp_path, server.url) as session:
        found = {one.task.row: one.findings for one in collect_tasks(session, store, succeeded_tasks(session, rows))}
    assert {row: [str(one) for one in findings if not one.passed] for row, findings in found.items()} == {
        row.id: [] for row in rows
    }
    assert all(
        {"intact", "decodes", "duration", "resolution", "outputs"} <= {f.check for f in one} for one in found.values()
    )


def test_a_stored_clip_is_judged_as_it_stands_in_the_store(server: Simulator, tmp_path: Path):
    """What was put in its place, or nothing at all, is found, whoever asks; and a missing object is a finding."""
    store = LocalStore(tmp_path / "store")
    with session_in(tmp_path, server.url) as session:
        (task,) = succeeded_tasks(session, [make_row()])
        (first,) = collect_tasks(session, store, [task])
        assert first.manifest is not None
        path = tmp_path / "store" / first.manifest.outputs[0].key
        path.unlink()
        film(path, Film())
        failed = check_clip(store, first.manifest, task.request, CheckRules()).findings
        assert [one.check for one in failed if not one.passed] == ["intact", "duration"]
        (again,) = collect_tasks(session, store, [session.ledger.tasks.refresh(task)])
        assert "is stored, and not as it was" in again.problem
        path.unlink()
        (gone,) = check_failures(store, first.manifest, task.request)
        assert gone.startswith(f"intact: asked sha256 {first.manifest.outputs[0].sha256[:12]}, came FileNotFoundError")
        assert check_clip(store, first.manifest, task.request, CheckRules(enabled=False)).findings == ()


class Unread(LocalStore):
    """A store whose videos cannot be read at the moment."""

    def open(self, key: str) -> BinaryIO:
        if key.endswith(".mp4"):
            raise ConnectionResetError(104, "reset by peer")
        return super().open(key)


@pytest.mark.parametrize("blocking", [False, True])
def test_a_check_that_could_not_be_made_is_made_again_without_a_download(
    server: Simulator, tmp_path: Path, *, blocking: bool
):
    """A clip that no check can block is delivered all the same; one that could waits for the next collection."""
    store = LocalStore(tmp_path / "store")
    setup = Setup(checks=CheckRules(blocking=blocking))
    with session_in(tmp_path, server.url, setup) as session:
        (task,) = succeeded_tasks(session, [make_row()])
        (first,) = collect_tasks(session, Unread(tmp_path / "store"), [task])
        (known,) = session.ledger.tasks.find(NAME)
        if blocking:
            assert first.manifest is None
            assert "its check is not made yet: output 1 could not be read back: ConnectionResetError" in first.problem
            assert (known.state, known.collects) == (TaskState.SUCCEEDED, 1)
        else:
            assert first.manifest is not None
            assert first.not_checked.startswith("output 1 could not be read back")
            assert known.state is TaskState.STORED
        assert not [one for one in first.findings if not one.passed]
        (again,) = collect_tasks(session, store, [known])
        assert again.not_checked == ""
        assert "intact" in {one.check for one in again.findings if one.passed}
        assert [task.state for task in session.ledger.tasks.find(NAME)] == [TaskState.STORED]
    (sold,) = server.tasks()
    assert [output["downloads"] for output in sold["outputs"]] == [1]


def check_failures(store: LocalStore, manifest: ClipManifest, request: Any) -> list[str]:
    return [str(one) for one in check_clip(store, manifest, request, RULES).failed]
