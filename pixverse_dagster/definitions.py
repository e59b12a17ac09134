"""This project's own code location: one pipeline, configured by the environment.

Without any configuration it runs the sample table against the simulator on this machine, and no key is read.
`PIXVERSE_MODE=live` is the decision to spend money: then the providers whose keys are set are used.
docs/configuration.md lists the variables; they are those of `orchestration.environment.variables`.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dagster as dg

from pixverse_dagster.core.errors import InvalidTable
from pixverse_dagster.orchestration.environment import ProjectSettings, read_options, read_project, read_store
from pixverse_dagster.orchestration.factory import build_clips_definitions
from pixverse_dagster.orchestration.io_managers.base import ClipIOManager
from pixverse_dagster.orchestration.io_managers.stores import build_io_manager
from pixverse_dagster.orchestration.resources import RESOURCES, LedgerResource, ProviderResource, key_variable
from pixverse_dagster.tables import FileTable

SAMPLE_TABLE = Path(__file__).parent / "samples" / "prompts.csv"


def _providers(project: ProjectSettings) -> Sequence[ProviderResource]:
    url = project.simulator_url.rstrip("/")
    chosen: list[ProviderResource] = []
    for name, resource in RESOURCES.items():
        own: dict[str, Any] = dict(project.accounts.get(name, {}))
        if project.mode == "simulator":
            own = {"api_key": "simulator", "base_url": f"{url}/{name}", "max_concurrency": 4} | own
        elif os.environ.get(key_variable(name)):
            own["api_key"] = dg.EnvVar(key_variable(name))
        else:
            continue
        chosen.append(resource(**own))
    if not chosen:
        needed = ", ".join(map(key_variable, RESOURCES))
        raise InvalidTable(f"PIXVERSE_MODE=live needs at least one of {needed}. Nothing was sent")
    return chosen


def _clips(project: ProjectSettings) -> ClipIOManager:
    ledger = LedgerResource(url=dg.EnvVar("PIXVERSE_LEDGER_URL") if project.ledger_url else None)
    return build_io_manager(*read_store(), ledger)


def build() -> dg.Definitions:
    """The definitions for the environment as it is now."""
    project = read_project()
    options = read_options(project)
    pipeline = build_clips_definitions(
        project.name,
        FileTable(project.prompts or SAMPLE_TABLE, project.rows or None, rules=options.download),
        providers=_providers(project),
        clips=_clips(project),
        options=options,
    )
    # One run has one step here: a second process per run would only cost time.
    return dg.Definitions.merge(pipeline, dg.Definitions(executor=dg.in_process_executor))


defs = build()
