"""`simulator`, and the simulator as a child process of other commands."""

import os
import subprocess
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import click

from pixverse_dagster.core.errors import PixverseError

_READY = "simulator ready on "
STOP_SECONDS = 10
SIMULATOR_NEEDS = ("starlette", "uvicorn")


def need_demo_extra(modules: Sequence[str] = SIMULATOR_NEEDS) -> None:
    """Raise PixverseError with what to install, unless these modules of the extra `demo` are there.

    Asked before anything is made, so that a command that cannot work leaves nothing behind.
    """
    absent = [module for module in modules if find_spec(module) is None]
    if absent:
        raise PixverseError(f"{', '.join(absent)} not installed: pip install 'pixverse-dagster[demo]'")


def simulator_options(command: Any) -> Any:
    """The options that shape a simulator."""
    for option in (
        click.option("--generation-seconds", type=click.FloatRange(min=0), default=2.0, show_default=True,
                     help="How long a clip takes, give or take 30 %."),
        click.option("--fault", "faults", multiple=True, metavar="KIND=RATE", help="A fault and its rate; repeatable."),
        click.option("--seed", type=int, default=0, show_default=True, help="What the faults are drawn from."),
    ):  # fmt: skip
        command = option(command)
    return command


def simulator_arguments(generation_seconds: float, faults: Sequence[str], seed: int) -> list[str]:
    """A simulator's options as arguments of its own program."""
    named = [argument for fault in faults for argument in ("--fault", fault)]
    return ["--generation-seconds", str(generation_seconds), "--seed", str(seed), *named]


@contextmanager
def running_simulator(port: int, arguments: Sequence[str]) -> Generator[str]:
    """A simulator in a process of its own, yielding its address; stopped at the end.

    Raises PixverseError if it does not start.
    """
    command = [sys.executable, "-m", "pixverse_dagster.simulator", "--port", str(port), *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603 - our own program, no shell
    try:
        line = process.stdout.readline() if process.stdout else ""
        if not line.startswith(_READY):
            raise PixverseError(f"the simulator did not start on port {port}: is the port taken?")
        yield line.removeprefix(_READY).strip()
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@click.command()
@click.option("--port", type=click.IntRange(0, 65535), required=True, help="Port on 127.0.0.1; 0 picks a free one.")
@simulator_options
@click.option("--key", "keys", multiple=True, metavar="KEY=ACCOUNT", help="A further key and its account; repeatable.")
def simulator(port: int, generation_seconds: float, faults: tuple[str, ...], seed: int, keys: tuple[str, ...]) -> None:
    """The three providers' APIs on this machine: no key, no money, real playable clips.

    The key it accepts is `simulator`; its audit is at /_simulator/tasks. With --key it accepts others too, so that a
    changed key and other accounts can be tried: keys of one account see the same tasks, an account sees no other's.

    While it runs, one provider can be made sick: POST {"provider": "runware", "kind": "hang"} to /_simulator/sick.
    Kinds are hang, slow (the right answer, byte by byte), error (HTTP 500), html (a page for an answer), wrong_ids,
    wrong_types, flood (an answer without an end) and away (the connection is closed); "part" is api, media or all.
    POST {"provider": "runware"} to /_simulator/heal makes it well.
    """
    need_demo_extra()
    arguments = simulator_arguments(generation_seconds, faults, seed)
    arguments += [word for key in keys for word in ("--key", key)]
    command = [sys.executable, "-m", "pixverse_dagster.simulator", "--port", str(port), *arguments]
    os.execv(sys.executable, command)  # noqa: S606 - our own program takes this process's place, and its signals
