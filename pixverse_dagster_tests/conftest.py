"""Fixtures that every test module may ask for. A server starts once per run, when the first test needs it.

What a fixture needs it imports itself: collecting the pure tests loads neither Dagster nor a server's helpers.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

# The tests are a package of their own that no wheel has, and import each other by name. An editable install has put
# this root on sys.path; where the package under test is an installed wheel, nobody has. Last, so that the tree's own
# pixverse_dagster does not stand before the installed one. (`python -m pytest` puts the current folder first, and so
# tests the tree.)
ROOT = Path(__file__).parents[1]
if str(ROOT) not in sys.path:
    sys.path.append(str(ROOT))

import pixverse_dagster

if TYPE_CHECKING:
    import sqlalchemy as sa

    from pixverse_dagster.ledger.ledger import Ledger
    from pixverse_dagster_tests.harness.commands import Home
    from pixverse_dagster_tests.harness.fixtures import Tell
    from pixverse_dagster_tests.harness.servers import S3Server, Simulator, StartSimulator

TESTS = Path(__file__).parent
# What the environment must not lend to a test: accounts, keys, other installations, proxies.
_FOREIGN = re.compile(r"AWS_.*|.*_API_KEY|PIXVERSE_.*|PG[A-Z]+|DAGSTER_HOME|(HTTP|HTTPS|ALL|NO)_PROXY", re.IGNORECASE)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="more rows, where CI takes fewer")
    parser.addoption("--cover", action="store_true", help="also what CI has no time for at every change")


def pytest_configure(config: pytest.Config) -> None:
    """Modules read it when they are collected."""
    if config.getoption("--full"):
        os.environ["PIXVERSE_TEST_FULL"] = "1"
    if config.getoption("--cover"):
        os.environ["PIXVERSE_TEST_COVER"] = "1"


def pytest_report_header() -> str:
    """Which package is tested: the tree's or an installed one."""
    return f"pixverse_dagster: {Path(pixverse_dagster.__file__).parent}"


@pytest.fixture
def tell(record_property: Callable[[str, object], None]) -> Tell:
    """A function that has figures printed below the summary of the whole run."""
    return lambda what, figures: record_property(f"figures of {what}", str(figures))


def pytest_itemcollected(item: pytest.Item) -> None:
    """The folder that a test stands in is its marker."""
    item.add_marker(item.path.relative_to(TESTS).parts[0])


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The long tests first, some for each worker, so that none is left alone with one at the end.

    What is marked `cover` is left out, unless it was asked for, by `--cover` or `--full` or by the name of its file.
    """
    from pixverse_dagster_tests.harness.counts import COVER

    if not (COVER or any(".py" in word for word in config.args)):
        config.hook.pytest_deselected(items=[item for item in items if item.get_closest_marker("cover")])
        items[:] = [item for item in items if not item.get_closest_marker("cover")]
    workers = int(getattr(config, "workerinput", {}).get("workercount", 1))
    long = [item for item in items if item.get_closest_marker("timeout") or item.get_closest_marker("end_to_end")]
    first = set(long)
    short = [item for item in items if item not in first]
    share = -(-len(short) // workers)
    # xdist gives each worker a stretch of the list, and lets those who are done take from the ends of the others.
    items[:] = [item for n in range(workers) for item in (*long[n::workers], *short[n * share : (n + 1) * share])]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what the tests measured, whether they passed or not."""
    reports = [report for reports in terminalreporter.stats.values() for report in reports]
    told = {pair for report in reports for pair in getattr(report, "user_properties", ())}
    for what, figures in sorted(told):
        terminalreporter.write_line(f"{what}: {figures}")


@pytest.fixture(scope="session", autouse=True)
def clean_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in filter(_FOREIGN.fullmatch, list(os.environ)):
            patch.delenv(name)
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        patch.setenv("AWS_CONFIG_FILE", os.devnull)
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
        patch.setenv("DAGSTER_DISABLE_TELEMETRY", "1")
        if Path(pixverse_dagster.__file__).parents[1] != ROOT:
            # An installed wheel is tested, and children must use it too: `-m` must not find the tree's package in the
            # current folder, and the tests come from a folder with nothing else in it, for PYTHONPATH goes first.
            alone = tmp_path_factory.mktemp("tests")
            (alone / "pixverse_dagster_tests").symlink_to(ROOT / "pixverse_dagster_tests")
            patch.setenv("PYTHONSAFEPATH", "1")
            patch.setenv("PYTHONPATH", str(alone), prepend=os.pathsep)
        yield


@pytest.fixture(scope="session")
def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    from pixverse_dagster_tests.harness.fixtures import require
    from pixverse_dagster_tests.harness.servers import postgres

    require("postgres")
    with postgres(tmp_path_factory.mktemp("postgres")) as url:
        yield url


