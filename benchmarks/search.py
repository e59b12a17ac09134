"""What asking the store adds to a submission: 1,000 rows, in an empty and in a full store.

    python -m benchmarks.search [--rows 1000] [--s3]

With `--s3`, on the Ceph Object Gateway that the tests start. Prints seconds and the requests that the store got.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from pixverse_dagster.core.row import Row
from pixverse_dagster.stages.find import search_store
from pixverse_dagster.storage.base import ClipStore
from pixverse_dagster.storage.local import LocalStore
from pixverse_dagster.storage.s3 import S3Store
from pixverse_dagster_tests.harness.factories import NAME, make_rows
from pixverse_dagster_tests.harness.manifests import manifest_for, put_document, put_manifest
from pixverse_dagster_tests.harness.servers import new_bucket, rgw

WORLDS: Any = {"runware": "simulator"}


class Counting:
    """Counts what is asked of a store."""

    def __init__(self, store: ClipStore) -> None:
        self._store = store
        self.asked: Counter[str] = Counter()

    def open(self, key: str) -> BinaryIO:
        self.asked["read"] += 1
        return self._store.open(key)

    def keys(self, prefix: str) -> Iterator[str]:
        self.asked["listing"] += 1
        return self._store.keys(prefix)

    def uri(self, key: str) -> str:
        return self._store.uri(key)


def measure(store: ClipStore, rows: list[Row], what: str) -> None:
    """Search for these rows, once as they are and once the first 200 of them."""
    for some in (rows, rows[:200]):
        counting: Any = Counting(store)
        began, cpu = time.perf_counter(), time.process_time()
        found = search_store(counting, NAME, some, WORLDS)
        seconds, used = time.perf_counter() - began, time.process_time() - cpu
        asked = ", ".join(f"{count} {name}s" for name, count in sorted(counting.asked.items()))
        print(f"{what}: {len(some)} rows, {len(found)} found: {seconds:.2f} s, {used:.2f} s of CPU; {asked}")


def fill(store: ClipStore, rows: list[Row]) -> None:
    """A clip of each row: manifest, video and poster."""
    for row in rows:
        folder = put_manifest(store, manifest_for(row)).rpartition("/")[0]
        put_document(store, f"{folder}/1.mp4", b"video")
        put_document(store, f"{folder}/1.jpg", b"poster")


def run(store: ClipStore, what: str, count: int) -> None:
    """Measure an empty store, one full of other rows' clips, and one that has all rows' clips."""
    rows, others = make_rows(count), [*make_rows(count, prompt="another")]
    measure(store, rows, f"{what}, empty")
    fill(store, others)
    measure(store, rows, f"{what}, full of other requests")
    fill(store, rows)
    measure(store, rows, f"{what}, all there")


def main() -> None:
    """Measure as asked for on the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--s3", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if not given.s3:
            run(LocalStore(Path(folder) / "store"), "local", given.rows)
            return
        with rgw(Path(folder)) as server:
            client = server.client()
            run(S3Store(client, new_bucket(server), "films"), "S3", given.rows)
            client.close()


if __name__ == "__main__":
    main()
