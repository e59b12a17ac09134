"""The floor: submit every row, poll, download with sha256. No ledger, no retries, no lineage, no Dagster."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import httpx

from benchmarks.api import APIS, Call
from benchmarks.table import read_table

T = TypeVar("T")
R = TypeVar("R")

# What this project uses against the simulator.
_CALLS_AT_ONCE = 4
_DOWNLOADS_AT_ONCE = 8


async def _each(work: Callable[[T], Awaitable[R]], items: Sequence[T], at_once: int) -> list[R]:
    slots = asyncio.Semaphore(at_once)

    async def one(item: T) -> R:
        async with slots:
            return await work(item)

    return await asyncio.gather(*(one(item) for item in items))


async def _send(client: httpx.AsyncClient, call: Call) -> Any:
    response = await client.post(call.url, headers=call.headers, json=call.json)
    return response.raise_for_status().json()


async def _download(client: httpx.AsyncClient, url: str, path: Path) -> str:
    digest = hashlib.sha256()
    async with client.stream("GET", url) as response:
        response.raise_for_status()
        with path.open("wb") as file:
            async for chunk in response.aiter_bytes(256 * 1024):
                digest.update(chunk)
                file.write(chunk)
    return digest.hexdigest()


async def main() -> None:
    api = APIS[os.environ["BENCHMARK_MODEL"]](os.environ["BENCHMARK_ADDRESS"])
    folder = Path(os.environ["BENCHMARK_FOLDER"])
    rows = read_table(Path(os.environ["BENCHMARK_TABLE"]))
    wait = max(float(os.environ["BENCHMARK_GENERATION_SECONDS"]) / 2, 0.2)
    async with httpx.AsyncClient(timeout=60) as client:

        async def submit(row: str) -> tuple[str, str]:
            return api.task_id(await _send(client, api.submit(rows[row]))), row

        async def poll(batch: Sequence[str]) -> dict[str, str]:
            return api.finished(await _send(client, api.poll(batch)), batch)

        async def download(item: tuple[str, str]) -> str:
            task_id, url = item
            return await _download(client, url, folder / f"{pending.pop(task_id)}.mp4")

        pending = dict(await _each(submit, list(rows), _CALLS_AT_ONCE))
        while pending:
            await asyncio.sleep(wait)
            ids = list(pending)
            batches = [ids[at : at + api.POLL_BATCH] for at in range(0, len(ids), api.POLL_BATCH)]
            done = [item for found in await _each(poll, batches, _CALLS_AT_ONCE) for item in found.items()]
            await _each(download, done, _DOWNLOADS_AT_ONCE)


if __name__ == "__main__":
    asyncio.run(main())
