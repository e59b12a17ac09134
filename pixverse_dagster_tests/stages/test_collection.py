"""From a finished task to a stored clip: complete, or completed by the next run, and described as it is."""

import hashlib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest

from pixverse_dagster.core.clip import Clip
from pixverse_dagster.core.errors import ReadFailed
from pixverse_dagster.core.layout import ClipKey, encode_row, parse, task_folder
from pixverse_dagster.core.lifecycle import FailureKind, TaskState
from pixverse_dagster.core.manifest import ClipManifest
from pixverse_dagster.reports.verify import verify
from pixverse_dagster.stages.collect import Collected, collect_tasks
from pixverse_dagster.stages.poll import refresh
from pixverse_dagster.stages.session import Session
from pixverse_dagster.storage.base import ClipStore
from pixverse_dagster.storage.local import LocalStore
from pixverse_dagster_tests.harness.factories import (
    HIGHWAY,
    NAME,
    PIXWITH,
    QUICK,
    RUN,
    Clock,
    make_row,
    make_rows,
    poll_until,
    session_in,
    submit_all,
    succeeded_tasks,
)
from pixverse_dagster_tests.harness.servers import Simulator, StartSimulator
from pixverse_dagster_tests.harness.stored import check_manifest, collect_all, manifest_of, read


class Recorder(LocalStore):
    """A local store that remembers which puts created a file of a clip, in order."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.created: list[str] = []

    def put_new(self, key: str, path: Path, *, sha256: str, content_type: str) -> bool:
        created = super().put_new(key, path, sha256=sha256, content_type=content_type)
        self.created += [key] * (created and isinstance(parse(key), ClipKey))
        return created


class Breaks(LocalStore):
    """A local store that fails at the k-th put of a clip's files: before it stores anything, or just after."""

    def __init__(self, root: Path, at: int, *, after: bool) -> None:
        super().__init__(root)
        self._left = at
        self._after = after

    def put_new(self, key: str, path: Path, *, sha256: str, content_type: str) -> bool:
        self._left -= isinstance(parse(key), ClipKey)
        if self._left == 0 and not self._after:
            raise OSError("the disk is full")
        created = super().put_new(key, path, sha256=sha256, content_type=content_type)
        if self._left == 0:
            raise OSError("the disk went away")
        return created


def contents(store: LocalStore) -> dict[str, bytes]:
    return {key: read(store, key) for key in store.keys(f"{NAME}/clips/")}


def test_a_clip_stands_in_the_fixed_layout_with_its_manifest_last(server: Simulator, tmp_path: Path):
    """Every provider, container and number of outputs lands in `<name>/clips/<row>/<digest12>-t<take>/`."""
    rows = [
        make_row("highway row", HIGHWAY, campaign="spring"),
        make_row("mp4", outputs=3, take=2),
        make_row("web.m/ ,1", output_format="WEBM"),
        make_row("Привет", output_format="MOV"),
        make_row("pixwith", PIXWITH, outputs=2),
    ]
    endings = {
        "highway row": ["mp4"],
        "mp4": ["mp4"] * 3,
        "web.m/ ,1": ["webm"],
        "Привет": ["mov"],
        "pixwith": ["mp4"] * 2,
    }
    store = Recorder(tmp_path / "store")
    with session_in(tmp_path, server.url) as session:
        found = collect_all(session, store, succeeded_tasks(session, rows))
        stored = session.ledger.tasks.find(NAME)
    assert {task.state for task in stored} == {TaskState.STORED}
    for row in rows:
        folder = f"{NAME}/clips/{encode_row(row.id)}/{row.digest[:12]}-t{row.take}"
        mine = [key.removeprefix(f"{folder}/") for key in store.created if key.startswith(f"{folder}/")]
        names = [f"{n}.{end}" for n, ending in enumerate(endings[row.id], 1) for end in (ending, "jpg")]
        assert mine == [*names, "manifest.json"]
        manifest = manifest_of(found[row.id])
        assert read(store, f"{folder}/manifest.json") == manifest.model_dump_json(indent=2).encode()
        assert [output.key for output in manifest.outputs] == [f"{folder}/{name}" for name in names[::2]]
        check_manifest(server, store, manifest, tmp_path)
        assert (manifest.row, manifest.take, manifest.request_digest) == (row.id, row.take, row.digest)
        assert (manifest.dagster_run_id, manifest.dagster_asset_key) == (RUN, (NAME, "clips"))
        assert b"X-Sim" not in read(store, f"{folder}/manifest.json")
        clip = Clip(manifest, store)
        with clip.open() as video, clip.open_poster() as poster:
            assert hashlib.sha256(video.read()).hexdigest() == manifest.outputs[0].sha256
            assert poster.read() == found[row.id].poster
    assert manifest_of(found["highway row"]).labels == {"campaign": "spring"}
    assert manifest_of(found["mp4"]).cost.source == "provider"
    assert manifest_of(found["pixwith"]).cost.source == "unknown"
    assert list((tmp_path / "store" / LocalStore.INCOMING).iterdir()) == []


