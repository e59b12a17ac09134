"""What it takes to read a table of 25,000 rows with 2,000 distinct local images of one megapixel, twice.

    python -m benchmarks.images [--rows 25000] [--images 2000]

Three in four images are JPEG, the others PNG: photographs. The first reading decodes all of them, the second knows
them. Each reading is a process of its own; recording the rows in a SQLite ledger is part of it. Prints seconds, CPU
seconds and the peak memory of the process, the start of Python included.
"""

from __future__ import annotations

import argparse
import csv
import json
import struct
import subprocess
import sys
import tempfile
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import av

import pixverse_dagster
from pixverse_dagster.stages.read import read_table, record_table
from pixverse_dagster.tables import FileTable
from pixverse_dagster_tests.harness.factories import session_in
from pixverse_dagster_tests.harness.pictures import as_image

SAMPLE = Path(pixverse_dagster.__file__).parent / "samples" / "images" / "hubble_deep_field.jpg"
ROOT = Path(__file__).parents[1]
PORT_OF_NOBODY = "http://127.0.0.1:9"


def photographs() -> tuple[bytes, bytes]:
    """One megapixel as JPEG and as PNG."""
    with av.open(SAMPLE, "r") as media:
        frame: Any = next(media.decode(video=0))
    frame = frame.reformat(width=1152, height=896, format="rgb24")
    return as_image(frame, "mjpeg", "yuvj420p", qmin="4", qmax="4"), as_image(frame, "png", "rgb24")


def numbered(data: bytes, number: int) -> bytes:
    """The photograph with a comment of its own, and so with a digest of its own."""
    text = f"number {number}".encode()
    if data.startswith(b"\xff\xd8"):
        return data[:2] + struct.pack(">BBH", 0xFF, 0xFE, len(text) + 2) + text + data[2:]
    body = b"tEXtComment\0" + text
    return data[:33] + struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body)) + data[33:]


def write_table(folder: Path, rows: int, images: int) -> None:
    """The table and its images."""
    jpeg, png = photographs()
    for number in range(images):
        data = png if number % 4 == 0 else jpeg
        (folder / f"{number}.img").write_bytes(numbered(data, number))
    with (folder / "table.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["id", "model", "prompt", "resolution", "image"])
        for row in range(rows):
            table.writerow([f"r{row:06}", "runware/pixverse-v4.5", f"kite {row}", "360p", f"{row % images}.img"])


def read(folder: Path) -> None:
    """One reading, as the asset `prompts` does it."""
    with session_in(folder, PORT_OF_NOBODY) as made:
        options = made.options.model_copy(update={"image_base": str(folder)})
        session = replace(made, pipeline=replace(made.pipeline, options=options))
        reading = read_table(session, FileTable(folder / "table.csv"))
        record_table(session, reading)
        print(f"{len(reading.rows)} rows, {len(reading.problems)} problems")


def main() -> None:
    """Measure two readings."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=25_000)
    parser.add_argument("--images", type=int, default=2_000)
    parser.add_argument("--read", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.read:
        read(options.read)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_table(folder, options.rows, options.images)
        for what in ("first reading", "second reading"):
            result = folder / "result.json"
            command = [sys.executable, "-m", "benchmarks.images", "--read", name]
            subprocess.run([sys.executable, "-m", "benchmarks.measure", str(result), *command], check=True, cwd=ROOT)
            found = json.loads(result.read_text())
            figures = f"{found['wall_seconds']:.1f} s, {found['cpu_seconds']:.1f} s of CPU, {found['peak_mib']:.0f} MiB"
            print(f"{what}: {figures}", flush=True)


if __name__ == "__main__":
    main()
