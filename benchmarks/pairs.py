"""What a whole run costs in two versions of this project, in turns: `python -m benchmarks.pairs ../earlier`.

Each round runs both, each from its own checkout on a stage of its own; which one comes first alternates. Prints CPU
seconds, and the ratio of each round and its median, as Markdown.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
_MEASURE = """
import sys
from benchmarks.contenders import OURS, Settings, measure
found = measure(OURS, int(sys.argv[1]), Settings(None, "runware/pixverse-v4.5", 1))
assert not found.complaints, found.complaints
print(found.cpu_seconds)
"""


def run(checkout: Path, rows: int) -> float:
    """CPU seconds of a run of so many rows, of the version that is checked out there."""
    environment = os.environ | {"PYTHONPATH": str(checkout)}
    # Both have their bytecode, as an installed package has; else the longer source would seem to be the slower one.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    command = [sys.executable, "-c", _MEASURE, str(rows)]
    done = subprocess.run(command, env=environment, cwd=checkout, capture_output=True, text=True, check=True)
    return float(done.stdout)


def main() -> None:
    """Measure."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("earlier", type=Path, help="A checkout of another version.")
    options.add_argument("--rows", type=int, default=200)
    options.add_argument("--rounds", type=int, default=7)
    given = options.parse_args()
    versions = (given.earlier.resolve(), ROOT)
    for checkout in versions:
        run(checkout, 1)  # compiles it
    print("| round | before | this version | ratio |\n|---|---|---|---|")
    ratios: list[float] = []
    for number in range(1, given.rounds + 1):
        in_turn = versions if number % 2 else versions[::-1]
        spent = {checkout: run(checkout, given.rows) for checkout in in_turn}
        before, now = (spent[checkout] for checkout in versions)
        ratios.append(now / before)
        print(f"| {number} | {before:.2f} | {now:.2f} | {ratios[-1]:.2f} |", flush=True)
    print(f"\nThe median of the ratios is {statistics.median(ratios):.3f}.")


if __name__ == "__main__":
    main()
