"""`python -m pixverse_dagster.simulator`: the simulator without the project's command line."""

from __future__ import annotations

import argparse
import os
import signal
import threading
from pathlib import Path

from pixverse_dagster.simulator.app import serve
from pixverse_dagster.simulator.faults import SAMPLES_DIR, Settings, parse_fault, parse_image, parse_key
from pixverse_dagster.simulator.memory import MemoryInUse


def main(argv: list[str] | None = None) -> None:
    """Serves until SIGTERM or SIGINT. Bad usage ends with exit code 2 and says what is wrong."""
    parser = argparse.ArgumentParser(prog="python -m pixverse_dagster.simulator", description=__doc__)
    parser.add_argument("--port", type=int, required=True, help="port on 127.0.0.1; 0 picks a free one")
    parser.add_argument(
        "--generation-seconds", type=float, default=5.0, help="nominal; each clip takes 70 to 130 %% of it"
    )
    parser.add_argument(
        "--link-seconds",
        type=float,
        default=3600.0,
        help="how long a link to a clip works",
    )
    parser.add_argument("--fault", action="append", default=[], metavar="KIND=RATE", help="may be given several times")
    parser.add_argument(
        "--key", action="append", default=[], metavar="KEY=ACCOUNT", help="a further key, and whose account it is of"
    )
    parser.add_argument("--seed", type=int, default=0, help="faults and durations are drawn from it")
    parser.add_argument("--samples-dir", type=Path, default=SAMPLES_DIR, help="what /samples/<file> serves")
    parser.add_argument(
        "--image", action="append", default=[], metavar="URL=FILE", help="what is behind a URL, which is not fetched"
    )
    parser.add_argument(
        "--charge-factor", type=float, default=1.0, help="every price is multiplied by it, as after a change of prices"
    )
    parser.add_argument(
        "--memory", type=Path, metavar="FILE", help="keeps tasks, charges, uploads and keys, for the next start with it"
    )
    parser.add_argument("--until-stdin-ends", action="store_true", help="ends with the process that holds its input")
    options = parser.parse_args(argv)
    if options.until_stdin_ends:
        threading.Thread(target=_end_with_input, daemon=True).start()
    try:
        settings = Settings(
            generation_seconds=options.generation_seconds,
            link_seconds=options.link_seconds,
            faults=dict(parse_fault(text) for text in options.fault),
            seed=options.seed,
            samples_dir=options.samples_dir,
            keys=dict(parse_key(text) for text in options.key),
            images=dict(parse_image(text) for text in options.image),
            charge_factor=options.charge_factor,
            memory=options.memory,
        )
        serve(options.port, settings)
    except (MemoryInUse, ValueError) as error:
        parser.error(str(error))


def _end_with_input() -> None:
    """End this process once nobody can write to its standard input any more."""
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
