"""Real servers for the tests: started on loopback when a test asks for one, stopped by the process that was started.

Each is a context manager that takes a folder for its files. Ports are picked at run time, so test runs may overlap.
"""

import importlib
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

import httpx
import sqlalchemy as sa

from pixverse_dagster_tests.harness.bodies import DUNE, KITE
from pixverse_dagster_tests.harness.forked import Forked, simulator, start_forked
from pixverse_dagster_tests.harness.images import png

READY_SECONDS = 60.0
STOP_SECONDS = 5.0

ServerName = Literal["postgres", "rgw", "chromium"]
T = TypeVar("T")


class ServerError(Exception):
    """A server did not start. The message carries the tail of its log."""


def missing(server: ServerName) -> str | None:
    """Why this program cannot be started on this machine, or None when it can."""
    if server == "postgres":
        if _postgres_binaries() is None:
            return "PostgreSQL is not installed: apt-get install postgresql"
        return None
    if server == "chromium":
        if shutil.which("chromium") is None:
            install = "apt-get install --no-install-recommends chromium fonts-dejavu-core"
            return f"Chromium is not installed: {install}"
        return None
    programs = ("radosgw", "radosgw-admin", "ceph", "ceph-mon", "ceph-osd", "ceph-authtool", "monmaptool")
    absent = [program for program in programs if shutil.which(program) is None]
    if absent:
        install = "apt-get install --no-install-recommends radosgw ceph-mon ceph-osd"
        return f"the Ceph Object Gateway is not installed ({', '.join(absent)} not found): {install}"
    return None


# --- PostgreSQL


@contextmanager
def postgres(root: Path) -> Generator[str]:
    """A PostgreSQL server of its own; yields the SQLAlchemy URL of its `postgres` database."""
    binaries = _postgres_binaries()
    if binaries is None:
        raise ServerError(missing("postgres"))
    (port,) = free_ports(1)
    log = root / "postgres.log"
    settings = {
        "listen_addresses": "127.0.0.1",
        "port": port,
        "unix_socket_directories": "",
        "fsync": "off",
        "synchronous_commit": "off",
        "full_page_writes": "off",
        "shared_buffers": "32MB",
        "max_connections": 200,
    }
    options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    with _postgres_home(root) as (home, as_owner):
        data = home / "data"
        kind = ("--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync")
        _run([*as_owner, binaries / "initdb", *kind, "-D", data], log, home)
        command = [*as_owner, binaries / "postgres", "-D", data, *options]
        with _process(command, log, stop_signal=signal.SIGQUIT, cwd=home) as server:
            is_ready = [binaries / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)]
            _wait_until(lambda: subprocess.run(is_ready, check=False).returncode == 0, "PostgreSQL", server, log)
            yield f"postgresql+psycopg2://postgres@127.0.0.1:{port}/postgres"


def new_database(url: str, name: str | None = None, template: str = "template1") -> str:
    """Create a database on the server that `url` names, empty or a copy, and return the new database's URL."""
    name = name or f"test_{uuid.uuid4().hex}"
    _administer(url, f"create database {{}} template {template}", name)
    return sa.make_url(url).set(database=name).render_as_string(hide_password=False)


def drop_database(url: str) -> None:
    """Drop the database that `url` names, also from under connections that are still open."""
    parsed = sa.make_url(url)
    _administer(parsed.set(database="postgres"), "drop database {} with (force)", parsed.database or "")


def _administer(url: str | sa.URL, statement: str, database: str) -> None:
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with engine.connect() as connection:
        connection.execute(sa.text(statement.format(engine.dialect.identifier_preparer.quote(database))))


def _postgres_binaries() -> Path | None:
    """Debian keeps a folder per version, off PATH; elsewhere the programs are on PATH."""
    versions = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    if versions:
        return max(versions, key=lambda path: int(path.parent.name))
    found = shutil.which("initdb")
    return Path(found).resolve().parent if found else None


