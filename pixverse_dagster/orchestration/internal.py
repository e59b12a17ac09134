"""Names that Dagster does not make public.

They are looked up when they are needed, and where a release has one no more, the pipeline goes on without it and says
so once: a paid task does not wait for an upgrade.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any

from pixverse_dagster.core.values import import_name
from pixverse_dagster.transport.logs import get_logger

_log = get_logger()

INTERNAL: Mapping[str, str] = {
    "AssetCheckEvaluationTargetMaterializationData": "dagster._core.definitions.asset_checks.asset_check_evaluation",
    "AssetMaterializationPlannedData": "dagster._core.events",
    "LoadableTargetOrigin": "dagster._core.types.loadable_target_origin",
    "PartitionKeyFilter": "dagster._core.event_api",
}
"""Every such name that is used, with its module."""


@cache
def internal(name: str) -> Any:
    """One of the names, or None where this release of Dagster does not have it."""
    module = INTERNAL[name]
    try:
        return import_name(f"{module}:{name}")
    except (ImportError, AttributeError):
        _log.warning("this release of Dagster has no %s.%s; going on without it", module, name)
        return None