@pytest.mark.parametrize("after", [False, True])
def test_a_store_that_fails_at_any_step_leaves_what_the_next_run_completes(
    server: Simulator, tmp_path: Path, *, after: bool
):
    """Whichever put fails, there is no manifest before everything else, and nothing stored is ever changed."""
    steps = 5  # two clips, two posters, the manifest
    root = tmp_path / "store"
    with session_in(tmp_path, server.url) as session:
        tasks = succeeded_tasks(session, make_rows(steps, outputs=2))
        for at, task in enumerate(sorted(tasks, key=lambda task: task.row), 1):
            folder = task_folder(task)
            broken = collect_all(session, Breaks(root, at, after=after), [task])[task.row]
            assert broken.manifest is None
            assert "the disk" in broken.problem
            left = {key: data for key, data in contents(LocalStore(root)).items() if key.startswith(str(folder))}
            assert len(left) == (at if after else at - 1)
            assert (folder.manifest in left) is (after and at == steps)
            assert session.ledger.tasks.refresh(task).state is TaskState.SUCCEEDED
            manifest = manifest_of(collect_all(session, LocalStore(root), [task])[task.row])
            whole = contents(LocalStore(root))
            assert {key: whole[key] for key in left} == left
            check_manifest(server, LocalStore(root), manifest, tmp_path)
            assert session.ledger.tasks.refresh(task).state is TaskState.STORED
        assert verify(session.ledger, LocalStore(root), NAME).disagreements == ()
    assert list((root / LocalStore.INCOMING).iterdir()) == []


def test_a_task_is_stored_in_the_ledger_only_after_its_event(server: Simulator, tmp_path: Path):
    """The ledger says `stored` when the caller comes back: a run killed before its event reports the clip again."""
    store = Recorder(tmp_path / "store")
    with session_in(tmp_path, server.url) as session:
        (task,) = succeeded_tasks(session, [make_row()])
        killed: Any = collect_tasks(session, store, [task])
        first = next(killed)
        assert session.ledger.tasks.refresh(task).state is TaskState.SUCCEEDED
        killed.close()
        assert session.ledger.tasks.refresh(task).state is TaskState.SUCCEEDED
        again = collect_all(session, store, [task])["kite"]
        assert session.ledger.tasks.refresh(task).state is TaskState.STORED
    assert again.manifest == first.manifest
    assert again.poster == first.poster != b""
    assert len(store.created) == 3
    assert server.tasks()[0]["outputs"][0]["downloads"] == 1