@pytest.fixture(autouse=True)
def known_secrets() -> Iterator[None]:
    """What a test gave the process as a secret is forgotten with it: it may be an ordinary word of the next."""
    from pixverse_dagster.core import secrets

    before = {name: dict(getattr(secrets, name)) for name in ("_keys", "_parts", "_forms", "_lengths")}
    derived = {name: getattr(secrets, name) for name in ("_sorted", "_short", "_anchors")}
    yield
    for name, known in before.items():
        getattr(secrets, name).clear()
        getattr(secrets, name).update(known)
    for name, value in derived.items():
        setattr(secrets, name, value)


@pytest.fixture
def postgres_database(postgres_url: str) -> Iterator[str]:
    """The URL of an empty database of the test's own."""
    from pixverse_dagster_tests.harness.servers import drop_database, new_database

    url = new_database(postgres_url)
    yield url
    drop_database(url)


@pytest.fixture(scope="session")
def ledger_template(postgres_url: str) -> str:
    """The name of a database that is a new ledger: to copy it is cheaper than to bring an empty one up to date."""
    from pixverse_dagster.ledger.engine import open_engine
    from pixverse_dagster_tests.harness.servers import new_database

    name = "ledger_template"
    open_engine(new_database(postgres_url, name)).dispose()
    return name


@pytest.fixture
def postgres_ledger(postgres_url: str, ledger_template: str) -> Iterator[str]:
    """The URL of a database of the test's own that is a new ledger already; all have the same `ledger_id`."""
    from pixverse_dagster_tests.harness.servers import drop_database, new_database

    url = new_database(postgres_url, template=ledger_template)
    yield url
    drop_database(url)


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    from pixverse_dagster_tests.harness.fixtures import require
    from pixverse_dagster_tests.harness.servers import rgw

    require("rgw")
    with rgw(tmp_path_factory.mktemp("rgw")) as server:
        yield server


@pytest.fixture
def s3_bucket(s3_server: S3Server) -> Iterator[tuple[S3Server, str]]:
    """The server, and an empty bucket of the test's own."""
    from pixverse_dagster_tests.harness.servers import delete_bucket, new_bucket

    bucket = new_bucket(s3_server)
    yield s3_server, bucket
    delete_bucket(s3_server, bucket)


@pytest.fixture(scope="module")
def shared_bucket(s3_server: S3Server) -> Iterator[tuple[Any, str]]:
    """A client, and a bucket in which each test of a module has a prefix of its own: making buckets is slow."""
    from pixverse_dagster_tests.harness.buckets import s3_client
    from pixverse_dagster_tests.harness.servers import delete_bucket, new_bucket

    client, bucket = s3_client(s3_server), new_bucket(s3_server)
    yield client, bucket
    client.close()
    delete_bucket(s3_server, bucket)


@pytest.fixture(scope="module")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    from pixverse_dagster_tests.harness.servers import running_simulator

    with running_simulator(tmp_path_factory.mktemp("simulator"), generation_seconds=0) as server:
        yield server


@pytest.fixture
def server(shared_server: Simulator) -> Simulator:
    """A simulator without faults whose clips are ready at once, as freshly started."""
    shared_server.reset()
    return shared_server


@pytest.fixture
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartSimulator]:
    """A function that starts a simulator; a test may start several, and all stop with it."""
    from pixverse_dagster_tests.harness.servers import running_simulator

    with ExitStack() as running:

        def start(
            *,
            generation_seconds: float | None = None,
            seed: int | None = None,
            faults: Mapping[str, float] | None = None,
            keys: Mapping[str, str] | None = None,
            charge_factor: float | None = None,
        ) -> Simulator:
            root = tmp_path_factory.mktemp("simulator")
            started = running_simulator(
                root,
                generation_seconds=generation_seconds,
                seed=seed,
                faults=faults,
                keys=keys,
                charge_factor=charge_factor,
            )
            return running.enter_context(started)

        yield start


@pytest.fixture
def project(tmp_path: Path, simulator: StartSimulator) -> Callable[..., Home]:
    """A function that makes a Dagster home, a table and a simulator, and the environment that joins them."""
    from pixverse_dagster_tests.harness.commands import make_home

    def make(table: Path, **options: Any) -> Home:
        return make_home(tmp_path / "home", table, simulator(**options))

    return make


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A new ledger's URL, on each database."""
    from pixverse_dagster_tests.harness.ledgers import ledger_in

    if request.param == "sqlite":
        return ledger_in(tmp_path)
    return request.getfixturevalue("postgres_ledger")


@pytest.fixture
def engine(ledger_url: str) -> Iterator[sa.Engine]:
    """The connections of a new ledger, on each database. A module with one of its own gets its `ledger` by that."""
    from pixverse_dagster.ledger.engine import open_engine

    engine = open_engine(ledger_url)
    yield engine
    engine.dispose()


@pytest.fixture
def ledger(engine: sa.Engine) -> Ledger:
    """A new ledger, on each database."""
    from pixverse_dagster.ledger.ledger import Ledger

    return Ledger(engine)
