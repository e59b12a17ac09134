"""`dev`: the simulator and Dagster's UI together."""

import subprocess
import sys
from pathlib import Path

import click

from pixverse_dagster.cli.homes import prepare_home
from pixverse_dagster.cli.simulator import (
    SIMULATOR_NEEDS,
    STOP_SECONDS,
    need_demo_extra,
    running_simulator,
    simulator_arguments,
    simulator_options,
)


@click.command()
@click.option("--home", type=click.Path(path_type=Path), default=Path("pixverse-demo"), show_default=True,
              help="Dagster home; made if it is not there.")  # fmt: skip
@click.option("--port", type=click.IntRange(1, 65535), default=3000, show_default=True, help="Port of Dagster's UI.")
@click.option("--simulator-port", type=click.IntRange(1, 65535), default=8765, show_default=True)
@simulator_options
def dev(
    home: Path, port: int, simulator_port: int, generation_seconds: float, faults: tuple[str, ...], seed: int
) -> None:
    """The simulator and Dagster's UI together, on this project's definitions. Stop with Ctrl-C."""
    need_demo_extra((*SIMULATOR_NEEDS, "dagster_webserver"))
    url = f"http://127.0.0.1:{simulator_port}"
    folder = prepare_home(home, {"PIXVERSE_SIMULATOR_URL": url})
    with running_simulator(simulator_port, simulator_arguments(generation_seconds, faults, seed)) as address:
        click.echo(
            f"Simulator: {address}\nDagster:   http://127.0.0.1:{port}\n"
            "Materialise prompts, then tasks; the poll sensor stores the clips."
        )
        module = ["-m", "pixverse_dagster.definitions"]
        command = [sys.executable, "-m", "dagster", "dev", *module, "-h", "127.0.0.1", "-p", str(port)]
        # In the home: Dagster would take a `.env` of the working folder for more than the home's settings.
        process = subprocess.Popen(command, cwd=folder)  # noqa: S603 - dagster's own program, no shell
        try:
            sys.exit(process.wait())
        except KeyboardInterrupt:
            process.wait(STOP_SECONDS)
