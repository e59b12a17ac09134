"""A pipeline as Dagster runs it."""

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import dagster as dg

from pixverse_dagster.core.commands import CommandLine
from pixverse_dagster.core.errors import NotSent
from pixverse_dagster.orchestration.cancellation import RunWatch, reporting_run
from pixverse_dagster.orchestration.commands import find_command_line
from pixverse_dagster.orchestration.resources import LedgerResource, ProviderResource
from pixverse_dagster.stages.recorded import record_to
from pixverse_dagster.stages.session import Pipeline, Session
from pixverse_dagster.transport.download import Downloader

PIPELINE_NAME = r"[A-Za-z0-9_]{1,100}"
"""What a pipeline may be called: it names assets, jobs and a folder."""


@dataclass(frozen=True)
class PipelineSpec:
    """A pipeline's configuration, its partitions, and the resources it asks for.

    The resource keys carry the pipeline's name, so that any number of pipelines stand side by side in one project.
    """

    pipeline: Pipeline
    providers: tuple[str, ...]
    table_asset: dg.AssetKey | None = None
    """The asset whose value is the prompt table, where it is one."""
    loaded_from: CommandLine = field(default_factory=CommandLine)
    """Where the definitions are loaded from, as far as that is known while they are."""

    @property
    def name(self) -> str:
        """The pipeline's name."""
        return self.pipeline.name

    @property
    def group_name(self) -> str:
        """The group that the assets are shown in."""
        return self.pipeline.options.group_name or self.name

    @property
    def partitions(self) -> dg.DynamicPartitionsDefinition:
        """One partition per row."""
        return dg.DynamicPartitionsDefinition(name=f"{self.name}_rows")

    @property
    def ledger_key(self) -> str:
        """The ledger's resource key."""
        return f"{self.name}_ledger"

    @property
    def clips_key(self) -> str:
        """The IO manager's resource key."""
        return f"{self.name}_clips"

    def provider_key(self, provider: str) -> str:
        """A provider account's resource key."""
        return f"{self.name}_{provider}"

    @property
    def resource_keys(self) -> set[str]:
        """What a sensor of this pipeline needs, or an op that neither submits nor stores."""
        return {self.ledger_key, *map(self.provider_key, self.providers)}

    def commands(self, instance: dg.DagsterInstance, run: dg.DagsterRun | None = None) -> CommandLine:
        """The commands that messages name, as this pipeline is found again."""
        return find_command_line(self.name, self.loaded_from, instance, run)

    @property
    def run_resource_keys(self) -> set[str]:
        """What an op of this pipeline needs that submits or stores: the store, too."""
        return {*self.resource_keys, self.clips_key}

    def open(
        self,
        resources: Any,
        instance: dg.DagsterInstance,
        run: dg.DagsterRun | None = None,
        stopped: Callable[[], bool] = bool,
        commands: CommandLine | None = None,
    ) -> Session:
        """A session on this pipeline; close it after use."""
        ledger: LedgerResource = getattr(resources, self.ledger_key)
        clients: Mapping[str, ProviderResource] = {
            name: getattr(resources, self.provider_key(name)) for name in self.providers
        }
        opened = ledger.get_ledger(instance)
        worlds = opened.worlds.find(self.name)
        session = Session(
            pipeline=self.pipeline,
            ledger=opened,
            clients={name: resource.get_client(worlds) for name, resource in clients.items()},
            downloader=Downloader(self.pipeline.options.download),
            run_id=run.run_id if run else "",
            clock=time.time,
            stopped=stopped,
            commands=commands or self.commands(instance, run),
            # Looked up when it is used: a sensor has no store among its resources, and needs none.
            open_store=lambda: getattr(resources, self.clips_key).get_store(),
        )
        if self.pipeline.options.record:
            record_to(session, self.pipeline.options.record)
        return session

    @contextmanager
    def open_run(self, context: Any, keys: Sequence[str]) -> Generator[Session]:
        """A session for a run that submits these rows; its log says how they stand, and if it is stopped, what goes on.

        Raises NotSent where the ledger of what is paid for would be deleted with Dagster's temporary home.
        """
        watch = RunWatch(context.instance, context.run.run_id)
        with (
            self.open(context.resources, context.instance, context.run, watch) as session,
            reporting_run(session, keys, context.log),
        ):
            ledger: LedgerResource = getattr(context.resources, self.ledger_key)
            if ledger.is_temporary(context.instance) and any(one.costs_money for one in session.clients.values()):
                raise NotSent(
                    f"pipeline {self.name!r} was about to spend money, and Dagster's storage is temporary: it would be "
                    "deleted in the end, and with it the ledger of what was paid for. Nothing was sent. Set "
                    "DAGSTER_HOME to a directory that stays, or give LedgerResource a url, and run again"
                )
            yield session
