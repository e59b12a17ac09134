"""Work in processes of its own, forked from a server that has done the imports: nine tenths of what a process costs.

The server is this module run as a program. It is no part of the test run's session, so Ctrl-C does not reach it; it
ends with the socket to the process that started it, however that died, and takes every process with it that it made.
"""

import atexit
import ctypes
import gc
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from io import TextIOWrapper
from multiprocessing import connection as connections
from multiprocessing import forkserver, popen_forkserver
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any, TypeVar, cast

T = TypeVar("T")
J = TypeVar("J")

# All but what reads the environment when it is imported: that is each process's own.
OF_A_RUN = (
    "antlr4.LL1Analyzer",
    "av.subtitles.stream",
    "dagster._cli",
    "dagster._core.definitions.antlr_asset_selection.antlr_asset_selection",
    "dagster._core.definitions.external_asset",
    "dagster._core.definitions.repository_definition.repository_data_builder",
    "dagster._core.execution.plan.active",
    "dagster._core.executor.in_process",
    "dagster._core.instance.factory",
    "dagster._core.instance.runs.run_domain",
    "dagster._core.storage.sqlite_storage",
    "dagster._core.system_config.composite_descent",
    "dagster._core.utility_ops",
    "dagster._core.workspace.autodiscovery",
    "encodings.idna",
    "encodings.utf_8_sig",
    "pixverse_dagster.media.inspect",
    "pixverse_dagster.orchestration.factory",
    "pixverse_dagster.orchestration.io_managers.local",
    "pixverse_dagster.orchestration.io_managers.stores",
    "pydantic._internal._dataclasses",
    "upath.implementations.local",
)
"""What every run imports."""
UNPREPARED = "PIXVERSE_TEST_UNPREPARED"
"""Where this variable is set, the server imports nothing beforehand: for who forks once or twice."""
PRELOADED = (
    *OF_A_RUN,
    "dagster._daemon.cli",
    "dagster._utils.test.definitions",
    "dagster_aws.s3",
    "dagster_postgres",
    "pixverse_dagster.cli",
    "pixverse_dagster.orchestration.io_managers.s3",
    "pixverse_dagster.simulator.__main__",
    "psycopg2",
    "pytest",
    "pixverse_dagster_tests.harness.crash.killpoints",
)
FORKS_RUNS = "forks-runs"
"""The system's name for the process that a code server's runs are forked from, and for theirs."""
_PR_SET_PDEATHSIG, _PR_SET_NAME = 1, 15
_WORD = struct.Struct("i")
_ANSWER_SECONDS = 240.0


class RunHung(Exception):
    """A command did not end in time. It was killed; the message has the end of what it printed."""


@dataclass(frozen=True)
class Ran:
    """A command that has ended: its exit code, negative where a signal ended it, and what it printed."""

    code: int
    output: str
    errors: str

    @property
    def log(self) -> str:
        """All that it printed."""
        return self.output + self.errors


def dagster() -> None:
    """The program `dagster`."""
    from dagster._cli import main  # noqa: PLC0415 - preloaded

    main()


def code_server() -> None:
    """The program `dagster` as a code server; each of its runs is forked from what it is now."""
    fork_what_is_spawned()
    dagster()


def daemon() -> None:
    """The program `dagster-daemon`."""
    from dagster._daemon.cli import main  # noqa: PLC0415 - preloaded

    main()


def pixverse_dagster() -> None:
    """The program `pixverse-dagster`."""
    from pixverse_dagster.cli import main  # noqa: PLC0415 - preloaded

    main()


def dg() -> None:
    """The program `dg`."""
    from dagster_dg_cli.cli import main  # noqa: PLC0415 - few tests need it

    main()


def pytest() -> None:
    """The program `pytest`."""
    from pytest import console_main  # noqa: PLC0415, PT013 - preloaded; the name is the program's

    sys.exit(console_main())


def simulator() -> None:
    """The program `python -m pixverse_dagster.simulator`."""
    from pixverse_dagster.simulator.__main__ import main  # noqa: PLC0415 - preloaded

    main()


