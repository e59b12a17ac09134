"""What is wrong with rows, on their partitions and at the end of a step."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice

import dagster as dg

from pixverse_dagster.core.redaction import redact_text

_PROBLEMS_SHOWN = 20
_ROWS_SHOWN = 10
_ROW = re.compile(r"row ('[^']*'|\"[^\"]*\") (.*)", re.DOTALL)
_PROBLEMS_REPORTED = 500


def problem_events(pipeline: str, asset: str, problems: Mapping[str, str]) -> Iterator[dg.AssetObservation]:
    """What is wrong with rows, each on its partition's own page: the first 500, for an event costs 10 ms."""
    for row, words in islice(problems.items(), _PROBLEMS_REPORTED):
        yield dg.AssetObservation([pipeline, asset], description=redact_text(words), partition=row)


def raise_failures(what: str, problems: Sequence[str], rows: int) -> None:
    """End a step in dg.Failure if some rows failed, naming them. Not retried: what can be repeated safely was."""
    if not problems:
        return
    said = list(_once_each(map(redact_text, problems)))
    shown = said[:_PROBLEMS_SHOWN]
    more = [f"… and {len(said) - len(shown)} other problems"] if len(said) > len(shown) else []
    others = "; the others are done" if len(problems) < rows else ""
    raise dg.Failure(
        description=f"{len(problems)} of {rows} rows {what}{others}.\n" + "\n".join([*shown, *more]),
        metadata={"pixverse/failed_rows": len(problems), "pixverse/rows": rows},
        allow_retries=False,
    )


def _once_each(problems: Iterable[str]) -> Iterator[str]:
    """Each problem once: what is wrong with many rows for one reason is said of the first, which names the others."""
    rows: dict[str, list[str]] = {}
    for problem in problems:
        found = _ROW.fullmatch(problem)
        rows.setdefault(found[2] if found else problem, []).append(found[1] if found else "")
    for words, (first, *others) in rows.items():
        yield (f"row {first} {words}" if first else words) + (_others(others) if first and others else "")


def _others(rows: Sequence[str]) -> str:
    more = f", and {len(rows) - _ROWS_SHOWN} more" if len(rows) > _ROWS_SHOWN else ""
    which = "1 other row" if len(rows) == 1 else f"{len(rows)} other rows"
    return f". The same holds for {which}: {', '.join(rows[:_ROWS_SHOWN])}{more}"
