"""What the checks of stored clips found: the latest result of each, for those who look at many clips at once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import sqlalchemy as sa

from pixverse_dagster.core.layout import ClipFolder
from pixverse_dagster.core.lifecycle import TaskState
from pixverse_dagster.core.task import Task
from pixverse_dagster.core.text import shorten
from pixverse_dagster.ledger.codec import writable
from pixverse_dagster.ledger.engine import reading
from pixverse_dagster.ledger.overview import folder_of
from pixverse_dagster.ledger.schema import check_results, tasks
from pixverse_dagster.policy.quality import Finding

_MAX_DETAIL = 500


@dataclass(frozen=True)
class FailedCheck:
    """A check that failed: of which clips, of which output (0: of all of them), and what was found."""

    folder: ClipFolder
    output: int
    detail: str


class CheckResults:
    """Reads and writes the results of checks. Every method is one transaction; safe to use from many threads."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def record(self, task: Task, findings: Iterable[Finding], now: float) -> None:
        """Keep what was found of a clip, in the place of what was found before. Repeatable."""
        values = [
            {"task": task.id, "name": f"{one.check} {one.output}", "passed": one.passed, "at": now}
            | {"detail": "" if one.passed else shorten(writable(str(one)), _MAX_DETAIL)}
            for one in findings
        ]
        with self._engine.begin() as connection:
            connection.execute(sa.delete(check_results).where(check_results.c.task == task.id))
            if values:
                connection.execute(sa.insert(check_results), values)

    def failed(self, pipeline: str) -> list[FailedCheck]:
        """The checks that failed of the stored clips of a pipeline."""
        columns = [tasks.c[name] for name in ("row", "digest", "take", "attempt", "folder")]
        query = sa.select(*columns, check_results.c.name, check_results.c.detail)
        query = query.join(tasks, tasks.c.id == check_results.c.task).where(
            tasks.c.pipeline == pipeline, tasks.c.state == TaskState.STORED, check_results.c.passed.is_(False)
        )
        with reading(self._engine) as connection:
            found = connection.execute(query.order_by(tasks.c.row, tasks.c.take, check_results.c.name))
            return [
                FailedCheck(folder_of(pipeline, one), int(one.name.rpartition(" ")[2]), one.detail) for one in found
            ]