@contextmanager
def _postgres_home(root: Path) -> Generator[tuple[Path, list[str]]]:
    """Where the data lives, and the words that run a command as its owner.

    PostgreSQL refuses to run as root, and pytest's folders are closed to everyone but their owner: as root, the data
    goes to a folder of the postgres user's.
    """
    tied = tied_to_us(signal.SIGQUIT)
    if os.geteuid() != 0:
        yield root, tied
        return
    with tempfile.TemporaryDirectory(prefix="pixverse-postgres-", ignore_cleanup_errors=True) as home:
        shutil.chown(home, "postgres", "postgres")
        # One setpriv does it all: a later change of user would undo the tie.
        yield Path(home), [*tied, "--reuid=postgres", "--regid=postgres", "--clear-groups"]


# --- S3: the Ceph Object Gateway, its objects in memory


@dataclass(frozen=True)
class S3Server:
    endpoint_url: str
    access_key: str
    secret_key: str = field(repr=False)
    region: str = "us-east-1"

    def client(self, **options: Any) -> Any:
        """A boto3 S3 client for this server; close it when done."""
        boto3 = importlib.import_module("boto3")
        connection: dict[str, Any] = {
            "endpoint_url": self.endpoint_url,
            "aws_access_key_id": self.access_key,
            "aws_secret_access_key": self.secret_key,
            "region_name": self.region,
        }
        return boto3.session.Session().client("s3", **(connection | options))


@contextmanager
def rgw(root: Path) -> Generator[S3Server]:
    """A Ceph cluster of one monitor and one in-memory object store, with its S3 gateway in front."""
    reason = missing("rgw")
    if reason is not None:
        raise ServerError(reason)
    home = root / "ceph"
    for folder in ("mon", "osd", "rgw"):
        (home / folder).mkdir(parents=True)
    try:
        with ExitStack() as running:
            yield _start_rgw(home, running)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def new_bucket(server: S3Server) -> str:
    """Create an empty bucket and return its name."""
    bucket = f"test-{uuid.uuid4().hex}"
    client = server.client()
    try:
        client.create_bucket(Bucket=bucket)
    finally:
        client.close()
    return bucket


def delete_bucket(server: S3Server, bucket: str) -> None:
    """Delete a bucket and all in it: the gateway keeps every byte in memory, and hangs when that is full."""
    client = server.client()
    try:
        for page in client.get_paginator("list_multipart_uploads").paginate(Bucket=bucket):
            for upload in page.get("Uploads", []):
                client.abort_multipart_upload(Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"])
        for page in client.get_paginator("list_object_versions").paginate(Bucket=bucket):
            found = page.get("Versions", []) + page.get("DeleteMarkers", [])
            doomed = [{name: version[name] for name in ("Key", "VersionId")} for version in found]
            if doomed:
                client.delete_objects(Bucket=bucket, Delete={"Objects": doomed, "Quiet": True})
        client.delete_bucket(Bucket=bucket)
    finally:
        client.close()


_CEPH_CONF = """\
[global]
fsid = {fsid}
run dir = {home}
keyring = {home}/keyring
log file =
log to stderr = true
admin socket =
pid file =
mon host = {monitors}
mon initial members = a
ms bind ipv6 = false
public addr = 127.0.0.1
cluster addr = 127.0.0.1
auth allow insecure global id reclaim = false
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 1
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
osd max pg per osd hard ratio = 100
osd class load list = *
osd class default list = *
mon allow pool size one = true
mon data avail warn = 1
mon data avail crit = 0
paxos propose interval = 0.05
paxos min wait = 0.01
[mon.a]
mon data = {home}/mon
[osd.0]
osd data = {home}/osd
osd objectstore = memstore
memstore device bytes = 8589934592
[client.rgw.a]
rgw frontends = beast endpoint=127.0.0.1:{port}
rgw data = {home}/rgw
rgw init timeout = 60
rgw gc obj min wait = 1
rgw gc processor period = 2
rgw gc processor max time = 2
debug rgw = 0
debug beast = 0
"""

_CEPH_KEYS = {
    "mon.": ("mon", "allow *"),
    "client.admin": ("mon", "allow *", "osd", "allow *", "mgr", "allow *"),
    "osd.0": ("mon", "allow profile osd", "osd", "allow *"),
    "client.rgw.a": ("mon", "allow *", "osd", "allow *"),
}


def _start_rgw(home: Path, running: ExitStack) -> S3Server:
    port, monitor_v2, monitor_v1 = free_ports(3)
    monitors = f"[v2:127.0.0.1:{monitor_v2},v1:127.0.0.1:{monitor_v1}]"
    fsid, osd_uuid = str(uuid.uuid4()), str(uuid.uuid4())
    server = S3Server(f"http://127.0.0.1:{port}", f"key{secrets.token_hex(8)}", secrets.token_hex(20))
    conf, keyring, monmap, log = home / "ceph.conf", home / "keyring", home / "monmap", home / "setup.log"
    conf.write_text(_CEPH_CONF.format(fsid=fsid, home=home, monitors=monitors, port=port))
    with_conf = ["-c", conf]

    def run(*command: str | Path) -> None:
        _run(command, log, home)

    def start(*command: str | Path) -> tuple[subprocess.Popen[bytes], Path]:
        out = home / f"{command[0]}.out"
        # Killed, never asked to end: an in-memory store that ends politely first writes all its objects to disk.
        words = [*tied_to_us(signal.SIGKILL), *command, *with_conf, "-f"]
        return running.enter_context(_process(words, out, stop_signal=signal.SIGKILL, cwd=home)), out

    run("ceph-authtool", "--create-keyring", keyring)
    for name, capabilities in _CEPH_KEYS.items():
        granted = [word for pair in zip(*[iter(capabilities)] * 2, strict=True) for word in ("--cap", *pair)]
        run("ceph-authtool", keyring, "--gen-key", "-n", name, *granted)
    run("monmaptool", "--create", "--fsid", fsid, "--addv", "a", monitors, monmap)
    run("ceph-mon", *with_conf, "-i", "a", "--mkfs", "--monmap", monmap, "--keyring", keyring)
    start("ceph-mon", "-i", "a")
    run("ceph", *with_conf, "--connect-timeout", "30", "osd", "new", osd_uuid, "0")
    run("ceph-osd", *with_conf, "-i", "0", "--mkfs", "--monmap", monmap, "--osd-uuid", osd_uuid)
    start("ceph-osd", "-i", "0")
    keys = [f"--access-key={server.access_key}", f"--secret-key={server.secret_key}"]
    run("radosgw-admin", *with_conf, "user", "create", "--uid=tests", "--display-name=tests", *keys)
    gateway, out = start("radosgw", "-n", "client.rgw.a")
    _wait_until(lambda: _answers(server.endpoint_url), "the Ceph Object Gateway", gateway, out)
    return server


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False).is_success
    except httpx.TransportError:
        return False