def test_two_collectors_at_once_store_each_clip_once(server: Simulator, tmp_path: Path):
    """Two runs over the same tasks at the same moment: each object is created once, and every manifest holds."""
    together = Barrier(2)
    stores = [Recorder(tmp_path / "store") for _ in range(2)]
    with session_in(tmp_path, server.url) as session, session_in(tmp_path, server.url) as other:
        tasks = succeeded_tasks(session, make_rows(8, outputs=2))

        def run(job: tuple[Session, ClipStore]) -> dict[str, Collected]:
            together.wait()
            return collect_all(*job, tasks)

        with ThreadPoolExecutor(2) as pool:
            found = list(pool.map(run, zip((session, other), stores, strict=True)))
        for row in found[0]:
            assert manifest_of(found[0][row]) == manifest_of(found[1][row])
        assert {task.state for task in session.ledger.tasks.find(NAME)} == {TaskState.STORED}
        assert verify(session.ledger, stores[0], NAME).disagreements == ()
    created = Counter(key for store in stores for key in store.created)
    assert set(created.values()) == {1}
    assert len(created) == 8 * 5


# --- faults on the way


@pytest.mark.parametrize("fault", ["media.truncated", "media.dropped", "media.corrupt", "media.expired"])
def test_a_download_that_fails_now_and_then_is_stored_in_the_end(simulator: StartSimulator, tmp_path: Path, fault: str):
    """A bad answer costs time only: every clip is stored whole, and what was not in one run is in a later one."""
    server, store = simulator(generation_seconds=0, seed=4, faults={fault: 0.6}), LocalStore(tmp_path / "store")
    with session_in(tmp_path, server.url) as session:
        tasks = succeeded_tasks(session, make_rows(10))
        stored: dict[str, ClipManifest] = {}
        for _ in range(15):
            waiting = session.ledger.tasks.find(NAME, [TaskState.SUCCEEDED])
            for row, found in collect_all(session, store, waiting).items():
                if found.manifest is not None:
                    stored[row] = found.manifest
                else:
                    assert f"row {row!r}" in found.problem
                    assert "X-Sim" not in found.problem
        assert set(stored) == {task.row for task in tasks}
        for manifest in stored.values():
            check_manifest(server, store, manifest, tmp_path)
        assert verify(session.ledger, store, NAME).disagreements == ()
    assert len(server.tasks()) == 10


@pytest.mark.parametrize("fault", ["media.truncated", "media.dropped", "media.corrupt", "media.expired"])
def test_a_download_that_always_fails_leaves_the_task_adoptable(simulator: StartSimulator, tmp_path: Path, fault: str):
    """The task stays `succeeded`, says why, stores nothing, and is offered again."""
    server, store = simulator(generation_seconds=0, faults={fault: 1}), LocalStore(tmp_path / "store")
    with session_in(tmp_path, server.url) as session:
        (task,) = succeeded_tasks(session, [make_row()])
        problem = collect_all(session, store, [task])["kite"].problem
        left = session.ledger.tasks.refresh(task)
        assert (left.state, left.collects) == (TaskState.SUCCEEDED, 1)
        assert left.note.startswith("not stored yet: ")
        assert "is not stored" in problem
        assert "X-Sim" not in problem + left.note
        assert [one.id for one in session.ledger.tasks.ready(NAME, session.clock() + 1, 10)] == [task.id]
    assert contents(store) == {}
    assert list((tmp_path / "store" / LocalStore.INCOMING).iterdir()) == []


def test_a_slow_download_is_a_download(simulator: StartSimulator, tmp_path: Path):
    """Slowness within the limits is no failure."""
    server, store = simulator(generation_seconds=0, faults={"media.slow": 1}), LocalStore(tmp_path / "store")
    with session_in(tmp_path, server.url) as session:
        found = collect_all(session, store, succeeded_tasks(session, make_rows(4)))
    for one in found.values():
        check_manifest(server, store, manifest_of(one), tmp_path)


