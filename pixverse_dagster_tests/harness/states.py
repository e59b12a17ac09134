"""A Dagster home whose rows are in every state, made by faults: `python -m pixverse_dagster_tests.harness.states HOME`.

Two hundred rows of four campaigns at five models, in real Dagster runs against the simulator, whose faults change from
one group of rows to the next. The simulator's memory stays in the home: `pixverse-dagster dev --home HOME` goes on with
the same tasks. Takes about a minute.
"""

import csv
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import click
import dagster as dg
import httpx
from click.testing import CliRunner

from pixverse_dagster.cli import cli
from pixverse_dagster.cli.homes import MEMORY_FILE, prepare_home
from pixverse_dagster.cli.simulator import running_simulator
from pixverse_dagster.core.lifecycle import TaskState
from pixverse_dagster.ledger.ledger import Ledger
from pixverse_dagster.orchestration.play import Player, find_pipelines
from pixverse_dagster.reports.status import Status, read_status
from pixverse_dagster_tests.harness.servers import Simulator

NAME = "demo"
HIGHWAY, C1, RUNWARE, PIXWITH = (
    "highway/pixverse-v6-i2v",
    "highway/pixverse-c1-reference-to-video",
    "runware/pixverse-v4.5",
    "pixwith/pixverse-v5",
)
MIXED = ("highway/pixverse-v4.5-i2v", HIGHWAY, C1, RUNWARE, PIXWITH)
CAMPAIGNS = ("spring", "launch", "retro", "loop")
GROUPS: dict[str, tuple[int, tuple[str, ...]]] = {
    "usual": (80, MIXED),
    "expired": (4, (RUNWARE, PIXWITH)),
    "stalled": (4, (HIGHWAY, PIXWITH)),
    "withheld": (3, (RUNWARE,)),
    "lost answer": (9, (HIGHWAY, PIXWITH)),
    "asked about": (3, (RUNWARE,)),
    "claimed": (1, (HIGHWAY,)),
    "rendering": (26, (HIGHWAY, C1, RUNWARE)),
    "abandoned": (3, (HIGHWAY,)),
    "ready": (8, (RUNWARE, PIXWITH)),
    "no slot": (9, (PIXWITH,)),
    "asked to wait": (4, (HIGHWAY,)),
    "wrong key": (4, (RUNWARE,)),
    "over budget": (6, (RUNWARE,)),
    "new": (28, MIXED),
    "invalid": (8, MIXED),
}
"""How many rows there are of each kind, and their models."""
_PACE: dict[str, float] = {
    "first_poll_seconds": 0.2, "max_poll_seconds": 0.5, "collect_after_seconds": 0, "collect_retry_seconds": 0.5,
    "claim_lease_seconds": 5, "replay_window_seconds": 600, "record_seconds": 1, "offer_seconds": 1,
    "collect_lease_seconds": 1, "result_lifetime_seconds": 2,
}  # fmt: skip
_TICK = threading.Event()
_SHORT_DEADLINE = {"task_deadline_seconds": 6.0, "missing_seconds": 6.0}
_TIMEOUTS = {name: {"submit_timeout_seconds": 4} for name in ("highway", "runware", "pixwith")}


class Stage:
    """The home, its simulator, and its pipeline as it is configured at each moment."""

    def __init__(self, home: Path, simulator: Simulator) -> None:
        self.home = home
        self.simulator = simulator
        self.table = home / "prompts.csv"
        self._instance = dg.DagsterInstance.get()
        # Not before the home is that of this process: on import, the module says where the clips are.
        self._build = import_module("pixverse_dagster.definitions").build

    @contextmanager
    def configured(self, faults: dict[str, float] | None = None, **settings: Any) -> Generator[Player]:
        """The pipeline with these settings, at a simulator with these faults and no others."""
        seconds = settings.pop("generation_seconds", 0.2)
        self._change({"faults": faults or {}, "generation_seconds": seconds})
        given = {"pace": _PACE, "accounts": _TIMEOUTS} | settings
        for name in ("pace", "accounts", "budget", "checks"):
            os.environ[f"PIXVERSE_{name.upper()}"] = json.dumps(given[name]) if name in given else ""
        yield Player(self._build(), self._instance)

    def _change(self, settings: dict[str, Any]) -> None:
        httpx.post(f"{self.simulator.url}/_simulator/settings", json=settings, trust_env=False).raise_for_status()

    @contextmanager
    def ledger(self) -> Generator[Ledger]:
        """The ledger, whatever the settings are."""
        player = Player(self._build(), self._instance)
        with player.open(find_pipelines(player.definitions)[0]) as session:
            yield session.ledger

    def rows_of(self, group: str) -> list[str]:
        """The ids of a group's rows."""
        with self.table.open(newline="") as file:
            return [row["id"] for row in csv.DictReader(file) if row["group"] == group]

    def poll(self, player: Player, seconds: float, *, collect: bool = True) -> None:
        """Look and collect until nothing of it moves any more, for so long at most; or look only."""
        until, before = time.monotonic() + seconds, None
        still = 0
        while time.monotonic() < until and still < 4:
            asked = player.tick(f"{NAME}_poll")
            for request in asked if collect else ():
                player.run(request)
            with self.ledger() as ledger:
                now = dict(ledger.tasks.counts(NAME))
            still = still + 1 if now == before and not (asked and collect) else 0
            before = now
            _TICK.wait(0.4)

    def command(self, *words: str) -> None:
        """A command of a person's; raises RuntimeError if it fails."""
        ran = CliRunner().invoke(cli, [*words, "--home", str(self.home)])
        if ran.exit_code:
            raise RuntimeError(f"{' '.join(words)}: {ran.output}")