# --- the project's own simulator


@dataclass(frozen=True)
class Simulator:
    """A running simulator, seen through its audit."""

    url: str
    pid: int = 0

    def tasks(self) -> list[dict[str, Any]]:
        return self._get("tasks")

    def console(self, account: str = "simulator") -> list[dict[str, Any]]:
        """What the account's owner sees on the provider's web page, the newest task first."""
        return self._get(f"console?account={account}")

    def requests(self) -> Any:
        return self._get("requests")

    def faults(self) -> dict[str, int]:
        return self._get("faults")

    def reset(self) -> None:
        httpx.post(f"{self.url}/_simulator/reset", trust_env=False).raise_for_status()

    def expire(self, task_id: str, output: int | None = None) -> None:
        """Let the task's results, or one of them, be gone from now on, as after the end of their lifetime."""
        asked = {"task_id": task_id, "output": output}
        done = httpx.post(f"{self.url}/_simulator/expire", json=asked, trust_env=False).raise_for_status().json()
        assert done["expired"], f"the simulator has no task {task_id}"

    def sicken(self, provider: str, kind: str, part: str = "all") -> None:
        """From now on the provider has this in its API (`api`), its result files (`media`), or both (`all`)."""
        self._post("sick", {"provider": provider, "kind": kind, "part": part})

    def heal(self, provider: str) -> None:
        """From now on the provider is well."""
        self._post("heal", {"provider": provider})

    def _post(self, what: str, asked: Mapping[str, str]) -> None:
        httpx.post(f"{self.url}/_simulator/{what}", json=asked, trust_env=False).raise_for_status()

    def _get(self, what: str) -> Any:
        return httpx.get(f"{self.url}/_simulator/{what}", trust_env=False).raise_for_status().json()


class StartSimulator(Protocol):
    def __call__(
        self,
        *,
        generation_seconds: float | None = None,
        seed: int | None = None,
        faults: Mapping[str, float] | None = None,
        keys: Mapping[str, str] | None = None,
        charge_factor: float | None = None,
    ) -> Simulator: ...


