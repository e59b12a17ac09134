"""PixVerse video in Dagster: tables of prompts in, stored clips with lineage out, every clip paid for once.

Importing this package loads nothing else; each name loads its module when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pixverse_dagster.budget import Budget
    from pixverse_dagster.clip import Clip, ClipManifest
    from pixverse_dagster.component import PixverseClipsComponent
    from pixverse_dagster.errors import (
        ClipInvalid,
        InvalidRow,
        InvalidTable,
        NoSlot,
        NotReady,
        NotSent,
        OutcomeUnknown,
        OutOfCredit,
        OverBudget,
        PixverseError,
        RateLimited,
        ReadFailed,
        Refused,
        ResultExpired,
        StoreConflict,
        TaskFailed,
        Unauthorized,
    )
    from pixverse_dagster.factory import PipelineOptions, build_clips_definitions
    from pixverse_dagster.inspection import CheckRules
    from pixverse_dagster.io_managers.local import LocalClipIOManager
    from pixverse_dagster.io_managers.s3 import S3ClipIOManager
    from pixverse_dagster.pace import Pace
    from pixverse_dagster.prices import Price
    from pixverse_dagster.resources import HighwayResource, LedgerResource, PixwithResource, RunwareResource
    from pixverse_dagster.retry import RetryPolicy
    from pixverse_dagster.tables import CallableTable, FileTable, SqlTable, ValueTable

__version__ = version("pixverse-dagster")

_HOMES = {
    "budget": ("Budget",),
    "clip": ("Clip", "ClipManifest"),
    "component": ("PixverseClipsComponent",),
    "errors": (
        "ClipInvalid",
        "InvalidRow",
        "InvalidTable",
        "NoSlot",
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
    "factory": ("PipelineOptions", "build_clips_definitions"),
    "inspection": ("CheckRules",),
    "io_managers.local": ("LocalClipIOManager",),
    "io_managers.s3": ("S3ClipIOManager",),
    "pace": ("Pace",),
    "prices": ("Price",),
    "retry": ("RetryPolicy",),
    "tables": ("CallableTable", "FileTable", "SqlTable", "ValueTable"),
    "resources": ("HighwayResource", "LedgerResource", "PixwithResource", "RunwareResource"),
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
    "NoSlot",
    "NotReady",
    "NotSent",
    "OutOfCredit",
    "OutcomeUnknown",
    "OverBudget",
    "Pace",
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