def write_table(path: Path, *, changed: Sequence[str] = ()) -> None:
    """The rows, group by group; those that are named have other words than before."""
    names = ["id", "model", "prompt", "image", "references", "resolution", "campaign", "language", "group"]
    number = 0
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, names, restval="")
        writer.writeheader()
        for group, (count, models) in GROUPS.items():
            for n in range(count):
                number += 1
                campaign, model = CAMPAIGNS[number % 4], models[n % len(models)]
                row = {"id": f"{campaign}-{number:03}", "model": model, "resolution": "360p", "campaign": campaign,
                       "language": ("de", "en", "ja")[number % 3], "group": group,
                       "prompt": f"@cat looks up, scene {number}"}  # fmt: skip
                if model == C1:
                    row["references"] = json.dumps([{"type": "subject", "name": "cat", "image": "chelsea.png"}])
                elif model.startswith("highway"):
                    row["image"] = ("coffee.png", "rocket.jpg", "astronaut.png")[number % 3]
                if group == "invalid":
                    row |= [{"resolution": "9000p"}, {"model": "runware/pixverse-v9"}, {"prompt": ""},
                            {"image": "no-such.png", "model": HIGHWAY, "references": ""}][n % 4]  # fmt: skip
                if row["id"] in changed:
                    row["prompt"] += ", at night"
                writer.writerow(row)


def make_states(stage: Stage) -> None:
    """Bring each group into its state, one after the other: a fault of one is over before the next begins."""
    write_table(stage.table)
    with stage.configured() as player:
        player.read(NAME)
    faults = {"task.failed": 0.1, "task.moderated": 0.08, "task.stuck": 0.06, "media.truncated": 0.1}
    with stage.configured(faults, pace=_PACE | _SHORT_DEADLINE) as player:
        player.submit(NAME, stage.rows_of("usual"))
        stage.poll(player, 60)
    _make_bad_results(stage)
    _make_unknown(stage)
    _make_under_way(stage)
    _make_waiting(stage)
    with stage.ledger() as ledger:
        stored = sorted(task.row for task in ledger.tasks.find(NAME, [TaskState.STORED]))
    for row in stored[:2]:
        stage.command("clips", "forget", row, "--yes")
    for row in stored[2:4]:
        stage.command("tasks", "retry", row, "--take")
    write_table(stage.table, changed=stored[4:10])
    with stage.configured() as player:
        player.read(NAME)


def _make_bad_results(stage: Stage) -> None:
    """Results that expire, that cannot be fetched, and that a check does not let pass."""
    with stage.configured() as player:
        player.submit(NAME, stage.rows_of("expired"))
        stage.poll(player, 20, collect=False)
        with stage.ledger() as ledger:
            for task in ledger.tasks.find(NAME, [TaskState.SUCCEEDED]):
                stage.simulator.expire(str(task.task_id))
        stage.poll(player, 20)
        for provider in ("highway", "pixwith"):
            stage.simulator.sicken(provider, "error", "media")
        player.submit(NAME, stage.rows_of("stalled"))
        stage.poll(player, 15)
        for provider in ("highway", "pixwith"):
            stage.simulator.heal(provider)
    with stage.configured(checks={"blocking": True, "min_contrast": 256}) as player:
        player.submit(NAME, stage.rows_of("withheld"))
        stage.poll(player, 15)


