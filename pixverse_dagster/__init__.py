"""PixVerse video in Dagster: tables of prompts in, stored clips with lineage out, every clip paid for once.

Importing this package loads nothing else; each name loads its module when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pixverse_dagster.core.clip import Clip
    from pixverse_dagster.core.errors import (
        ClipInvalid,
        InvalidRow,
        InvalidTable,
        NoAnswer,
        NoSlot,
        NotReady,
        NotSent,
        OutcomeUnknown,
        OutOfCredit,
        OverBudget,
        Paused,
        PixverseError,
        RateLimited,
        ReadFailed,
        Refused,
        ResultExpired,
        RowChanged,
        StoreConflict,
        TaskFailed,
        Unauthorized,
    )
    from pixverse_dagster.core.manifest import ClipManifest
    from pixverse_dagster.core.price import Price
    from pixverse_dagster.orchestration.component import PixverseClipsComponent
    from pixverse_dagster.orchestration.factory import build_clips_definitions
    from pixverse_dagster.orchestration.io_managers.local import LocalClipIOManager
    from pixverse_dagster.orchestration.io_managers.s3 import S3ClipIOManager
    from pixverse_dagster.orchestration.resources import (
        HighwayResource,
        LedgerResource,
        PixwithResource,
        RunwareResource,
    )
    from pixverse_dagster.policy.budget import Budget
    from pixverse_dagster.policy.quality import CheckRules
    from pixverse_dagster.policy.retry import RetryPolicy
    from pixverse_dagster.policy.timing import Pace
    from pixverse_dagster.stages.options import PipelineOptions
    from pixverse_dagster.tables import CallableTable, FileTable, SqlTable, ValueTable

__version__ = version("pixverse-dagster")

_HOMES = {
    "policy.budget": ("Budget",),
    "core.clip": ("Clip",),
    "core.manifest": ("ClipManifest",),
    "orchestration.component": ("PixverseClipsComponent",),
    "core.errors": (
        "ClipInvalid",
        "InvalidRow",
        "InvalidTable",
        "NoAnswer",
        "NoSlot",
        "Paused",
        "RowChanged",
        "NotReady",
        "NotSent",
        "OutOfCredit",
        "OutcomeUnknown",
        "OverBudget",
        "PixverseError",
        "RateLimited",
        "ReadFailed",
        "Refused",
        "ResultExpired",
        "StoreConflict",
        "TaskFailed",
        "Unauthorized",
    ),
    "stages.options": ("PipelineOptions",),
    "orchestration.factory": ("build_clips_definitions",),
    "policy.quality": ("CheckRules",),
    "orchestration.io_managers.local": ("LocalClipIOManager",),
    "orchestration.io_managers.s3": ("S3ClipIOManager",),
    "policy.timing": ("Pace",),
    "core.price": ("Price",),
    "policy.retry": ("RetryPolicy",),
    "tables": ("CallableTable", "FileTable", "SqlTable", "ValueTable"),
    "orchestration.resources": ("HighwayResource", "LedgerResource", "PixwithResource", "RunwareResource"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Budget",
    "CallableTable",
    "CheckRules",
    "Clip",
    "ClipInvalid",
    "ClipManifest",
    "FileTable",
    "HighwayResource",
    "InvalidRow",
    "InvalidTable",
    "LedgerResource",
    "LocalClipIOManager",
    "NoAnswer",
    "NoSlot",
    "NotReady",
    "NotSent",
    "OutOfCredit",
    "OutcomeUnknown",
    "OverBudget",
    "Pace",
    "Paused",
    "PipelineOptions",
    "PixverseClipsComponent",
    "PixverseError",
    "PixwithResource",
    "Price",
    "RateLimited",
    "ReadFailed",
    "Refused",
    "ResultExpired",
    "RetryPolicy",
    "RowChanged",
    "RunwareResource",
    "S3ClipIOManager",
    "SqlTable",
    "StoreConflict",
    "TaskFailed",
    "Unauthorized",
    "ValueTable",
    "build_clips_definitions",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME_OF})
