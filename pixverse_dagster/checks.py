"""Asset checks: what a person should look at, with the reason and what to do."""

import dagster as dg

from pixverse_dagster.blueprint import Blueprint
from pixverse_dagster.clip import TaskState
from pixverse_dagster.events import UNKNOWN_CHECK, judge_unknown
from pixverse_dagster.resources import LedgerResource


def build_unknown_check(blueprint: Blueprint) -> dg.AssetChecksDefinition:
    """The check on `tasks` that fails while the outcome of a paid submit is unknown. Every run and tick reports it."""

    @dg.asset_check(
        asset=dg.AssetKey([blueprint.name, "tasks"]),
        name=UNKNOWN_CHECK,
        description="Every paid submit has a known outcome. Fails while somebody has to look at a provider's console.",
        required_resource_keys={blueprint.ledger_key},
    )
    def outcomes_known(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        resource: LedgerResource = getattr(context.resources, blueprint.ledger_key)
        ledger = resource.get_ledger(context.instance)
        found = [task for task in ledger.find(blueprint.name, (TaskState.UNKNOWN,)) if not task.settling]
        judged = judge_unknown(blueprint.name, found)
        return dg.AssetCheckResult(passed=judged.passed, description=judged.description, metadata=judged.metadata)

    return outcomes_known
