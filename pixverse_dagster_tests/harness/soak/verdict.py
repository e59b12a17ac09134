"""The verdict on a soak: the simulator's audit against the ledger, the store and Dagster, row by row."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg

from pixverse_dagster_tests.harness.audit import check_attempts, check_money, check_store, read_books
from pixverse_dagster_tests.harness.soak.stage import NAME, Stage

ENDS = ("stored", "failed", "unknown")
_LINES_SHOWN = 15
_ROWS_SHOWN = 8

Record = dict[str, Any]


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


def judge(stage: Stage) -> Verdict:
    """Compare every record there is of every row. Everything has come to rest before."""
    charged: dict[str, list[Record]] = defaultdict(list)
    audit, books = stage.simulator.tasks(), read_books(stage.ledger, NAME)
    for task in audit:
        prompt = str(task["request"].get("prompt") or task["request"].get("positivePrompt")).strip()
        charged[stage.rows.get(prompt, f"nobody's: {prompt}")].append(task)
    tasks: dict[str, list[Record]] = defaultdict(list)
    for task in json.loads(stage.ask("tasks", "list", "--json")):
        tasks[task["row"]].append(task)
    verified = json.loads(stage.ask("verify", "--json"))
    with dg.DagsterInstance.from_config(str(stage.home)) as instance:
        materialised = instance.get_materialized_partitions(dg.AssetKey([NAME, "clips"]))
    ends = {row: tasks[row][-1]["state"] if tasks[row] else "never submitted" for row in stage.rows.values()}
    odd: dict[str, str] = {}
    for row in {*ends, *charged, *materialised}:
        why = [*_oddities(stage, tasks[row], charged.get(row, []))]
        if (row in materialised) != (ends.get(row) == "stored"):
            why.append(f"Dagster {'has' if row in materialised else 'does not have'} its clip")
        if why:
            odd[row] = "; ".join(why)
    problems = [f"verify: {found}" for found in verified["disagreements"]]
    problems += check_store(audit, stage.store, NAME)
    problems += check_money(audit, [books])
    problems += check_attempts(audit, books.tasks)
    counts = Counter(ends.values())
    charges = sum(map(len, charged.values()))
    accepted = counts["stored"] + counts["failed"]
    if not accepted <= charges <= accepted + counts["unknown"]:
        problems.append(f"{charges} charges do not fit these ends: {dict(counts)}")
    duplicates = sum(len(found) - 1 for found in charged.values())
    return Verdict(charges, duplicates, ends, charged, odd, problems, tasks)


def _oddities(stage: Stage, attempts: Sequence[Record], charges: Sequence[Record]) -> Iterator[str]:
    """What is wrong with one row: of all its attempts only the last may be paid, and its end must fit the audit."""
    if len(charges) > 1:
        yield f"charged {len(charges)} times"
    if not attempts:
        yield f"no task, {len(charges)} charges"
        return
    *earlier, last = attempts
    if any(task["state"] != "refused" for task in earlier):
        yield "submitted again after an attempt that was not refused"
    charge = charges[0] if charges else None
    match last["state"]:
        case "stored":
            yield from _stored_oddities(stage, last, charge)
        case "failed":
            status = "processing" if last["kind"] == "lost" else "failed"
            if charge is None or charge["task_id"] != last["task_id"]:
                yield "failed without a charge of its own"
            elif charge["status"] != status or not last["reason"]:
                yield f"failed ({last['kind']}: {last['reason']}), and the provider says {charge['status']}"
        case "unknown":
            if not last["reason"]:
                yield "unknown for no reason"
        case state:
            yield f"has not ended: {state}"


def _stored_oddities(stage: Stage, task: Record, charge: Record | None) -> Iterator[str]:
    if charge is None or charge["task_id"] != task["task_id"]:
        yield "stored without a charge of its own"
        return
    try:
        with stage.store.open(task["manifest"]) as file:
            outputs = json.load(file)["outputs"]
    except FileNotFoundError:
        yield "stored without a manifest"
        return
    made, kept = [output["sha256"] for output in charge["outputs"]], [output["sha256"] for output in outputs]
    if made != kept or not all(output["downloads"] for output in charge["outputs"]):
        yield f"the provider made {made}, and {kept} is stored"


def describe(stage: Stage, verdict: Verdict) -> str:
    """Everything known about the odd rows, and how the last processes ended."""
    reasons = Counter(verdict.odd.values())
    texts: list[str] = [*verdict.problems, *(f"{count} rows: {why}" for why, count in reasons.most_common(20))]
    logs = sorted(stage.crew.logs.glob("*.log"))
    for row, why in list(verdict.odd.items())[:_ROWS_SHOWN]:
        texts += [f"--- {row}: {why}", *(json.dumps(task) for task in verdict.tasks.get(row, ()))]
        texts += [f"audit: {json.dumps(charge)}" for charge in verdict.charged.get(row, ())]
        told = [f"{log.name}: {line}" for log in logs for line in log.read_text().splitlines() if f"'{row}'" in line]
        texts += told[-_LINES_SHOWN:]
    for log in (log for log in logs if "daemon" in log.name or log in logs[-5:]):
        texts += [f"--- {log.name}", *log.read_text(errors="replace").splitlines()[-_LINES_SHOWN:]]
    return "\n".join(texts)
