"""`simulator`, and the simulator as a child process of other commands."""

import os
import subprocess
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from tempfile import TemporaryFile
from typing import IO, Any

import click

from pixverse_dagster.core.errors import PixverseError

_READY = "simulator ready on "
FAULTS = (
    "submit.rate_limited", "submit.refused_503", "submit.server_error", "submit.lost_response", "poll.dropped",
    "poll.server_error", "poll.unknown_status", "task.stuck", "task.moderated", "task.failed", "media.dropped",
    "media.truncated", "media.corrupt", "media.slow", "media.expired",
)  # fmt: skip
"""The kinds of faults. The simulator shares no code with us, so it has its own list; a test compares the two."""
STOP_SECONDS = 10
SIMULATOR_NEEDS = ("starlette", "uvicorn")


def need_demo_extra(modules: Sequence[str] = SIMULATOR_NEEDS) -> None:
    """Raise PixverseError with what to install, unless these modules of the extra `demo` are there.

    Asked before anything is made, so that a command that cannot work leaves nothing behind.
    """
    absent = [module for module in modules if find_spec(module) is None]
    if absent:
        raise PixverseError(f"{', '.join(absent)} not installed: pip install 'pixverse-dagster[demo]'")


def _check_faults(context: click.Context, option: click.Parameter, given: tuple[str, ...]) -> tuple[str, ...]:
    for text in given:
        kind, equals, rate = text.partition("=")
        if kind.strip() not in FAULTS:
            known = ", ".join(FAULTS)
            raise click.BadParameter(f"there is no fault {kind!r}. Kinds of faults: {known}", context, option)
        try:
            within = 0 <= float(rate) <= 1
        except ValueError:
            within = False
        if not (equals and within):
            raise click.BadParameter(f"{text!r}: write KIND=RATE, with a rate from 0 to 1", context, option)
    return given


def simulator_options(command: Any) -> Any:
    """The options that shape a simulator."""
    for option in (
        click.option("--generation-seconds", type=click.FloatRange(min=0), default=2.0, show_default=True,
                     help="How long a clip takes, give or take 30 %."),
        click.option("--fault", "faults", multiple=True, metavar="KIND=RATE", callback=_check_faults,
                     help=f"A fault and its rate, from 0 to 1; repeatable. Kinds: {', '.join(FAULTS)}."),
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
    """A simulator in a process of its own, yielding its address; stopped at the end, and if this process is killed.

    Ctrl-C does not reach it: what is under way here is answered to the end. Raises PixverseError if it does not start.
    """
    command = [sys.executable, "-m", "pixverse_dagster.simulator", "--port", str(port), "--until-stdin-ends"]
    with TemporaryFile("w+") as errors, _started([*command, *arguments], errors) as process:
        line = process.stdout.readline() if process.stdout else ""
        if not line.startswith(_READY):
            process.wait(STOP_SECONDS)
            errors.seek(0)
            said = errors.read().strip().splitlines() or ["it said nothing"]
            raise PixverseError(f"the simulator did not start on port {port}: {said[-1].rpartition('error: ')[2]}")
        yield line.removeprefix(_READY).strip()


@contextmanager
def _started(command: Sequence[str], errors: IO[str]) -> Generator[subprocess.Popen[str]]:
    process = subprocess.Popen(  # noqa: S603 - our own program, no shell
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, start_new_session=True
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for pipe in filter(None, (process.stdin, process.stdout)):
            pipe.close()


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
