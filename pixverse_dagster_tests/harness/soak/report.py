"""What to read of a soak that failed."""

from __future__ import annotations

import json
from collections import Counter

from pixverse_dagster_tests.harness.soak.judge import Verdict
from pixverse_dagster_tests.harness.soak.stage import Stage

_LINES_SHOWN = 15
_ROWS_SHOWN = 8


def describe(stage: Stage, verdict: Verdict) -> str:
    """Everything known about the odd rows, and how the last processes ended."""
    reasons = Counter(verdict.odd.values())
    texts: list[str] = [*verdict.problems, *(f"{count} rows: {why}" for why, count in reasons.most_common(20))]
    logs = sorted(stage.crew.logs.glob("*.log"))
    for row, why in list(verdict.odd.items())[:_ROWS_SHOWN]:
        texts += [f"--- {row}: {why}", *(json.dumps(task, default=str) for task in verdict.tasks.get(row, ()))]
        texts += [f"audit: {json.dumps(charge)}" for charge in verdict.charged.get(row, ())]
        told = [f"{log.name}: {line}" for log in logs for line in log.read_text().splitlines() if f"'{row}'" in line]
        texts += told[-_LINES_SHOWN:]
    for log in (log for log in logs if "daemon" in log.name or log in logs[-5:]):
        texts += [f"--- {log.name}", *log.read_text(errors="replace").splitlines()[-_LINES_SHOWN:]]
    return "\n".join(texts)
