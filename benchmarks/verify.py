"""What comparing ledger, store and manifests takes, and how much memory.

    python -m benchmarks.verify [--clips 100000] [--deep] [--dagster ROWS]

Ledger and store are filled in bulk, with a poster and a video of few bytes for each clip. The comparison runs in a
process of its own, whose peak of memory is printed. With `--dagster`, so many rows are compared with Dagster as well,
after each was reported to it as a run reports it; without, Dagster has no part.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from pixverse_dagster.core.layout import task_folder
from pixverse_dagster.core.lifecycle import Event, TaskState
from pixverse_dagster.core.manifest import ClipOutput
from pixverse_dagster.core.outcomes import Accepted, Succeeded
from pixverse_dagster.core.provenance import Origin, build_manifest
from pixverse_dagster.core.row import Row, retake
from pixverse_dagster.core.task import Task
from pixverse_dagster.core.values import chunked
from pixverse_dagster.ledger.claims import ClaimTerms
from pixverse_dagster.ledger.codec import task_values
from pixverse_dagster.ledger.engine import open_engine
from pixverse_dagster.ledger.history import HISTORY
from pixverse_dagster.ledger.ledger import Ledger
from pixverse_dagster.ledger.schema import counters, files, history, tasks
from pixverse_dagster.reports.verify import verify
from pixverse_dagster.stages.store import enter_store
from pixverse_dagster.storage.local import LocalStore
from pixverse_dagster_tests.harness.factories import NAME, NOW, make_row, moved, put_row, session_in
from pixverse_dagster_tests.harness.ledgers import ledger_in

_CHUNK = 500
_POSTER = b"poster of a clip"


def fill(folder: Path, clips: int) -> None:
    """A ledger and a local store with so many stored clips, each of a row of its own, on which all records agree."""
    engine = open_engine(ledger_in(folder))
    ledger, store = Ledger(engine), LocalStore(folder / "store")
    first = put_row(ledger, make_row("first"))
    task, _ = ledger.claim(NAME, first, ClaimTerms("bulk", NOW, 60, 0.15, account="account", world="simulator"))
    task = ledger.accept(task, Accepted("task-first"), NOW, NOW).task
    task = moved(ledger.succeed(task, Succeeded(("http://127.0.0.1/1",), cost_usd=0.15), NOW))
    enter_store(store, ledger.id, NAME)
    template = replace(task, state=TaskState.STORED, urls=())
    rows = [_row(n, first) for n in range(clips)]
    ledger.rows.record(NAME, rows, [], "bulk", NOW)
    with engine.begin() as connection:
        connection.execute(sa.delete(tasks))
        connection.execute(sa.delete(history))
        for chunk in chunked(enumerate(rows, start=1), _CHUNK):
            made = [_put(folder / "store", ledger.id, _task(template, n, row)) for n, row in chunk]
            connection.execute(sa.insert(tasks), [_values(one) for one, _ in made])
            connection.execute(sa.insert(files), [record for _, records in made for record in records])
            entries = [_entry(n, one) for (n, _), (one, _) in zip(chunk, made, strict=True)]
            connection.execute(sa.insert(history), entries)
        connection.execute(sa.update(counters).where(counters.c.name == HISTORY).values(value=clips))
    engine.dispose()


def _row(n: int, first: Row) -> Row:
    prompt = (
        f"A kite over the harbour at dusk, number {n}, wide shot, slow camera, the light goes down behind the cranes"
    )
    request = first.request.model_copy(update={"prompt": prompt})
    return retake(replace(first, id=f"r{n:06}", request=request, labels={"campaign": f"c{n % 7}"}), 1)


def _task(template: Task, n: int, row: Row) -> Task:
    task = replace(
        template,
        id=f"{n:032}",
        row=row.id,
        digest=row.digest,
        address_digest=row.address_digest,
        request=row.request,
        labels=row.labels,
        client_reference=f"bulk-{n}",
        task_id=f"task-{n}",
        stored_at=NOW + n,
        finished_at=NOW,
        folder="",
    )
    return replace(task, folder=str(task_folder(task)))


def _values(task: Task) -> dict[str, Any]:
    return task_values(task, None) | {"stored_at": task.stored_at, "manifest_sha256": task.manifest_sha256}


def _entry(position: int, task: Task) -> dict[str, Any]:
    return {
        "position": position, "at": task.stored_at, "pipeline": NAME, "row": task.row, "task": task.id,
        "event": Event.STORE, "state": TaskState.STORED, "detail": "",
    }  # fmt: skip


def _put(root: Path, ledger_id: str, task: Task) -> tuple[Task, list[dict[str, Any]]]:
    """Write the files of a clip as they are in a store, without its care. The task, and the files on record for it."""
    folder, video = task_folder(task), f"clip {task.id}".encode()
    output = ClipOutput(
        n=1, key=folder.output(1, "mp4"), poster_key=folder.poster(1), sha256=hashlib.sha256(video).hexdigest(),
        size_bytes=len(video), poster_sha256=hashlib.sha256(_POSTER).hexdigest(), poster_size_bytes=len(_POSTER),
        container="mp4", codec="h264", width=1280, height=720, fps=24.0, duration_seconds=5.0, audio=False,
    )  # fmt: skip
    told = replace(task, state=TaskState.SUCCEEDED)
    manifest = build_manifest(told, [told], [output], Origin(ledger_id, "bulk", "1.0", task.stored_at or NOW))
    text = manifest.model_dump_json(indent=2).encode()
    (root / str(folder)).mkdir(parents=True)
    records: list[dict[str, Any]] = []
    for key, data in ((output.key, video), (output.poster_key, _POSTER), (folder.manifest, text)):
        (root / key).write_bytes(data)
        if key != folder.manifest:
            records.append({"task": task.id, "key": key, "sha256": hashlib.sha256(data).hexdigest(), "n": 1,
                            "size_bytes": len(data), "recorded_at": NOW})  # fmt: skip
    return replace(task, manifest_sha256=hashlib.sha256(text).hexdigest()), records


def report(folder: Path, rows: int) -> None:
    """Tell Dagster of so many of the clips, as a rebuilding of the ledger does it."""
    import dagster as dg  # noqa: PLC0415 - a second, which the other measurements need not pay

    from pixverse_dagster.orchestration.events.found import report_found  # noqa: PLC0415 - as above
    from pixverse_dagster.storage.reading import read_manifest  # noqa: PLC0415 - as above

    store = LocalStore(folder / "store")
    with (
        session_in(folder, "http://127.0.0.1:9") as session,
        dg.DagsterInstance.local_temp(str(folder / "dagster")) as instance,
    ):
        stored = session.ledger.tasks.find(NAME)[:rows]
        clips = [(one, read_manifest(store, task_folder(one).manifest)) for one in stored]
        report_found(instance, f"{NAME}_rows", session, store, clips)


def compare(folder: Path, *, deep: bool, dagster: bool) -> None:
    """Compare in this process, and print what that took."""
    engine = open_engine(ledger_in(folder))
    told: list[int] = []
    started, cpu = time.monotonic(), time.process_time()
    side, instance = _open_dagster(folder) if dagster else (None, None)
    found = verify(
        Ledger(engine), LocalStore(folder / "store"), NAME, deep=deep, dagster=side,
        progress=lambda done, _total: told.append(done) if done % 1000 == 0 else None,
    )  # fmt: skip
    seconds, cpu_seconds = time.monotonic() - started, time.process_time() - cpu
    engine.dispose()
    del instance
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"clips": found.clips, "files": found.files, "disagreements": len(found.disagreements),
                      "seconds": seconds, "cpu_seconds": cpu_seconds, "peak_mib": peak,
                      "reports_of_progress": len(told)}))  # fmt: skip


def _open_dagster(folder: Path) -> tuple[Any, Any]:
    import dagster as dg  # noqa: PLC0415 - as above

    from pixverse_dagster.orchestration.events.reported import ReportedRows  # noqa: PLC0415 - as above
    from pixverse_dagster.orchestration.spec import PipelineSpec  # noqa: PLC0415 - as above

    with session_in(folder, "http://127.0.0.1:9") as session:
        spec = PipelineSpec(session.pipeline, ("runware",))
    instance = dg.DagsterInstance.local_temp(str(folder / "dagster"))
    return ReportedRows(instance, spec, NAME), instance


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--clips", type=int, default=100_000)
    options.add_argument("--deep", action="store_true", help="read every byte; the bytes are few, and no clips")
    options.add_argument("--dagster", type=int, default=0, metavar="ROWS", help="compare with Dagster, of so many rows")
    options.add_argument("--compare", metavar="FOLDER", help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.compare:
        compare(Path(given.compare), deep=given.deep, dagster=bool(given.dagster))
        return
    with tempfile.TemporaryDirectory(prefix="verify-") as name:
        started = time.monotonic()
        fill(Path(name), given.dagster or given.clips)
        print(f"filled in {time.monotonic() - started:.0f} s", flush=True)
        words = ["--compare", name, *(["--deep"] if given.deep else [])]
        if given.dagster:
            report(Path(name), given.dagster)
            words += ["--dagster", str(given.dagster)]
        command = [sys.executable, "-m", "benchmarks.verify", *words]
        ran = subprocess.run(command, check=True, capture_output=True, text=True, cwd=Path(__file__).parents[1])
        took = json.loads(ran.stdout)
        print(
            f"{took['clips']} clips, {took['files']} files: {took['seconds']:.1f} s, {took['cpu_seconds']:.1f} s of "
            f"CPU, peak {took['peak_mib']:.0f} MiB, {took['disagreements']} disagreements"
        )


if __name__ == "__main__":
    main()
