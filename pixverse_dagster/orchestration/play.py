"""Plays Dagster's daemon in this process: looks with a sensor, and runs what it asks for, one run after the other.

The demo and `pixverse_dagster.testing` use it. It spends nothing by itself: whoever calls it decides what is submitted.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any, cast

import dagster as dg

from pixverse_dagster.orchestration.spec import PipelineSpec
from pixverse_dagster.stages.session import Session

_QUIET: Mapping[str, Any] = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


def find_pipelines(definitions: dg.Definitions) -> list[PipelineSpec]:
    """The pipelines of these definitions."""
    return [one for one in (definitions.resources or {}).values() if isinstance(one, PipelineSpec)]


class Player:
    """Does for these definitions what Dagster's daemon does, when it is told to.

    `resources` are those that are set up already; without them, each tick and each run sets up its own.
    """

    def __init__(
        self, definitions: dg.Definitions, instance: dg.DagsterInstance, resources: Mapping[str, Any] | None = None
    ) -> None:
        self.definitions = definitions
        self.instance = instance
        self._resources: Mapping[str, Any] = (definitions.resources or {}) if resources is None else resources
        self._cursors: dict[str, str | None] = {}

    def open(self, spec: PipelineSpec) -> Session:
        """A session on one of the pipelines; close it after use."""
        return spec.open(SimpleNamespace(**self._resources), self.instance)

    def cursor(self, sensor: str) -> str | None:
        """What this sensor wants to remember; None if it has not looked."""
        return self._cursors.get(sensor)

    def read(self, pipeline: str) -> dg.ExecuteInProcessResult:
        """Read the prompt table of a pipeline, as materialising `prompts` does. Costs nothing."""
        job = self.definitions.resolve_implicit_global_asset_job_def()
        return self._execute(job, {}, asset_selection=[dg.AssetKey([pipeline, "prompts"])])

    def submit(self, pipeline: str, rows: Sequence[str]) -> dg.ExecuteInProcessResult:
        """Submit these rows, in one run."""
        name = f"{pipeline}_submit"
        config = {"ops": {f"{name}_rows": {"config": {"rows": list(rows)}}}}
        return self._execute(self.definitions.resolve_job_def(name), config)

    def tick(self, sensor: str) -> list[dg.RunRequest]:
        """One look of a sensor of a pipeline's: its events are on record, its cursor is kept, its runs are returned."""
        found = self.definitions.resolve_sensor_def(sensor)
        wanted = {key: self._resources[key] for key in found.required_resource_keys}
        with dg.build_sensor_context(
            instance=self.instance,
            resources=wanted,
            definitions=self.definitions,
            cursor=self._cursors.get(sensor),
            sensor_name=sensor,
        ) as context:
            said = found.evaluate_tick(context)
        self._cursors[sensor] = said.cursor
        for event in said.asset_events or ():
            self.instance.report_runless_asset_event(cast("Any", event))
        return list(said.run_requests or ())

    def run(self, request: dg.RunRequest) -> dg.ExecuteInProcessResult:
        """The run that a sensor asked for."""
        job = self.definitions.resolve_job_def(str(request.job_name))
        return self._execute(job, dict(request.run_config), tags=dict(request.tags))

    def _execute(self, job: dg.JobDefinition, config: dict[str, Any], **options: Any) -> dg.ExecuteInProcessResult:
        with warnings.catch_warnings():
            # Dagster meets its own, where a resource has another one; in a test, a warning may be an error.
            warnings.filterwarnings("ignore", r"InitResourceContext\.dagster_run is deprecated", DeprecationWarning)
            return job.execute_in_process(
                run_config={**_QUIET, **config}, instance=self.instance, raise_on_error=False, **options
            )


def failures(result: dg.ExecuteInProcessResult) -> list[str]:
    """What the failed steps of a run said; empty if it succeeded."""
    if result.success:
        return []
    events = result.filter_events(lambda event: event.is_step_failure)
    found = [event.step_failure_data for event in events]
    return [(one.user_failure_data and one.user_failure_data.description) or str(one.error) for one in found]