def _make_unknown(stage: Stage) -> None:
    """A submit whose process is killed, and submits without an answer, at providers that can tell and at others."""
    with stage.configured(pace=_PACE | {"claim_lease_seconds": 3600, "replay_window_seconds": 7200}):
        stage.simulator.sicken("highway", "hang", "api")
        _kill_in_submit(stage, stage.rows_of("claimed"))
        stage.simulator.heal("highway")
    with stage.configured({"submit.lost_response": 1}) as player:
        player.submit(NAME, [*stage.rows_of("lost answer"), *stage.rows_of("asked about")])


def _kill_in_submit(stage: Stage, rows: Sequence[str]) -> None:
    """Submit in a process that is killed as soon as it has claimed."""
    config = stage.home / "submit.json"
    config.write_text(json.dumps({"ops": {f"{NAME}_submit_rows": {"config": {"rows": rows}}}}))
    words = ["job", "execute", "-m", "pixverse_dagster.definitions", "-j", f"{NAME}_submit", "-c", str(config)]
    with (stage.home / "submit.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "dagster", *words], stdout=log, stderr=log, start_new_session=True
        )
    while not _claimed(stage, rows):
        if process.poll() is not None:
            raise RuntimeError(f"nothing was claimed: {(stage.home / 'submit.log').read_text()[-2000:]}")
        _TICK.wait(0.1)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    config.unlink()
    (stage.home / "submit.log").unlink()


def _claimed(stage: Stage, rows: Sequence[str]) -> bool:
    with stage.ledger() as ledger:
        return bool(ledger.tasks.find(NAME, [TaskState.CLAIMED], keys=rows))


def _make_under_way(stage: Stage) -> None:
    """Clips that are made already, and clips that take an hour."""
    with stage.configured() as player:
        player.submit(NAME, stage.rows_of("ready"))
        stage.poll(player, 10, collect=False)
    with stage.configured(generation_seconds=3600) as player:
        rows = [*stage.rows_of("rendering"), *stage.rows_of("abandoned")]
        player.submit(NAME, rows)
        player.tick(f"{NAME}_poll")
    for row in stage.rows_of("abandoned"):
        stage.command("tasks", "abandon", row)


def _make_waiting(stage: Stage) -> None:
    """Rows whose turn has not come, for each reason."""
    with stage.configured(generation_seconds=3600, accounts=_TIMEOUTS | {"pixwith": {"max_open_tasks": 4}}) as player:
        player.submit(NAME, stage.rows_of("no slot"))
    with stage.configured({"submit.rate_limited": 1}) as player:
        player.submit(NAME, stage.rows_of("asked to wait"))
    with stage.configured(budget={"per_day_usd": 0.01}) as player:
        player.submit(NAME, stage.rows_of("over budget"))
    with stage.configured(accounts=_TIMEOUTS | {"runware": {"api_key": "not-the-key-of-this-account"}}) as player:
        player.submit(NAME, stage.rows_of("wrong key"))


def describe(status: Status) -> str:
    """What there is now."""
    counts = Counter({str(state): count for state, count in status.counts.items()})
    return ", ".join(f"{count} {state}" for state, count in counts.items()) + f", {status.invalid_rows} invalid"


@click.command()
@click.argument("home", type=click.Path(path_type=Path))
def main(home: Path) -> None:
    """Make the home; HOME must not be there."""
    if home.exists():
        raise click.UsageError(f"{home} is there already")
    os.environ.pop("DAGSTER_HOME", None)
    home.mkdir(parents=True)
    table = home.resolve() / "prompts.csv"
    write_table(table)
    arguments = ["--generation-seconds", "0.2", "--seed", "7", "--memory", str(home.resolve() / MEMORY_FILE)]
    with running_simulator(0, arguments) as url:
        settings = {"PIXVERSE_SIMULATOR_URL": url, "PIXVERSE_PROMPTS": str(table), "PIXVERSE_GALLERY": "true",
                    "PIXVERSE_LABELS": "campaign,language,group", "PIXVERSE_PACE": "", "PIXVERSE_ACCOUNTS": "",
                    "PIXVERSE_CHECKS": json.dumps({"blocking": True})}  # fmt: skip
        prepare_home(home, settings)
        stage = Stage(home.resolve(), Simulator(url))
        make_states(stage)
        with stage.ledger() as ledger:
            click.echo(describe(read_status(ledger, NAME, time.time(), blocking=True)))


if __name__ == "__main__":
    sys.exit(main())
