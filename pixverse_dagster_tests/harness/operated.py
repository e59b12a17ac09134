"""A project on disk with a ledger that a test fills, and the command line run on it in this process."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from pixverse_dagster.cli import cli
from pixverse_dagster.core.lifecycle import FailureKind
from pixverse_dagster.core.manifest import World
from pixverse_dagster.core.outcomes import Accepted, Failed, Succeeded
from pixverse_dagster.core.row import Row
from pixverse_dagster.core.task import Task
from pixverse_dagster.ledger.claims import ClaimTerms
from pixverse_dagster.ledger.engine import sqlite_url
from pixverse_dagster.ledger.ledger import Ledger, open_ledger
from pixverse_dagster_tests.harness.commands import prepare_instance
from pixverse_dagster_tests.harness.factories import NAME, RUN, moved, put_row
from pixverse_dagster_tests.harness.ledgers import ledger_in

_DEFINITIONS = """
from pixverse_dagster import LedgerResource, LocalClipIOManager, RunwareResource, build_clips_definitions

clips = LocalClipIOManager(base_dir="clips", ledger=LedgerResource(url={url!r}))
providers = [RunwareResource(api_key="simulator", base_url="{base}/runware")]
defs = build_clips_definitions("films", [], providers=providers, clips=clips)
"""


@dataclass(frozen=True)
class Said:
    """A command that has ended: its exit code, and what it printed for people and for machines."""

    code: int
    output: str
    errors: str

    @property
    def text(self) -> str:
        """All that it printed, in one line: wherever it was broken."""
        return " ".join((self.output + " " + self.errors).split())

    @property
    def document(self) -> Any:
        """What it printed with `--json`."""
        return json.loads(self.output)


@dataclass(frozen=True)
class Operated:
    """A project with the pipeline `films`, and its ledger."""

    folder: Path
    ledger: Ledger

    def main(self, *words: str) -> None:
        """Run a command on the process's own streams; it ends with SystemExit."""
        cli.main([*words, *self._choice], prog_name="pixverse-dagster")

    @property
    def _choice(self) -> list[str]:
        return ["-f", str(self.folder / "films.py"), "--home", str(self.folder / "home")]

    def run(self, *words: str, answer: str | None = None, width: int = 160) -> Said:
        """Run a command of the command line."""
        done = CliRunner().invoke(cli, [*words, *self._choice], input=answer, env={"COLUMNS": str(width)})
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return Said(done.exit_code, done.stdout, done.stderr)


@contextmanager
def terminal(monkeypatch: pytest.MonkeyPatch) -> Generator[int]:
    """A terminal that this process reads from and writes to; the descriptor of the person's end."""
    master, slave = os.openpty()
    with ExitStack() as open_files, monkeypatch.context() as patch:
        open_files.callback(os.close, master)
        for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
            patch.setattr(sys, name, open_files.enter_context(open(os.dup(slave), mode, buffering=1)))  # noqa: PTH123 - a descriptor
        patch.setenv("COLUMNS", "200")
        yield master
        os.close(slave)


def make_project(folder: Path, base: str = "http://127.0.0.1:1") -> Operated:
    """Make the project in a folder, with a simulator at `base`; the ledger is empty."""
    url = ledger_in(folder)
    assert url == sqlite_url(folder / "ledger.db")
    prepare_instance(folder / "home", "telemetry:\n  enabled: false\n")
    (folder / "films.py").write_text(_DEFINITIONS.format(url=url, base=base))
    return Operated(folder, open_ledger(url))


def claimed(
    ledger: Ledger, row: Row, usd: float | None = 0.25, world: World = "simulator", at: float | None = None
) -> Task:
    """The row, claimed by a run."""
    at = time.time() if at is None else at
    terms = ClaimTerms(RUN, at, 60, usd, account=f"{row.request.provider()}/{world}", world=world)
    return ledger.claim(NAME, put_row(ledger, row), terms)[0]


def accepted(ledger: Ledger, row: Row, usd: float | None = 0.25, **options: Any) -> Task:
    """The row, at its provider."""
    task = claimed(ledger, row, usd, **options)
    name = f"task {task.claim} of {row.id}, {row.digest[:6]}"
    return ledger.accept(task, Accepted(name), task.claimed_at, task.claimed_at).task


def stored(ledger: Ledger, row: Row, usd: float | None = 0.25, charged: float | None = None, **options: Any) -> Task:
    """The row, with its clip."""
    task = accepted(ledger, row, usd, **options)
    ready = moved(ledger.succeed(task, Succeeded(("https://r.example.org/1",), charged), task.claimed_at))
    return moved(ledger.store(ready, task.claimed_at))


def failed(
    ledger: Ledger,
    row: Row,
    usd: float | None = 0.25,
    kind: FailureKind = FailureKind.PROVIDER_ERROR,
    why: str = "the provider failed",
    **options: Any,
) -> Task:
    """The row, failed at its provider."""
    task = accepted(ledger, row, usd, **options)
    return moved(ledger.fail(task, Failed(kind, why), task.claimed_at))


def unknown(ledger: Ledger, row: Row, usd: float | None = 0.25, **options: Any) -> Task:
    """The row, sent, and no answer came."""
    return moved(ledger.mark_unknown(claimed(ledger, row, usd, **options), "no answer came", None))