@contextmanager
def running_simulator(  # noqa: PLR0913 - each is an option of the program
    root: Path,
    *,
    generation_seconds: float | None = None,
    seed: int | None = None,
    faults: Mapping[str, float] | None = None,
    keys: Mapping[str, str] | None = None,
    link_seconds: float | None = None,
    charge_factor: float | None = None,
    memory: Path | None = None,
) -> Generator[Simulator]:
    """The simulator as a process of its own, as a user would start it. `keys` are further ones: account by key."""
    words = ["--port", "0"]
    if link_seconds is not None:
        words += ["--link-seconds", str(link_seconds)]
    if generation_seconds is not None:
        words += ["--generation-seconds", str(generation_seconds)]
    if seed is not None:
        words += ["--seed", str(seed)]
    if charge_factor is not None:
        words += ["--charge-factor", str(charge_factor)]
    if memory is not None:
        words += ["--memory", str(memory)]
    for kind, rate in (faults or {}).items():
        words += ["--fault", f"{kind}={rate}"]
    for key, account in (keys or {}).items():
        words += ["--key", f"{key}={account}"]
    for link in (KITE, DUNE):
        (picture := root / "elsewhere.png").write_bytes(png(640, 360))
        words += ["--image", f"{link}={picture}"]
    log = root / "simulator.log"
    log.write_text("")
    process = start_forked(simulator, words, os.environ, (log, log), cwd=root)
    with _stopped_after(process, signal.SIGTERM):

        def url() -> re.Match[str] | None:
            return re.search(r"^simulator ready on (http://127\.0\.0\.1:\d+)$", log.read_text(), re.MULTILINE)

        yield Simulator(_wait_until(url, "the simulator", process, log).group(1), process.pid)


# --- processes


@contextmanager
def _process(
    command: Sequence[str | Path], log: Path, *, stop_signal: signal.Signals, cwd: Path | None
) -> Generator[subprocess.Popen[bytes]]:
    """Run a program in a process group of its own, its output in `log`, and stop that group at the end."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=cwd,
            start_new_session=True,
        )
    with _stopped_after(process, stop_signal):
        yield process


@contextmanager
def _stopped_after(process: subprocess.Popen[bytes] | Forked, stop_signal: signal.Signals) -> Generator[None]:
    try:
        yield
    finally:
        if process.poll() is None:
            os.killpg(process.pid, stop_signal)
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def tied_to_us(how: signal.Signals) -> list[str]:
    """Words that make a program end with the test run, also when that is killed; Linux only."""
    return ["setpriv", f"--pdeathsig={how.name.removeprefix('SIG')}"] if shutil.which("setpriv") else []


def _run(command: Sequence[str | Path], log: Path, cwd: Path) -> None:
    """Run one setup step to its end."""
    try:
        with log.open("ab") as output:
            subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=cwd,
                timeout=READY_SECONDS,
                check=True,
            )
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        how = "took too long" if isinstance(error, subprocess.TimeoutExpired) else f"exit code {error.returncode}"
        raise ServerError(f"{command[0]}: {how}\n{_tail(log)}") from None


def _wait_until(
    condition: Callable[[], T | None], what: str, process: subprocess.Popen[bytes] | Forked, log: Path
) -> T:
    """Ask until the answer is true, while the process lives and the time is not up."""
    pause, deadline = threading.Event(), time.monotonic() + READY_SECONDS
    while not (answer := condition()):
        if process.poll() is not None:
            raise ServerError(f"{what} ended with exit code {process.returncode} while it started\n{_tail(log)}")
        if time.monotonic() > deadline:
            raise ServerError(f"{what} was not ready after {READY_SECONDS:.0f} s\n{_tail(log)}")
        pause.wait(0.05)
    return answer


def _tail(log: Path, lines: int = 30) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:]) or f"({log.name} is empty)"


def free_ports(count: int) -> list[int]:
    """Ports nobody listens on, below the range from which the system gives ports to outgoing connections."""
    found: list[int] = []
    for _ in range(1000):
        port = 20_000 + secrets.randbelow(12_000)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in found:
            found.append(port)
        if len(found) == count:
            return found
    raise ServerError("no free port between 20000 and 32000 on 127.0.0.1")
