"""What happens to a home between the kills and the run that goes on: another key, another account, another ledger."""

import json
import shutil
from collections.abc import Callable, Generator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace

import sqlalchemy as sa

from pixverse_dagster_tests.harness.commands import ACCOUNTS, prepare_instance
from pixverse_dagster_tests.harness.crash.chains import Border
from pixverse_dagster_tests.harness.crash.home import PACE, Home
from pixverse_dagster_tests.harness.judge.money import check_ends, check_events, check_money
from pixverse_dagster_tests.harness.judge.records import dagster_events, sqlite_file
from pixverse_dagster_tests.harness.judge.store import check_store
from pixverse_dagster_tests.harness.servers import drop_database, new_database

KEYS = {"rotated": "simulator", "stranger": "stranger"}
"""Keys that the simulators of the crash tests take besides `simulator`: of the same account, and of another one."""
_LOOKS = 14
"""How often the sensor looks with a stranger's key, a second apart: longer than the lease of a submit."""
_ASKED_SECONDS = 5
"""How long rows that may have been pending are asked about before a person is."""


def crossing(home: Home, border: Border, wrong: list[str]) -> AbstractContextManager[Home]:
    """Cross the border: the home that is to be run on. What goes wrong, then or after the run, is added to `wrong`."""
    return _CROSSINGS[border](home, wrong)


def with_key(home: Home, key: str) -> Home:
    """The same home, all of whose accounts have this key."""
    accounts = {provider: {**options, "api_key": key} for provider, options in ACCOUNTS.items()}
    return _with(home, PIXVERSE_ACCOUNTS=json.dumps(accounts))


def _with(home: Home, **variables: str) -> Home:
    return replace(home, environment={**home.environment, **variables})


@contextmanager
def _nothing(home: Home, _: list[str]) -> Generator[Home]:
    yield home


@contextmanager
def _rotated_key(home: Home, _: list[str]) -> Generator[Home]:
    """From now on the accounts have another key, which is their own."""
    yield with_key(home, "rotated")


@contextmanager
def _another_account(home: Home, wrong: list[str]) -> Generator[Home]:
    """The sensor goes on with another account's key, for longer than a task may be missing or under way."""
    short = PACE | {"missing_seconds": 0.5, "task_deadline_seconds": 3, "result_lifetime_seconds": 1}
    before, charged = home.tasks(), len(home.simulator.tasks())
    strange = _with(with_key(home, "stranger"), PIXVERSE_PACE=json.dumps(short))
    ran = strange.run("tick", str(_LOOKS))
    if ran.code or len(home.simulator.tasks()) != charged:
        wrong.append(f"with a stranger's key: exit code {ran.code}, {charged} charges: {ran.log[-1500:]}")
    for row, task in home.tasks().items():
        was, state = before[row]["state"], task["state"]
        if state != was and (was, state) != ("claimed", "unknown"):
            wrong.append(f"with a stranger's key row {row!r} went from {was} to {state}: {task['reason']}")
    yield home


@contextmanager
def _lost_ledger(home: Home, wrong: list[str]) -> Generator[Home]:
    """The ledger is gone; nothing is paid for until it is made again from the store."""
    stored = {row for row, task in home.tasks().items() if task["state"] == "stored"}
    charged = len(home.simulator.tasks())
    _delete_ledger(home)
    home = _with(home, PIXVERSE_PACE=json.dumps(PACE | {"task_deadline_seconds": _ASKED_SECONDS}))
    ran = home.materialize("demo/prompts")
    ran = home.materialize("demo/clips", home.rows())
    found = {row for row, task in home.tasks().items() if task["state"] == "stored"}
    if len(home.simulator.tasks()) != charged:
        wrong.append(f"after the loss of the ledger {len(home.simulator.tasks()) - charged} rows were paid for again")
    if not stored <= found:
        wrong.append(f"rows {sorted(stored - found)} are in the store, and were not found")
    if "ledger rebuild" not in ran.log:
        wrong.append(f"nobody is told to rebuild the ledger: {ran.log[-1500:]}")
    _rebuild(home, wrong)
    yield home


@contextmanager
def _second_deployment(home: Home, wrong: list[str]) -> Generator[Home]:
    """Another ledger, in a Dagster home of its own, comes to the same table, store and accounts."""
    second = _beside(home)
    charged = len(home.simulator.tasks())
    second.materialize("demo/prompts")
    ran = second.materialize("demo/clips", second.rows())
    if "ledger rebuild" not in ran.log:
        wrong.append(f"nobody is told of the other ledger: {ran.log[-1500:]}")
    _rebuild(second, wrong, "--beside")
    if len(home.simulator.tasks()) != charged:
        wrong.append(f"beside the first ledger {len(home.simulator.tasks()) - charged} rows were paid for again")
    yield home
    charged = len(home.simulator.tasks())
    ran = second.materialize("demo/clips", second.rows())
    if ran.code or len(home.simulator.tasks()) != charged:
        wrong.append(f"the second ledger did not find the clips: {ran.code}: {ran.log[-1500:]}")
    books, audit = [one.places.books() for one in (home, second)], home.simulator.tasks()
    wrong += [*check_money(audit, books), *check_store(audit, home.places.files, "demo")]
    wrong += [f"beside: {one}" for one in check_ends(audit, books[1].tasks, home.places.files)]
    wrong += [f"beside: {one}" for one in check_events(audit, books[1].newest(), second.places.clip_events())]
    if sum(task["state"] == "stored" for task in books[1].tasks) != len(home.rows()):
        wrong.append(f"the second ledger has not all clips: {[(t['row'], t['state']) for t in books[1].tasks]}")


def _rebuild(home: Home, wrong: list[str], *options: str) -> None:
    ran = home.run("pixverse-dagster", "ledger", "rebuild", *options, "--home", str(home.folder))
    if ran.code:
        wrong.append(f"ledger rebuild ended with {ran.code}: {ran.log[-1500:]}")


def _delete_ledger(home: Home) -> None:
    url = sa.make_url(home.places.ledger_url)
    if url.get_backend_name() == "sqlite":
        shutil.rmtree(home.folder / "storage" / "pixverse")
        return
    drop_database(home.places.ledger_url)
    new_database(url.set(database="postgres").render_as_string(hide_password=False), url.database)


def _beside(home: Home) -> Home:
    """A Dagster home with a ledger of its own, for the same table, store and simulator."""
    folder = home.folder / "beside"
    (folder / "tmp").mkdir(parents=True)
    prepare_instance(folder, "telemetry:\n  enabled: false\n")
    own = {"DAGSTER_HOME": str(folder), "TMPDIR": str(folder / "tmp")}
    if "PIXVERSE_S3_BUCKET" not in home.environment:
        own["PIXVERSE_CLIPS_DIR"] = str(home.folder / "clips")
    environment = {name: value for name, value in home.environment.items() if name != "PIXVERSE_LEDGER_URL"} | own
    ledger_url = sqlite_file(folder / "storage" / "pixverse" / "ledger.db")
    places = replace(home.places, ledger_url=ledger_url, dagster_url=dagster_events(folder))
    return replace(home, folder=folder, environment=environment, places=places)


_CROSSINGS: Mapping[Border, Callable[[Home, list[str]], AbstractContextManager[Home]]] = {
    "": _nothing,
    "rotated key": _rotated_key,
    "another account": _another_account,
    "lost ledger": _lost_ledger,
    "second deployment": _second_deployment,
}
