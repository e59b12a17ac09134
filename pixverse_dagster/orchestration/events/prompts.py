"""What people see of a reading of the prompt table: what is in it, what changed, what submitting it would cost."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import dagster as dg

from pixverse_dagster.core.row import Problem
from pixverse_dagster.ledger.rows import SnapshotChange
from pixverse_dagster.orchestration.events.log import reported_version
from pixverse_dagster.orchestration.events.metadata import metadata_table
from pixverse_dagster.orchestration.events.tasks import outdated_event, task_event
from pixverse_dagster.policy.plan import Plan
from pixverse_dagster.stages.read import TableReading
from pixverse_dagster.stages.session import Pipeline, Session

ROWS_SHOWN = 100
"""Of tables in metadata: more would weigh down every page that shows them."""


def reading_metadata(pipeline: Pipeline, reading: TableReading, change: SnapshotChange, plan: Plan) -> dict[str, Any]:
    """The metadata of a materialisation of `prompts`: numbers that plot, and tables."""
    metadata: dict[str, Any] = {
        "pixverse/plan": _plan_table(plan),
        "pixverse/plan_unpriced_rows": plan.unpriced,
    }
    if plan.known_cost_usd is not None:
        metadata["pixverse/plan_cost_usd"] = plan.known_cost_usd
    if dearest := [(line.row, f"{line.cost_usd:.3f}", line.note) for line in plan.dearest[:ROWS_SHOWN]]:
        metadata["pixverse/dearest"] = metadata_table(("row", "usd", "note"), dearest)
    if changed := [(line.row, one) for line in plan.lines for one in line.differences][:ROWS_SHOWN]:
        shown = [(row, one.field, str(one.asked), "" if one.sent is None else str(one.sent)) for row, one in changed]
        metadata["pixverse/sent_otherwise"] = metadata_table(("row", "column", "asked", "sent"), shown)
    if reading.remarks:
        metadata["pixverse/remarks"] = "; ".join(reading.remarks)
    metadata |= {f"pixverse/table_{name.replace(' ', '_')}": fact for name, fact in reading.facts.items()}
    for name, problems in (("problems", reading.problems), ("cautions", reading.cautions)):
        if problems:
            metadata[f"pixverse/{name}"] = problem_table(problems)
    if changes := _changes(change, plan):
        metadata["pixverse/changes"] = metadata_table(("row", "what", "note", "usd"), changes)
    metadata |= {
        "pixverse/table": pipeline.table.describe(),
        "pixverse/rows": len(reading.rows),
        "pixverse/new_rows": len(change.new),
        "pixverse/changed_rows": len(change.changed),
        "pixverse/unchanged_rows": change.unchanged,
        "pixverse/removed_rows": len(change.removed),
        "pixverse/invalid_rows": len({problem.place for problem in reading.problems}),
        "pixverse/models": ", ".join(sorted({row.request.MODEL for row in reading.rows})),
    }
    return metadata


def _plan_table(plan: Plan) -> dg.TableMetadataValue:
    """A line for each verdict: how many rows, and what submitting them would cost."""
    lines = [
        (str(verdict), count, _sum_text([line.cost_usd for line in plan.lines if line.verdict is verdict]))
        for verdict, count in plan.counts.most_common()
    ]
    return metadata_table(("verdict", "rows", "usd"), lines)


def _sum_text(prices: Sequence[float | None]) -> str:
    """The sum of the known prices and how many are not; unknown ones are never nothing."""
    known = [price for price in prices if price is not None]
    unknown = len(prices) - len(known)
    return " + ".join([f"{sum(known):.3f}"] * bool(known) + [f"{unknown} unknown"] * bool(unknown))


def _changes(change: SnapshotChange, plan: Plan) -> list[tuple[str, str, str, str]]:
    """The rows that are not as they were at the last reading, the first hundred."""
    price = {line.row: "?" if line.cost_usd is None else f"{line.cost_usd:.3f}" for line in plan.lines}
    lines = [(row, "changed", ", ".join(columns), price.get(row, "")) for row, columns in change.changed.items()]
    lines += [(row, "new", "", price.get(row, "")) for row in change.new]
    lines += [(row, "removed", "its clips stay", "") for row in change.removed]
    return lines[:ROWS_SHOWN]


def problem_table(problems: Sequence[Problem]) -> dg.TableMetadataValue:
    """What is wrong with which row, and what to do."""
    lines = [(p.line, p.row, p.column, p.message) for p in problems[:ROWS_SHOWN]]
    return metadata_table(("line", "row", "column", "message"), lines)


def report_worlds(session: Session, instance: dg.DagsterInstance, report: Callable[[Any], None]) -> None:
    """Remember whether each provider is a real one or a simulator now; where that changed, its tasks are out of date.

    Of the world that the pipeline comes back to, what was made there is shown again.
    """
    switched = session.ledger.worlds.set(session.pipeline.name, session.worlds)
    if switched:
        rows = session.ledger.rows.find(session.pipeline.name).values()
        changed = {row.id: ("world",) for row in rows if row.request.provider() in switched}
        report_changes(session, changed, (), instance, report)


def report_changes(
    session: Session,
    changed: Mapping[str, Sequence[str]],
    new: Sequence[str],
    instance: dg.DagsterInstance,
    report: Callable[[Any], None],
) -> None:
    """Tell Dagster whose task is out of date: of a row that changed, unless it became what it once was.

    A new row has one too, if it was in the table before and came back as something else.
    """
    name, ledger, rows = session.pipeline.name, session.ledger, [*changed, *new]
    current = ledger.tasks.current(name, rows, session.worlds)
    known = {task.id: task for task in ledger.tasks.find(name, keys=rows) if task.task_id}
    for row in {task.row: None for task in known.values()}:
        standing = known.get(reported_version(instance, dg.AssetKey([name, "tasks"]), row))
        if row in current:
            if row in changed and current[row].task_id:
                report(task_event(current[row], sent=False))
        elif standing:
            report(outdated_event(standing, changed.get(row, ("contents",))))
