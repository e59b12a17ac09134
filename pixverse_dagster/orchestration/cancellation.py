"""A run that takes long: it says how it stands, learns that a person wants no more, and then says what goes on."""

import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any

import dagster as dg

from pixverse_dagster.core.lifecycle import UNDER_WAY, TaskState
from pixverse_dagster.core.redaction import redact_text
from pixverse_dagster.core.task import task_cost
from pixverse_dagster.stages.places import ASKED
from pixverse_dagster.stages.progress import describe_progress
from pixverse_dagster.stages.session import Session
from pixverse_dagster.stages.waiting import RunStopped
from pixverse_dagster.transport.logs import get_logger

_log = get_logger()
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
                self._stopped = self._ask()
                self._next_look = time.monotonic() + _LOOK_SECONDS
            return self._stopped

    def _ask(self) -> bool:
        try:
            run = self._instance.get_run_by_id(self._run_id) if self._run_id else None
        except Exception as error:  # noqa: BLE001 - Dagster's storages have no common error, and this is nobody's wish
            _log.debug("whether the run was cancelled cannot be asked now: %s", redact_text(str(error)))
            return False
        return run is not None and run.status in _STOPPING

    def look_again(self) -> bool:
        """The same, asked now."""
        self._next_look = 0.0
        return self()


def drop_cancelled(session: Session, instance: dg.DagsterInstance) -> int:
    """Take off the queue what was asked for by runs that a person cancelled and that died before they could do it.

    Returns how many rows that were. A run that died of anything else is nobody's wish: others go on with its rows.
    """
    queue, now, dropped = session.ledger.queue, session.clock(), 0
    for run_id in filter(None, queue.runs(session.pipeline.name, ASKED, now)):
        run = instance.get_run_by_id(run_id)
        dropped += queue.drop_run(run_id, now) if run is not None and run.status in _STOPPING else 0
    return dropped


@contextmanager
def reporting_run(session: Session, keys: Sequence[str], log: Any) -> Generator[None]:
    """Say how these rows stand while the block takes long, and what goes on at the providers if it is stopped.

    If a person stopped it, nobody waits any more on this run's behalf. Raises dg.Failure where the block raises
    RunStopped: Dagster calls a run cancelled that was to be, whatever it ends with.
    """
    interrupted = False
    try:
        with _telling(lambda: describe_progress(session, keys), session.options.pace.progress_seconds, log):
            yield
    except RunStopped:
        raise dg.Failure(_describe(session, keys, cancelled=True), allow_retries=False) from None
    except BaseException as error:
        # No Exception is an interrupt: Ctrl-C, a SIGTERM, or a termination that reached the process.
        interrupted = not isinstance(error, Exception)
        raise
    finally:
        cancelled = _look_again(session.stopped) if interrupted else session.stopped()
        if interrupted or cancelled:
            log.warning(_describe(session, keys, cancelled=cancelled))


def _look_again(stopped: Callable[[], bool]) -> bool:
    return stopped.look_again() if isinstance(stopped, RunWatch) else stopped()


@contextmanager
def _telling(describe: Callable[[], str], every_seconds: float, log: Any) -> Generator[None]:
    """Log a line about the block at every so many seconds, from a thread of its own: whatever the block waits for."""
    ended, began = threading.Event(), time.monotonic()

    def tell() -> None:
        while not ended.wait(every_seconds):
            try:
                log.info("after %.0f s: %s", time.monotonic() - began, describe())
            except Exception as error:  # noqa: BLE001 - a ledger that cannot be read now is the run's trouble, not this one's
                _log.warning(
                    "how the rows stand could not be said: %s", redact_text(f"{type(error).__name__}: {error}")
                )

    thread = threading.Thread(target=tell, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(_LOOK_SECONDS)


def _describe(session: Session, keys: Sequence[str], *, cancelled: bool) -> str:
    name, run_id = session.pipeline.name, session.run_id
    dropped = session.ledger.queue.drop_run(run_id, session.clock()) if cancelled else 0
    going_on = session.ledger.tasks.find(name, (*UNDER_WAY, TaskState.UNKNOWN))
    mine = [task for task in going_on if task.run_id == run_id]
    asked = set(keys)
    others = [task for task in going_on if task.run_id != run_id and task.row in asked]
    ready = sum(task.state is TaskState.SUCCEEDED for task in [*mine, *others])
    costs = [task_cost(task).usd for task in mine]
    cost, unpriced = sum(usd or 0 for usd in costs), costs.count(None)
    money = f"about {cost:.3f} USD" + (f" and {unpriced} tasks whose price is not public" if unpriced else "")
    words = (
        f"{'Cancelled' if cancelled else 'Interrupted'}: nothing further is submitted. {len(mine)} tasks that this run "
        f"submitted go on at the providers and are paid for ({money})"
        + (f", and so do {len(others)} of its rows that were submitted before" if others else "")
        + (f"; {ready} of them are ready and not stored yet" if ready else "")
        + ". The poll sensor stores them, or run the rows again, which adopts them"
    )
    if dropped:
        return f"{words}. {dropped} rows that waited for their turn wait no longer"
    kept = sum(entry.row in asked for entry in session.ledger.queue.find(name)) if not cancelled else 0
    if kept:
        words += (
            f". {kept} of its rows were asked for and not sent: they keep their places, and {name}_continue submits "
            f"them. To withdraw one: {session.commands.tasks('abandon', 'ROW')}"
        )
    return words
