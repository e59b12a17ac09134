"""`python -m pixverse_dagster.simulator`: the simulator without the project's command line."""

from __future__ import annotations

import argparse
from pathlib import Path

from pixverse_dagster.simulator.app import serve
from pixverse_dagster.simulator.faults import SAMPLES_DIR, Settings, parse_fault, parse_image, parse_key


def main(argv: list[str] | None = None) -> None:
    """Serves until SIGTERM or SIGINT. Bad usage ends with exit code 2 and says what is wrong."""
    parser = argparse.ArgumentParser(prog="python -m pixverse_dagster.simulator", description=__doc__)
    parser.add_argument("--port", type=int, required=True, help="port on 127.0.0.1; 0 picks a free one")
    parser.add_argument(
        "--generation-seconds", type=float, default=5.0, help="nominal; each clip takes 70 to 130 %% of it"
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
    options = parser.parse_args(argv)
    try:
        settings = Settings(
            generation_seconds=options.generation_seconds,
            faults=dict(parse_fault(text) for text in options.fault),
            seed=options.seed,
            samples_dir=options.samples_dir,
            keys=dict(parse_key(text) for text in options.key),
            images=dict(parse_image(text) for text in options.image),
        )
    except ValueError as error:
        parser.error(str(error))
    serve(options.port, settings)


if __name__ == "__main__":
    main()
