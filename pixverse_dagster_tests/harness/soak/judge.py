"""The verdict on a soak: the simulator's audit against the ledger, the store and Dagster, row by row.

It reads the records themselves: as `harness/judge`, it draws nothing from the product or the simulator.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pixverse_dagster_tests.harness.judge.money import check_attempts, check_ends, check_events, check_money
from pixverse_dagster_tests.harness.judge.records import Places, Record, charges_by_row, provider_of
from pixverse_dagster_tests.harness.judge.store import check_store

ENDS = ("stored", "failed", "unknown")


@dataclass(frozen=True)
class Verdict:
    """What was counted, and what is wrong: rows by why they are odd, and what concerns no single row."""

    charges: int
    duplicates: int
    ends: Mapping[str, str]
    charged: Mapping[str, Sequence[Record]]
    odd: Mapping[str, str]
    problems: Sequence[str]
    tasks: Mapping[str, Sequence[Record]]

    def count(self, end: str) -> int:
        """How many rows ended so."""
        return sum(found == end for found in self.ends.values())


def judge(places: Places, audit: Sequence[Record], rows: Mapping[str, str]) -> Verdict:
    """Compare every record there is of every row; `rows` are the rows by their words.

    Everything has come to rest before.
    """
    books, charged = places.books(), charges_by_row(audit, rows)
    tasks: dict[str, list[Record]] = defaultdict(list)
    for task in books.tasks:
        tasks[task["row"]].append(task)
    ends = {row: tasks[row][-1]["state"] if tasks[row] else "never submitted" for row in rows.values()}
    found = {row: [*_oddities(places, tasks[row], charged.get(row, []))] for row in {*ends, *charged}}
    odd = {row: "; ".join(why) for row, why in found.items() if why}
    problems = [
        *check_store(audit, places.files, places.pipeline),
        *check_money(audit, [books]),
        *check_attempts(audit, books.tasks),
        *check_events(audit, books.newest(), places.clip_events()),
    ]
    counts = Counter(ends.values())
    charges = sum(map(len, charged.values()))
    accepted = counts["stored"] + counts["failed"]
    if not accepted <= charges <= accepted + counts["unknown"]:
        problems.append(f"{charges} charges do not fit these ends: {dict(counts)}")
    duplicates = sum(len(paid) - 1 for paid in charged.values())
    return Verdict(charges, duplicates, ends, charged, odd, problems, tasks)


def _oddities(places: Places, attempts: Sequence[Record], charges: Sequence[Record]) -> Iterator[str]:
    """What is wrong with one row: of all its attempts only the last may be paid, and its end must fit the audit."""
    if len(charges) > 1:
        yield f"charged {len(charges)} times"
    if not attempts:
        yield f"no task, {len(charges)} charges"
        return
    *earlier, last = attempts
    if any(task["state"] != "refused" for task in earlier):
        yield "submitted again after an attempt that was not refused"
    yield from check_ends(charges, [last], places.files)
    if last["state"] not in ENDS:
        yield f"ended {last['state']}"
    if last["state"] == "stored" and not all(o["downloads"] for charge in charges for o in charge["outputs"]):
        yield "stored, and not downloaded"
    if last["state"] == "unknown" and provider_of(last) == "runware":
        yield f"unknown at a provider that can tell: {last['reason']}"
