"""Rows that are offered to runs: left to a run from the tick that asks for it until the run takes them itself."""

from collections.abc import Mapping
from typing import Any, cast

import dagster as dg

from pixverse_dagster.stages.resolve import lease_replays
from pixverse_dagster.stages.session import Session

_COMING = [dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTING]
_MAX_RUNS = 500


def renew_offers(session: Session, instance: dg.DagsterInstance, job: str) -> None:
    """Leave rows to the runs of a job (`collect`, `submit`, `resolve`) that are queued or starting, for a while more.

    However long a run is queued, no tick asks for another one of the same rows; and what a run was asked for that never
    came, or that could not start, is soon free again.
    """
    name, ledger = session.pipeline.name, session.ledger
    until = session.clock() + session.options.pace.offer_seconds
    rows = find_coming(instance, f"{name}_{job}")
    if not rows:
        return
    if job == "collect":
        ledger.collecting.extend(name, rows, until)
    elif job == "submit":
        ledger.queue.extend(name, rows, until)
    else:
        lease_replays(session, rows, session.options.pace.offer_seconds)


def find_coming(instance: dg.DagsterInstance, job: str) -> list[str]:
    """The rows of the job's runs that are queued or starting."""
    runs = instance.get_runs(dg.RunsFilter(job_name=job, statuses=_COMING), limit=_MAX_RUNS)
    return sorted({row for run in runs for row in _rows_of(run.run_config, f"{job}_rows")})


def _rows_of(config: Mapping[str, Any], op: str) -> list[str]:
    """The rows that a run's configuration names, whoever wrote it."""
    found: Any = config
    for key in ("ops", op, "config", "rows"):
        found = cast("dict[str, Any]", found).get(key) if isinstance(found, Mapping) else None
    return [row for row in cast("list[Any]", found) if isinstance(row, str)] if isinstance(found, list) else []
