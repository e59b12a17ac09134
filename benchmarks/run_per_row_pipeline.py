"""The baseline's code location: a partitioned asset that submits, waits and downloads.

This is what Dagster's documentation leads to: one partition per row, the default executor (a process per step), the
default IO manager, the default backfill policy (a run per partition).
"""

import hashlib
import os
import time
from pathlib import Path

import dagster as dg
import httpx

from benchmarks.api import APIS
from benchmarks.table import read_table

rows = dg.DynamicPartitionsDefinition(name="rows")


@dg.asset(partitions_def=rows)
def clip(context: dg.AssetExecutionContext) -> dg.MaterializeResult:  # pyright: ignore[reportMissingTypeArgument, reportUnknownParameterType]
    """The clip of one row."""
    api = APIS[os.environ["BENCHMARK_MODEL"]](os.environ["BENCHMARK_ADDRESS"])
    row = context.partition_key
    prompt = read_table(Path(os.environ["BENCHMARK_TABLE"]))[row]
    with httpx.Client(timeout=60) as client:
        call = api.submit(prompt)
        answer = client.post(call.url, headers=call.headers, json=call.json).raise_for_status().json()
        task_id = api.task_id(answer)
        context.log.info("submitted task %s", task_id)
        finished: dict[str, str] = {}
        while task_id not in finished:
            time.sleep(1)  # noqa: TID251 - a polling loop is what this baseline is about
            call = api.poll([task_id])
            answer = client.post(call.url, headers=call.headers, json=call.json).raise_for_status().json()
            finished = api.finished(answer, [task_id])
        path = Path(os.environ["BENCHMARK_FOLDER"]) / "clips" / f"{row}.mp4"
        path.parent.mkdir(exist_ok=True)
        digest = hashlib.sha256()
        with client.stream("GET", finished[task_id]) as response, path.open("wb") as file:
            response.raise_for_status()
            for chunk in response.iter_bytes():
                digest.update(chunk)
                file.write(chunk)
    return dg.MaterializeResult(metadata={"path": str(path), "sha256": digest.hexdigest()})


clip_job = dg.define_asset_job("clip_job", selection=[clip], partitions_def=rows)  # pyright: ignore[reportUnknownMemberType]
defs = dg.Definitions(assets=[clip], jobs=[clip_job])
