"""The check `verified` on `clips`: what the command `verify` compares, in Dagster, and on a schedule if wanted."""

from collections import Counter
from typing import Any

import dagster as dg

from pixverse_dagster.core.errors import redacted_errors
from pixverse_dagster.core.redaction import redact_text
from pixverse_dagster.orchestration.events.metadata import metadata_table
from pixverse_dagster.orchestration.events.reported import ReportedRows
from pixverse_dagster.orchestration.resources import LedgerResource
from pixverse_dagster.orchestration.spec import PipelineSpec
from pixverse_dagster.reports.verify import Verification, verify
from pixverse_dagster.reports.verify.remedies import find_remedy

VERIFIED_CHECK = "verified"
_SHOWN = 100


def build_verified_check(spec: PipelineSpec) -> list[dg.AssetChecksDefinition]:
    """The check, where the options ask for it. It changes nothing, costs nothing and blocks nothing."""
    options = spec.pipeline.options
    if not (options.verify or options.verify_cron):
        return []

    @dg.asset_check(
        asset=dg.AssetKey([spec.name, "clips"]),
        name=VERIFIED_CHECK,
        description="Ledger, store, manifests and Dagster say the same of every clip. Says which do not, what that "
        "means for money, and the command that repairs it.",
        required_resource_keys={spec.ledger_key, spec.clips_key},
    )
    def verified(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        resource: LedgerResource = getattr(context.resources, spec.ledger_key)
        commands = spec.commands(context.instance, context.run)
        with redacted_errors():
            found = verify(
                resource.get_ledger(context.instance),
                getattr(context.resources, spec.clips_key).get_store(),
                spec.name,
                deep=options.verify_deep,
                dagster=ReportedRows(context.instance, spec, spec.name),
            )
        kinds = Counter(one.kind.name for one in found.disagreements)
        lines = [
            (one.row, one.kind.name, one.message, one.kind.money, find_remedy(one, commands))
            for one in found.disagreements[:_SHOWN]
        ]
        metadata: dict[str, Any] = {
            "pixverse/clips": found.clips,
            "pixverse/files": found.files,
            "pixverse/disagreements": len(found.disagreements),
            "pixverse/deep": found.deep,
            **({"pixverse/differences": metadata_table(_COLUMNS, lines)} if lines else {}),
        }
        words = ", ".join(f"{count} {name}" for name, count in kinds.most_common())
        repair = f" What repairs each is below, and by {commands.render('verify')}"
        return dg.AssetCheckResult(
            passed=not found.disagreements,
            severity=dg.AssetCheckSeverity.ERROR,
            description=redact_text(f"{_describe(found)}{words}.{repair}" if words else _describe(found)),
            metadata=metadata,
        )

    return [verified]


_COLUMNS = ("row", "kind", "what", "money", "repair")


def _describe(found: Verification) -> str:
    looked = "every byte was read" if found.deep else "of the files, only the sizes were compared"
    return f"{found.clips} clips, {found.files} files, {looked}. " + ("" if found.disagreements else "All agree.")


def build_verify_schedule(spec: PipelineSpec) -> list[dg.ScheduleDefinition]:
    """The schedule on which the check is made, where the options ask for one."""
    options = spec.pipeline.options
    if not options.verify_cron:
        return []
    key = dg.AssetCheckKey(dg.AssetKey([spec.name, "clips"]), VERIFIED_CHECK)
    make: Any = dg.define_asset_job  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    job = make(
        f"{spec.name}_verify",
        selection=dg.AssetSelection.checks(key),
        executor_def=dg.in_process_executor,
        description="Compares ledger, store, manifests and Dagster. Changes nothing, costs nothing.",
    )
    return [
        dg.ScheduleDefinition(
            name=f"{spec.name}_verify",
            cron_schedule=options.verify_cron,
            execution_timezone=options.read_time_zone,
            job=job,
            default_status=dg.DefaultScheduleStatus.RUNNING,
            description="Compares ledger, store, manifests and Dagster. Changes nothing, costs nothing.",
        )
    ]