class Forked:
    """A process that was forked for us, in a session of its own: as `subprocess.Popen` is to a program."""

    def __init__(self, pid: int, connection: Connection, output: Path = Path(os.devnull)) -> None:
        self.pid = pid
        self.output = output
        self.returncode: int | None = None
        self._connection = connection

    def poll(self) -> int | None:
        """Its exit code, once it has ended."""
        return self._ended(0)

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code; if it does not end in time, `subprocess.TimeoutExpired`."""
        code = self._ended(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0)
        return code

    def send_signal(self, how: int) -> None:
        """A signal to this process, if it has not ended."""
        if self.poll() is None:
            os.kill(self.pid, how)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL, to it alone."""
        self.send_signal(signal.SIGKILL)

    def send(self, word: object) -> None:
        """Say something to the work in it."""
        self._connection.send(word)

    def receive(self) -> Any:
        """What the work in it says; it must not end before, nor be silent for long."""
        if not self._connection.poll(_ANSWER_SECONDS):
            raise RunHung(f"process {self.pid} said nothing for {_ANSWER_SECONDS} s")
        said = self._connection.recv()
        if isinstance(said, int):
            self.returncode = said
            raise EOFError(  # noqa: TRY004 - not a caller's mistake
                f"process {self.pid} ended with {said} and had nothing to say"
            )
        return said

    def _ended(self, timeout: float | None) -> int | None:
        if self.returncode is None and self._connection.poll(timeout):
            self.returncode = self._connection.recv()
            self._connection.close()
        return self.returncode


def start_forked(
    program: Callable[[], None],
    arguments: Sequence[str],
    environment: Mapping[str, str],
    printed: tuple[Path, Path],
    *,
    cwd: Path,
) -> Forked:
    """Start a program with nothing but this environment; what it prints is added to these two files."""
    return _fork(partial(_run, program, arguments, dict(environment), printed, cwd), printed[0])


def run_forked(
    program: Callable[[], None],
    arguments: Sequence[str],
    environment: Mapping[str, str],
    files: Path,
    *,
    cwd: Path,
    timeout_seconds: float,
) -> Ran:
    """Run a program to its end, with nothing but this environment.

    What it prints is kept beside `files`, with the suffixes `.out` and `.err`.
    """
    output, errors = (files.with_name(f"{files.name}.{end}") for end in ("out", "err"))
    process = start_forked(program, arguments, environment, (output, errors), cwd=cwd)
    hung = False
    try:
        code = process.wait(timeout_seconds)
    except subprocess.TimeoutExpired:
        hung = True
        os.killpg(process.pid, signal.SIGKILL)
        code = process.wait()
    printed, complained = (path.read_text(errors="replace") if path.exists() else "" for path in (output, errors))
    if hung:
        words = " ".join(arguments)
        raise RunHung(f"{words} was not done after {timeout_seconds} s: {printed[-2000:]}{complained[-2000:]}")
    return Ran(code, printed, complained)


def call_together(work: Callable[[J], T], jobs: Sequence[J]) -> list[T]:
    """Call `work(job)` in as many processes as there are jobs; all begin at the same moment."""
    processes = [_fork(partial(_answer, work, job)) for job in jobs]
    for process in processes:
        process.receive()  # it is ready
    for process in processes:
        process.send(None)
    answers = [process.receive() for process in processes]
    for process in processes:
        process.wait()
    for _, error in answers:
        if error is not None:
            raise error
    return [answer for answer, _ in answers]


def end_with_us(group: int) -> None:
    """Have every process of a group killed when this process is gone, however it went."""
    with _lock:
        _server().sendall(_WORD.pack(group))


# --- in the process that asks

_lock = threading.Lock()
_started: list[socket.socket] = []


def _server() -> socket.socket:
    """The socket to the server, which is started when it is first asked for."""
    if not _started:
        ours, theirs = socket.socketpair()
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", __name__, str(theirs.fileno())],
                # It finds what we find: the tests may be in no place that an interpreter knows by itself.
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
            )

        def end() -> None:
            ours.close()
            process.wait()

        atexit.register(end)
        _started.append(ours)
    return _started[0]


def _fork(job: Callable[[Connection], None], output: Path = Path(os.devnull)) -> Forked:
    """A new process that does this with its end of a connection."""
    ours, theirs = socket.socketpair()
    with theirs, _lock:
        socket.send_fds(_server(), [_WORD.pack(0)], [theirs.fileno()])
    connection = Connection(ours.detach())
    pid = connection.recv()
    connection.send(job)
    return Forked(pid, connection, output)


# --- in the server


