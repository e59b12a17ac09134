"""What a test of a pipeline says about money and clips. Each failure shows what was found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from pixverse_dagster.testing.running import Ended, RowEnd
from pixverse_dagster.testing.simulator import PixverseSimulator

_SHOWN = 20


def assert_charges(simulator: PixverseSimulator, count: int, *, model: str = "") -> None:
    """The simulator has charged for so many submissions, of all models or of this one."""
    found = [task for task in simulator.tasks() if model in {"", f"{task['provider']}/{task['model']}", task["model"]}]
    of = f" of {model}" if model else ""
    assert len(found) == count, _listed(f"{len(found)} charges{of}, not {count}", map(_charge, found))  # noqa: S101


def assert_paid_once(simulator: PixverseSimulator, ended: Ended) -> None:
    """Every charge is one that the ledger knows of, and nothing was charged twice for the same request of a row."""
    charged = simulator.tasks()
    unknown = [task for task in charged if task["task_id"] not in ended.paid]
    assert not unknown, _listed("charged, and no row has the task", map(_charge, unknown))  # noqa: S101
    twice = {key: n for key, n in Counter(task["task_id"] for task in charged).items() if n > 1}
    more = [task for task in charged if task["task_id"] in twice]
    assert not more, _listed("charged more than once", map(_charge, more))  # noqa: S101


def assert_clips(ended: Ended, rows: Sequence[str] | None = None) -> None:
    """Every row has its clip, or each of `rows` has: all files are in the store, as its manifest says."""
    assert ended.rows, _listed("no row was read", (f"a run said: {text}" for text in ended.problems))  # noqa: S101
    known = {end.row: end for end in ended.rows}
    wanted = list(known) if rows is None else list(rows)
    absent = [str(known[row]) if row in known else f"{row}: the table has no such row" for row in wanted
              if row not in known or known[row].clip is None]  # fmt: skip
    said = [*absent, *(f"a run said: {text}" for text in ended.problems)] if absent else []
    assert not absent, _listed(f"{len(absent)} of {len(wanted)} rows have no clip", said)  # noqa: S101
    wrong = [words for row in wanted for words in _wrong(known[row])]
    assert not wrong, _listed("files of clips are not as their manifests say", wrong)  # noqa: S101


def _wrong(end: RowEnd) -> Iterable[str]:
    for output in end.clip.manifest.outputs if end.clip else ():
        try:
            with end.clip.open(output.n) as file:  # pyright: ignore[reportOptionalMemberAccess]
                size = len(file.read())
        except FileNotFoundError:
            yield f"{end.row}: {output.key} is not there"
        else:
            if size != output.size_bytes:
                yield f"{end.row}: {output.key} has {size} bytes, not {output.size_bytes}"


def _charge(task: dict[str, Any]) -> str:
    request = task["request"]
    prompt = str(request.get("prompt") or request.get("positivePrompt") or "")
    words = prompt if len(prompt) <= 60 else f"{prompt[:60]}…"  # noqa: PLR2004 - what fits on a line
    return f"{task['charged_usd']:.3f} USD, {task['model']}, {task['status']}, {task['task_id']}: {words!r}"


def _listed(what: str, lines: Iterable[str]) -> str:
    found = list(lines)
    more = [f"and {len(found) - _SHOWN} more"] if len(found) > _SHOWN else []
    return "\n  ".join([f"{what}:" if found else what, *found[:_SHOWN], *more])
