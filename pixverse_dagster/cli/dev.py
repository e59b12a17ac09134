"""`dev`: the simulator and Dagster's UI together."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import click
import httpx

from pixverse_dagster.cli.discover import CodeLocation, Found, find_locations, locate_file, locate_module
from pixverse_dagster.cli.homes import MEMORY_FILE, is_demo_home, is_free, make_home, prepare_home
from pixverse_dagster.cli.interrupts import Interrupts
from pixverse_dagster.cli.project import OWN_MODULE
from pixverse_dagster.cli.simulator import (
    SIMULATOR_NEEDS,
    STOP_SECONDS,
    need_demo_extra,
    running_simulator,
    simulator_arguments,
    simulator_options,
)
from pixverse_dagster.core.errors import PixverseError

_HOME = Path("pixverse-demo")
_LOOK_SECONDS = 0.5
_GRAPH = "asset-groups"
"""The page of the asset graph."""


@click.command()
@click.option("--home", type=click.Path(path_type=Path),
              help="Dagster home; made if it is not there. $DAGSTER_HOME, or pixverse-demo, if not given.")  # fmt: skip
@click.option("--port", type=click.IntRange(1, 65535), default=3000, show_default=True, help="Port of Dagster's UI.")
@click.option("--simulator-port", type=click.IntRange(1, 65535), default=8765, show_default=True)
@click.option("-m", "--module", help="Definitions module; the project of the working folder, if there is one.")
@click.option("-f", "--python-file", type=click.Path(dir_okay=False, path_type=Path), help="Definitions file.")
@click.option("-d", "--working-directory", type=click.Path(path_type=Path), help="Work as if started in this folder.")
@simulator_options
def dev(  # noqa: PLR0913 - one parameter for each option
    *,
    home: Path | None,
    port: int,
    simulator_port: int,
    module: str | None,
    python_file: Path | None,
    working_directory: Path | None,
    generation_seconds: float,
    faults: tuple[str, ...],
    seed: int,
) -> None:
    """The simulator and Dagster's UI together, on this project's definitions or your own. Stop with Ctrl-C.

    Your own definitions are those of -m or -f, or of the project that the working folder is in; without one, this
    project's pipeline on the sample table. The simulator's address is in PIXVERSE_SIMULATOR_URL.
    """
    need_demo_extra((*SIMULATOR_NEEDS, "dagster_webserver"))
    _need_free_ports({"--port": port, "--simulator-port": simulator_port})
    found = _locate(home, module, python_file, (working_directory or Path.cwd()).resolve())
    named = os.environ.get("DAGSTER_HOME", "").strip()
    folder = make_home(home or (Path(named) if named and found else _HOME))
    url = f"http://127.0.0.1:{simulator_port}"
    if found is None:
        prepare_home(folder, {"PIXVERSE_SIMULATOR_URL": url})
    os.environ.update({"PIXVERSE_SIMULATOR_URL": url, "DAGSTER_HOME": str(folder)})
    arguments = [*simulator_arguments(generation_seconds, faults, seed), "--memory", str(folder / MEMORY_FILE)]
    targets = _targets(found) if found else ["-m", OWN_MODULE]
    with suppress(KeyboardInterrupt), Interrupts(), running_simulator(simulator_port, arguments) as address:
        command = [sys.executable, "-m", "dagster", "dev", *targets, "-h", "127.0.0.1", "-p", str(port)]
        # In the home: Dagster would take a `.env` of the working folder for more than the home's settings.
        with _running(command, found.folder if found else folder) as process:
            if _wait_for(process, f"http://127.0.0.1:{port}"):
                click.echo(
                    f"Simulator: {address}\nDagster:   http://127.0.0.1:{port}/{_GRAPH}\n"
                    "Materialise prompts, then tasks; the poll sensor stores the clips. Stop with Ctrl-C."
                )
            code = process.wait()
        raise PixverseError(f"Dagster ended by itself, with exit code {code}: what it said is above")


def _need_free_ports(ports: dict[str, int]) -> None:
    """Raise UsageError, before anything is started, if one of these ports is taken."""
    if len(set(ports.values())) < len(ports):
        raise click.UsageError(f"{' and '.join(ports)} must be two ports. Nothing was started")
    for option, port in ports.items():
        if not is_free(port):
            raise click.UsageError(
                f"port {port} is taken by another program. Nothing was started; give another one with {option}"
            )


def _locate(home: Path | None, module: str | None, python_file: Path | None, folder: Path) -> Found | None:
    """The user's own definitions; None if this project's are meant."""
    if module and python_file:
        raise click.UsageError("give one of -m MODULE and -f FILE")
    if python_file:
        return locate_file(python_file, folder)
    if module:
        return None if module == OWN_MODULE else locate_module(module, folder)
    found = None if is_demo_home(home) else find_locations(folder)
    is_own = found is not None and all(one.source.module == OWN_MODULE for one in found.locations)
    return None if is_own else found


def _targets(found: Found) -> list[str]:
    """What Dagster is told to load."""
    if len(found.locations) > 1:
        return ["-w", str(found.folder / "workspace.yaml")]
    return [word for location in found.locations for word in _target(location, found.folder)]


def _target(location: CodeLocation, folder: Path) -> Sequence[str]:
    source = location.source
    place = ["-d", str(next(iter(location.folders), folder))]
    if source.python_file:
        return ["-f", source.python_file, *place]
    return ["-m", source.module, *place]


@contextmanager
def _running(command: list[str], folder: Path) -> Generator[subprocess.Popen[bytes]]:
    """A program in a process group of its own, of which nothing is left at the end."""
    process = subprocess.Popen(command, cwd=folder, start_new_session=True)  # noqa: S603 - dagster's own program, no shell
    try:
        yield process
    finally:
        # Dagster ends what it started if it is interrupted, and leaves it behind if it is terminated.
        for how in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                (os.kill if how is signal.SIGINT else os.killpg)(process.pid, how)
            if _is_over(process):
                break


def _is_over(process: subprocess.Popen[bytes]) -> bool:
    """Whether the whole group has ended, after a while."""
    for _ in range(int(STOP_SECONDS / _LOOK_SECONDS)):
        process.poll()
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            return True
        threading.Event().wait(_LOOK_SECONDS)
    return False


def _wait_for(process: subprocess.Popen[bytes], url: str) -> bool:
    """Wait until the page answers; False if the program ended before."""
    while process.poll() is None:
        with suppress(httpx.HTTPError):
            if httpx.get(f"{url}/server_info", timeout=5, trust_env=False).is_success:
                return True
        threading.Event().wait(_LOOK_SECONDS)
    return False
