"""The page of the clips as an asset, and the sensor that renews it: apart from all that stores clips."""

import json
import time
from typing import Any

import dagster as dg

from pixverse_dagster.core.errors import redacted_errors
from pixverse_dagster.ledger.ledger import Ledger
from pixverse_dagster.orchestration.events.gallery import address_metadata
from pixverse_dagster.orchestration.resources import LedgerResource
from pixverse_dagster.orchestration.spec import PipelineSpec
from pixverse_dagster.reports.gallery.writer import GalleryOptions, WrittenGallery, write_gallery

RENEW_SECONDS = 60
AGAIN_SECONDS = 600
"""After a run that failed, the page is written again so much later, though nothing new has come."""
GIVEN_UP_SECONDS = 3600
"""A run that has not ended by then is not waited for: it may have been lost."""


def build_gallery_asset(spec: PipelineSpec) -> dg.AssetsDefinition:
    """The asset that writes the page of the clips. It changes no clip and costs nothing."""
    name = spec.name

    @dg.asset(
        key=dg.AssetKey([name, "gallery"]),
        deps=[dg.AssetKey([name, "prompts"]), dg.AssetKey([name, "clips"])],
        description="The web page of the clips, beside them in the store. Written anew only where something changed.",
        group_name=spec.group_name,
        kinds={"pixverse", "html"},
        tags={"pixverse/pipeline": name},
        required_resource_keys={spec.ledger_key, spec.clips_key},
    )
    def gallery(context: dg.AssetExecutionContext) -> dg.MaterializeResult:  # pyright: ignore[reportMissingTypeArgument, reportUnknownParameterType]
        ledger: LedgerResource = getattr(context.resources, spec.ledger_key)
        options = spec.pipeline.options
        with redacted_errors():
            store = getattr(context.resources, spec.clips_key).get_store()
            done = write_gallery(ledger.get_ledger(context.instance), store, name, GalleryOptions(options.dagster_url))
            metadata = gallery_metadata(done) | address_metadata(store, name, options)
        return dg.MaterializeResult(data_version=dg.DataVersion(done.revision), metadata=metadata)

    return gallery


def gallery_metadata(done: WrittenGallery) -> dict[str, Any]:
    """What the page shows, and whether anything was written."""
    return {
        "dagster/uri": done.uri,
        "pixverse/clips": done.clips,
        "pixverse/rows_without_clip": done.rows_without_clip,
        "pixverse/unchanged": done.unchanged,
        "pixverse/files_written": len(done.written),
        "pixverse/bytes_written": done.bytes_written,
    }


def build_gallery_job(spec: PipelineSpec) -> Any:
    """The job of that asset alone, in the run's own process."""
    make: Any = dg.define_asset_job  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    return make(
        f"{spec.name}_gallery",
        selection=[dg.AssetKey([spec.name, "gallery"])],
        executor_def=dg.in_process_executor,
        description="Writes the page of the clips, or what is new in it. Costs nothing.",
    )


def build_gallery_sensor(spec: PipelineSpec, job: Any) -> dg.SensorDefinition:
    """The sensor that asks for that job where anything happened since: at most once a minute."""

    @dg.sensor(  # pyright: ignore[reportUnknownMemberType]
        name=f"{spec.name}_gallery",
        job=job,
        minimum_interval_seconds=RENEW_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        required_resource_keys={spec.ledger_key},
        description="Renews the page of the clips where clips, tasks or the table changed. No clip waits for it. Costs "
        "nothing.",
    )
    def renew(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        resource: LedgerResource = getattr(context.resources, spec.ledger_key)
        with redacted_errors():
            seen = look(resource.get_ledger(context.instance), spec.name, context.cursor)
        words = _wait_for(context.instance, job.name, is_new=seen != context.cursor)
        if words:
            return dg.SensorResult(skip_reason=words, cursor=context.cursor)
        return dg.SensorResult(run_requests=[dg.RunRequest(job_name=job.name)], cursor=seen)

    return renew


def look(ledger: Ledger, pipeline: str, cursor: str | None) -> str:
    """What the page would be made of, as a cursor: the same text while nothing of this pipeline happened.

    The last position of the history that tells of the pipeline, and its latest reading of the table.
    """
    position = ledger.overview.position()
    before = _read_cursor(cursor)
    if before is not None and not ledger.history.after(before, 1, pipeline):
        position = before
    return json.dumps([position, ledger.rows.latest_snapshot(pipeline)])


def _read_cursor(cursor: str | None) -> int | None:
    """The position in a cursor; None if there is none, or it is of another form."""
    try:
        return int(json.loads(cursor or "null")[0])
    except (ValueError, TypeError, IndexError):
        return None


def _wait_for(instance: dg.DagsterInstance, job: str, *, is_new: bool) -> str:
    """Why no run is asked for now; empty if one is. A run that failed is made up for, also where nothing is new."""
    records = instance.get_run_records(dg.RunsFilter(job_name=job), limit=1)
    now, last = time.time(), records[0] if records else None
    if last and not last.dagster_run.is_finished and now - last.create_timestamp.timestamp() < GIVEN_UP_SECONDS:
        return "a run is writing the page: the next tick looks again"
    if is_new:
        return ""
    if last and not last.dagster_run.is_success and now - last.create_timestamp.timestamp() > AGAIN_SECONDS:
        return ""
    return "nothing has happened since the page was written"
