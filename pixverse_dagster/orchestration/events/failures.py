"""What is wrong with rows, on their partitions and at the end of a step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice

import dagster as dg

from pixverse_dagster.core.redaction import redact_text

_PROBLEMS_SHOWN = 20
_PROBLEMS_REPORTED = 500


def problem_events(pipeline: str, asset: str, problems: Mapping[str, str]) -> Iterator[dg.AssetObservation]:
    """What is wrong with rows, each on its partition's own page: the first 500, for an event costs 10 ms."""
    for row, words in islice(problems.items(), _PROBLEMS_REPORTED):
        yield dg.AssetObservation([pipeline, asset], description=redact_text(words), partition=row)


def raise_failures(what: str, problems: Sequence[str], rows: int) -> None:
    """End a step in dg.Failure if some rows failed, naming them. Not retried: what can be repeated safely was."""
    if not problems:
        return
    shown = [redact_text(problem) for problem in problems[:_PROBLEMS_SHOWN]]
    more = [f"… and {len(problems) - len(shown)} more"] if len(problems) > len(shown) else []
    raise dg.Failure(
        description=f"{len(problems)} of {rows} rows {what}; the others are done.\n" + "\n".join([*shown, *more]),
        metadata={"pixverse/failed_rows": len(problems), "pixverse/rows": rows},
        allow_retries=False,
    )
