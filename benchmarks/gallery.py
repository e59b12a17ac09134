"""What writing the gallery takes: of many clips for the first time, of a hundred new ones, and where nothing changed.

    python -m benchmarks.gallery [--clips 25000] [--new 100] [--bucket CLIPS]

Ledger and store are filled in bulk, with a poster of 480 pixels for each clip and a video of one byte, which no writer
reads. Each writing is `pixverse-dagster`'s own, in a process of its own. With `--bucket`, so many clips in a bucket of
Ceph as well. Prints a line for each step.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from pixverse_dagster.core.lifecycle import Event, TaskState
from pixverse_dagster.core.manifest import ClipOutput
from pixverse_dagster.core.outcomes import Accepted, Succeeded
from pixverse_dagster.core.provenance import Origin, build_manifest
from pixverse_dagster.core.row import Row
from pixverse_dagster.core.task import Task
from pixverse_dagster.core.values import chunked
from pixverse_dagster.ledger.claims import ClaimTerms
from pixverse_dagster.ledger.codec import task_values
from pixverse_dagster.ledger.engine import open_engine
from pixverse_dagster.ledger.history import HISTORY
from pixverse_dagster.ledger.ledger import Ledger
from pixverse_dagster.ledger.schema import counters, history, tasks
from pixverse_dagster.media.pictures import encode_jpeg
from pixverse_dagster.reports.gallery.writer import write_gallery
from pixverse_dagster.stages.store import enter_store
from pixverse_dagster.storage.base import ClipStore
from pixverse_dagster.storage.local import LocalStore
from pixverse_dagster.storage.s3 import S3Store
from pixverse_dagster_tests.harness.buckets import s3_client
from pixverse_dagster_tests.harness.clips import ClipBytes, store_row
from pixverse_dagster_tests.harness.factories import NAME, NOW, make_row, moved, put_row
from pixverse_dagster_tests.harness.ledgers import ledger_in
from pixverse_dagster_tests.harness.servers import S3Server, rgw

_CHUNK = 500
_DIGEST = "0" * 64


def make_poster() -> bytes:
    """A poster of 480 pixels' width, as large as that of a clip with some detail."""
    import av  # noqa: PLC0415 - as in the package

    frame = av.VideoFrame(480, 270, "gray")
    plane = bytes((x * y // 97 + x) % 256 for y in range(270) for x in range(frame.planes[0].line_size))
    frame.planes[0].update(plane)
    return encode_jpeg(frame.reformat(format="yuvj420p"), 480)


def fill(folder: Path, clips: int, poster: bytes) -> None:
    """A ledger and a local store with so many stored clips, each of a row of its own."""
    engine = open_engine(ledger_in(folder))
    ledger, store = Ledger(engine), LocalStore(folder / "store")
    first = put_row(ledger, make_row("first"))
    task, _ = ledger.claim(NAME, first, ClaimTerms("bulk", NOW, 60, 0.15, account="account", world="simulator"))
    task = ledger.accept(task, Accepted("task-first"), NOW, NOW).task
    task = moved(ledger.succeed(task, Succeeded(("http://127.0.0.1/1",), cost_usd=0.15), NOW))
    enter_store(store, ledger.id, NAME)
    template = replace(task, state=TaskState.STORED, urls=(), stored_at=NOW)
    rows = [_row(n, first) for n in range(clips)]
    ledger.rows.record(NAME, rows, [], "bulk", NOW)
    with engine.begin() as connection:
        connection.execute(sa.delete(tasks))
        position = connection.execute(sa.select(counters.c.value).where(counters.c.name == HISTORY)).scalar_one()
        for chunk in chunked(enumerate(rows, start=1), _CHUNK):
            made = [_task(template, n, row) for n, row in chunk]
            connection.execute(sa.insert(tasks), [task_values(one, None) | _stored(one) for one in made])
            entries = [_entry(position + n, one) for (n, _), one in zip(chunk, made, strict=True)]
            connection.execute(sa.insert(history), entries)
            for one in made:
                _put(folder / "store", ledger.id, one, poster)
        last = position + clips
        connection.execute(sa.update(counters).where(counters.c.name == HISTORY).values(value=last))
    engine.dispose()


def _row(n: int, first: Row) -> Row:
    prompt = f"A kite over the harbour at dusk, take {n}, wide shot, slow camera, the light goes down behind the cranes"
    request = first.request.model_copy(update={"prompt": prompt})
    return replace(first, id=f"r{n:06}", request=request, labels={"campaign": f"c{n % 7}"}, digest=f"{n:064x}")


def _task(template: Task, n: int, row: Row) -> Task:
    return replace(
        template,
        id=f"{n:032}",
        row=row.id,
        digest=row.digest,
        request=row.request,
        labels=row.labels,
        client_reference=f"bulk-{n}",
        task_id=f"task-{n}",
        folder="",
        stored_at=NOW + n,
    )


def _stored(task: Task) -> dict[str, Any]:
    return {"stored_at": task.stored_at, "urls": None, "seeds": None}


def _entry(position: int, task: Task) -> dict[str, Any]:
    return {
        "position": position, "at": task.stored_at, "pipeline": NAME, "row": task.row, "task": task.id,
        "event": Event.STORE, "state": TaskState.STORED, "detail": "",
    }  # fmt: skip


def _put(root: Path, ledger_id: str, task: Task, poster: bytes) -> None:
    """Write the files of a clip as they are in a store, without its care."""
    digest = f"{int(task.id):064x}"[::-1]
    key = f"{NAME}/clips/{task.row}/{task.digest[:12]}-t{task.take}"
    output = ClipOutput(
        n=1, key=f"{key}/1.mp4", poster_key=f"{key}/1.jpg", sha256=digest, size_bytes=1, poster_sha256=_DIGEST,
        poster_size_bytes=len(poster), container="mp4", codec="h264", width=1280, height=720, fps=24.0,
        duration_seconds=5.0, audio=False,
    )  # fmt: skip
    told = replace(task, state=TaskState.SUCCEEDED)
    manifest = build_manifest(told, [told], [output], Origin(ledger_id, "bulk", "1.0", task.stored_at or NOW))
    folder = root / key
    folder.mkdir(parents=True)
    (folder / "1.jpg").write_bytes(poster)
    (folder / "1.mp4").write_bytes(b"0")
    (folder / "manifest.json").write_text(manifest.model_dump_json(indent=2))


def add(folder: Path, store: ClipStore, count: int, poster: bytes) -> None:
    """So many clips more, by the ledger's own moves."""
    engine = open_engine(ledger_in(folder))
    ledger = Ledger(engine)
    stamp = int(time.time())
    rows = [make_row(f"new-{stamp}-{n}", prompt=f"new {n}") for n in range(count)]
    ledger.rows.record(NAME, [*ledger.rows.find(NAME).values(), *rows], [], "bulk", NOW)
    for n, row in enumerate(rows):
        clip = ClipBytes(f"{stamp} {n}".encode(), poster + f"{stamp} {n}".encode())
        store_row(ledger, store, row, [clip], now=NOW + 10**6 + n, recorded=True)
    engine.dispose()


def write(folder: Path, store: ClipStore, options: Sequence[str]) -> None:
    """Write the gallery in this process, and print what that took."""
    engine = open_engine(ledger_in(folder))
    started, cpu = time.monotonic(), time.process_time()
    done = write_gallery(Ledger(engine), store, NAME, full="full" in options)
    seconds, cpu_seconds = time.monotonic() - started, time.process_time() - cpu
    engine.dispose()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    figures = {"seconds": seconds, "cpu_seconds": cpu_seconds, "peak_mib": peak, "clips": done.clips}
    print(json.dumps(figures | {"files": len(done.written), "mb": done.bytes_written / 1e6}))


def measure(what: str, words: Sequence[str]) -> None:
    """Write the gallery in a process of its own, and say what it took."""
    command = [sys.executable, "-m", "benchmarks.gallery", "--write", *words]
    ran = subprocess.run(command, check=True, capture_output=True, text=True, cwd=Path(__file__).parents[1])
    took = json.loads(ran.stdout)
    print(
        f"{what}: {took['clips']} clips, {took['seconds']:.2f} s ({took['cpu_seconds']:.2f} s of CPU), "
        f"{took['files']} files, {took['mb']:.1f} MB written, {took['peak_mib']:.0f} MiB",
        flush=True,
    )


def measure_all(where: str, folder: Path, store: ClipStore, new: int, words: Sequence[str]) -> None:
    """The first gallery, the unchanged one, a hundred clips more, and all of it looked at anew."""
    poster = make_poster()
    measure(f"{where}, first", words)
    measure(f"{where}, unchanged", words)
    for _ in range(3):
        add(folder, store, new, poster)
        measure(f"{where}, {new} new", words)
    measure(f"{where}, all read again", [*words, "full"])


def open_store(folder: Path, words: Sequence[str]) -> ClipStore:
    """The store of a process that writes."""
    if "bucket" not in words:
        return LocalStore(folder / "store")
    server = S3Server(**json.loads((folder / "server.json").read_text()))
    return S3Store(s3_client(server), "clips")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--clips", type=int, default=25_000)
    options.add_argument("--new", type=int, default=100)
    options.add_argument("--bucket", type=int, default=0, metavar="CLIPS")
    options.add_argument("--write", nargs="+", help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.write:
        folder = Path(given.write[0])
        write(folder, open_store(folder, given.write), given.write)
        return
    for where, clips in (("directory", given.clips), ("bucket", given.bucket)):
        if clips:
            with tempfile.TemporaryDirectory(prefix="gallery-") as name:
                run(where, Path(name), clips, given.new)


def run(where: str, folder: Path, clips: int, new: int) -> None:
    """All steps in a directory, or in a bucket."""
    fill(folder, clips, make_poster())
    if where == "directory":
        measure_all(where, folder, LocalStore(folder / "store"), new, [str(folder)])
        return
    with rgw(folder / "ceph") as server:
        (folder / "server.json").write_text(json.dumps(vars(server)))
        client = s3_client(server)
        client.create_bucket(Bucket="clips")
        for path in _files(folder / "store"):
            client.put_object(Bucket="clips", Key=path.relative_to(folder / "store").as_posix(), Body=path.read_bytes())
        shutil.rmtree(folder / "store")
        measure_all(where, folder, S3Store(client, "clips"), new, [str(folder), "bucket"])
        client.close()


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file() and ".incoming" not in path.parts)


if __name__ == "__main__":
    main()
