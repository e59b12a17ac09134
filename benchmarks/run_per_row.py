"""The baseline: one Dagster run per row, each in processes of its own, two at a time.

`prepare` registers the rows as partitions, which a person does once in the UI; it is not measured. Runs are launched by
`dagster job execute`: what a run launcher starts, without the daemon and the code server that stand beside it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.table import read_table

_RUNS_AT_ONCE = 2
_MODULE = "benchmarks.run_per_row_pipeline"


def prepare(home: Path, rows: list[str]) -> None:
    """A Dagster home that knows the rows."""
    import dagster as dg  # noqa: PLC0415 - the launcher that is measured does without

    from benchmarks.run_per_row_pipeline import rows as partitions  # noqa: PLC0415 - as above

    (home / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    with dg.DagsterInstance.from_config(str(home)) as instance:
        instance.add_dynamic_partitions(partitions.name or "", rows)


def launch(row: str) -> int:
    """One run, to its end."""
    tags = json.dumps({"dagster/partition": row})
    command = [sys.executable, "-m", "dagster", "job", "execute", "-m", _MODULE, "-j", "clip_job", "--tags", tags]
    return subprocess.run(command, check=False).returncode


def main() -> None:
    rows = list(read_table(Path(os.environ["BENCHMARK_TABLE"])))
    if sys.argv[1:] == ["prepare"]:
        prepare(Path(os.environ["DAGSTER_HOME"]), rows)
        return
    with ThreadPoolExecutor(_RUNS_AT_ONCE) as pool:
        failed = sum(code != 0 for code in pool.map(launch, rows))
    sys.exit(f"{failed} runs failed" if failed else 0)


if __name__ == "__main__":
    main()