def test_a_result_that_stays_expired_past_its_lifetime_is_given_up(simulator: StartSimulator, tmp_path: Path):
    """Before the provider's documented lifetime is over an expired link may come back; after it the task has failed."""
    server, clock = simulator(generation_seconds=0, faults={"media.expired": 1}), Clock()
    store = LocalStore(tmp_path / "store")
    with session_in(tmp_path, server.url, clock=clock) as session:
        (task,) = succeeded_tasks(session, [make_row()])
        clock.ahead_seconds = QUICK.result_lifetime_seconds - 60
        collect_all(session, store, [task])
        assert session.ledger.tasks.refresh(task).state is TaskState.SUCCEEDED
        clock.ahead_seconds = QUICK.result_lifetime_seconds + 60
        collect_all(session, store, [session.ledger.tasks.refresh(task)])
        ended = session.ledger.tasks.refresh(task)
        assert (ended.state, ended.kind, ended.urls) == (TaskState.FAILED, FailureKind.EXPIRED, ())
        again = submit_all(session, [make_row()])["kite"]
    assert "tasks retry" in again.problem
    assert len(server.tasks()) == 1


def test_a_task_that_made_fewer_clips_than_asked_is_stored_as_it_is(simulator: StartSimulator, tmp_path: Path):
    """Some outputs failed: the others are stored, and the manifest says how many were asked for and why some miss."""
    server, store = simulator(generation_seconds=0, seed=1, faults={"task.failed": 0.5}), LocalStore(tmp_path / "store")
    with session_in(tmp_path, server.url) as session:
        submit_all(session, make_rows(6, outputs=4))
        over = {TaskState.SUCCEEDED, TaskState.FAILED}
        tasks = [t for t in poll_until(session, lambda found: all(t.state in over for t in found)) if t.urls]
        found = [manifest_of(one) for one in collect_all(session, store, tasks).values()]
    short = [manifest for manifest in found if len(manifest.outputs) < 4]
    assert short
    for manifest in short:
        assert manifest.outputs_asked == 4
        assert f"{len(manifest.outputs)} of 4 outputs" in manifest.note
        check_manifest(server, store, manifest, tmp_path)


def test_fresh_links_are_as_many_as_there_were(server: Simulator, tmp_path: Path):
    """An answer that shows one output of two loses no output: the links of before stay."""
    with session_in(tmp_path, server.url) as session:
        (task,) = succeeded_tasks(session, [make_row()])
        two = replace(task, urls=(*task.urls, "https://r.example.org/2.mp4"))
        with pytest.raises(ReadFailed, match="it shows 1 of 2 outputs that were there"):
            refresh(session, two)
        assert session.ledger.tasks.refresh(task).urls == task.urls


def test_one_rows_failure_is_that_rows(server: Simulator, tmp_path: Path):
    """A clip that cannot be stored does not keep the others of its batch from being stored."""
    store = LocalStore(tmp_path / "store")
    with session_in(tmp_path, server.url) as session:
        tasks = succeeded_tasks(session, make_rows(5))
        of_row = (tmp_path / "store" / str(task_folder(tasks[2]))).parent
        of_row.parent.mkdir(parents=True)
        of_row.write_bytes(b"a file where a folder must be")
        found = collect_all(session, store, tasks)
        assert session.ledger.tasks.counts(NAME) == {TaskState.STORED: 4, TaskState.SUCCEEDED: 1}
    assert [row for row, one in found.items() if one.manifest is None] == [tasks[2].row]


def test_a_collect_run_keeps_its_rows_while_it_makes_progress_and_frees_them_when_it_dies(
    tmp_path: Path, simulator: StartSimulator
):
    """The rows that wait are leased anew as others are stored, for a time that a dead run soon runs out of."""
    running = simulator(generation_seconds=0.1)
    rows = make_rows(6)
    with session_in(tmp_path, running.url) as session:
        ledger = session.ledger
        tasks = succeeded_tasks(session, rows)
        lease = session.options.pace.collect_lease_seconds
        collecting = collect_tasks(session, LocalStore(tmp_path / "clips"), tasks)
        first = next(collecting)
        now = session.clock()
        waiting = {task.id for task in tasks} - {first.task.id}
        assert {task.id for task in ledger.tasks.ready(NAME, now, 10)} <= {first.task.id}
        assert waiting <= {task.id for task in ledger.tasks.ready(NAME, now + lease + 1, 10)}
        assert all(collected.manifest for collected in collecting)
        assert ledger.tasks.ready(NAME, now + 10 * lease, 10) == []
