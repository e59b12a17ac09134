"""Stopping a run: how it learns that a person wants no more, and what it says about the money that is under way."""

import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import dagster as dg

from pixverse_dagster.core.lifecycle import UNDER_WAY, TaskState
from pixverse_dagster.core.task import task_cost
from pixverse_dagster.stages.session import Session

_LOOK_SECONDS = 1.0
_STOPPING = {dg.DagsterRunStatus.CANCELING, dg.DagsterRunStatus.CANCELED}


class RunWatch:
    """Tells whether a person has terminated this run. Thread-safe; asks the instance at most once a second.

    Terminating in the UI sets a run to CANCELING, whatever its launcher then does with the process. A worker that dies
    or gets a SIGTERM does not: that is no wish of anybody's.
    """

    def __init__(self, instance: dg.DagsterInstance, run_id: str) -> None:
        self._instance = instance
        self._run_id = run_id
        self._lock = threading.Lock()
        self._next_look = 0.0
        self._stopped = False

    def __call__(self) -> bool:
        """Whether the run is being cancelled."""
        with self._lock:
            if not self._stopped and time.monotonic() >= self._next_look:
                run = self._instance.get_run_by_id(self._run_id) if self._run_id else None
                self._stopped = run is not None and run.status in _STOPPING
                self._next_look = time.monotonic() + _LOOK_SECONDS
            return self._stopped

    def look_again(self) -> bool:
        """The same, asked now."""
        self._next_look = 0.0
        return self()


@contextmanager
def reporting_stop(session: Session, watch: RunWatch, log: Any) -> Generator[None]:
    """If the block is stopped, say what goes on at the provider; if a person stopped it, nobody waits any more."""
    interrupted = False
    try:
        yield
    except BaseException as error:
        # No Exception is an interrupt: Ctrl-C, a SIGTERM, or a termination that reached the process.
        interrupted = not isinstance(error, Exception)
        raise
    finally:
        cancelled = watch.look_again() if interrupted else watch()
        if interrupted or cancelled:
            log.warning(_describe(session, cancelled=cancelled))


def _describe(session: Session, *, cancelled: bool) -> str:
    name, run_id = session.pipeline.name, session.run_id
    dropped = session.ledger.queue.drop_run(run_id) if cancelled else 0
    mine = [task for task in session.ledger.tasks.find(name, (*UNDER_WAY, TaskState.UNKNOWN)) if task.run_id == run_id]
    costs = [task_cost(task).usd for task in mine]
    cost, unpriced = sum(usd or 0 for usd in costs), costs.count(None)
    money = f"about {cost:.3f} USD" + (f" and {unpriced} tasks whose price is not public" if unpriced else "")
    words = (
        f"{'Cancelled' if cancelled else 'Interrupted'}: nothing further is submitted. {len(mine)} tasks that this run "
        f"submitted go on at the providers and are paid for ({money}). The poll sensor stores them, or run the "
        "rows again, which adopts them"
    )
    return f"{words}. {dropped} rows that waited for a slot wait no longer" if dropped else words