def _serve(control: socket.socket) -> Connection | None:
    """Fork when asked to, and say how each child ended; returns in a child, and when nobody can ask any more."""
    woken, wakes = socket.socketpair()
    wakes.settimeout(0)
    signal.set_wakeup_fd(wakes.fileno(), warn_on_full_buffer=False)
    # Anything but the default, or the system would not wake us.
    signal.signal(signal.SIGCHLD, _do_nothing)
    children: dict[int, Connection] = {}
    groups: set[int] = set()
    while True:
        ready, _, _ = select.select([control, woken], [], [])
        if woken in ready:
            woken.recv(4096)
            _report_ended(children)
            groups = set(filter(_lives, groups))
        if control not in ready:
            continue
        word, passed, _, _ = socket.recv_fds(control, _WORD.size, 1)
        if not word:
            break
        (group,) = _WORD.unpack(word)
        if not passed:
            groups.add(group)
            continue
        connection = Connection(passed[0])
        if pid := os.fork():
            children[pid] = connection
            groups.add(pid)
            continue
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for ours in (control, woken, wakes, *children.values()):
            ours.close()
        return connection
    for group in groups:
        with suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)
    return None


def _do_nothing(*_: object) -> None:
    pass


def _report_ended(children: dict[int, Connection]) -> None:
    while children:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            break
        with children.pop(pid) as connection, suppress(OSError):
            connection.send(os.waitstatus_to_exitcode(status))


def _lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


# --- in a process that was forked


def fork_what_is_spawned() -> None:
    """Have multiprocessing fork what it would spawn, from a process that is as this one is now, without its threads.

    It is the standard library's own fork server, which would else begin with an interpreter that knows nothing.
    """
    # Linux finds a name that is no path: those of tests' folders are longer than a socket's may be.
    address: str = "" if sys.platform == "linux" else cast("Any", connections).arbitrary_address("AF_UNIX")
    alive, keeps_alive = os.pipe()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen()
        address = listener.getsockname()
        if not (pid := os.fork()):
            os.close(keeps_alive)
            name_process(FORKS_RUNS)
            forkserver.main(listener.detach(), alive, ())
    os.close(alive)
    server = cast("Any", forkserver.ensure_running).__self__
    server._forkserver_address, server._forkserver_alive_fd, server._forkserver_pid = address, keeps_alive, pid  # noqa: SLF001 - it has no other way in
    cast("Any", SpawnProcess)._Popen = staticmethod(popen_forkserver.Popen)  # noqa: SLF001 - nothing else chooses


def name_process(name: str) -> None:
    """Have the system know this process, and those that are forked from it, by this name; Linux only."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_NAME, name.encode())


def _run(
    program: Callable[[], None],
    arguments: Sequence[str],
    environment: dict[str, str],
    printed: tuple[Path, Path],
    cwd: Path,
    _: Connection,
) -> None:
    """Be this program."""
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    # The interpreter read this when the server started.
    sys.path[:0] = filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))
    for number, path in enumerate(printed, start=1):
        file = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        os.dup2(file, number)
        os.close(file)
    if encoding := environment.get("PYTHONIOENCODING"):  # this, too
        cast("TextIOWrapper", sys.stdout).reconfigure(encoding=encoding, errors="strict")
        cast("TextIOWrapper", sys.stderr).reconfigure(encoding=encoding)
    # Else click takes this for `python -m`, and says so in its help.
    sys.modules["__main__"].__package__ = None
    sys.argv = [program.__name__.replace("_", "-"), *arguments]
    program()


def _answer(work: Callable[[J], T], job: J, connection: Connection) -> None:
    """Answer with what the work comes to, or how it failed."""
    connection.send(None)
    connection.recv()
    try:
        answer: tuple[T | None, Exception | None] = work(job), None
    except Exception as error:  # noqa: BLE001 - raised again by who asked
        error.add_note(traceback.format_exc())
        answer = None, error
    connection.send(answer)


def main() -> None:
    """Be the server, and then every process that it forks."""
    if UNPREPARED not in os.environ:
        for name in PRELOADED:
            import_module(name)
        from pixverse_dagster_tests.harness.migrations import read_migrations_once  # noqa: PLC0415 - Dagster is in it

        read_migrations_once()
    # What is here now is never collected: a process that took it all down would need a second to end.
    gc.freeze()
    server = os.getpid()
    connection = _serve(socket.socket(fileno=int(sys.argv[1])))
    if connection is None:
        return
    os.setsid()
    # A shell has what it starts in the background ignore this.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != server:
        return
    connection.send(os.getpid())
    connection.recv()(connection)


if __name__ == "__main__":
    main()
