"""What a person may say about how a table is read, and what was found about it while it was read."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field

from pixverse_dagster.core.row import legible
from pixverse_dagster.tables.ids import final_id

_COLUMNS_SHOWN = 12
_NAME_SHOWN = 60
_NAME_COMPARED = 1000


@dataclass(frozen=True)
class FileSettings:
    """How a file is read, where its name and its content do not say so.

    `format` is a file name ending without its dot; `sheet` and `range` are those of a workbook; `columns` are the names
    that the table should have, for a header whose separator is not clear.
    """

    format: str | None = None
    sheet: str | None = None
    range: str | None = None
    columns: frozenset[str] = frozenset({"id", "prompt"})


@dataclass
class Notes:
    """What was found while a table was read. A reader fills it in as it goes.

    `columns` are those of the header; None where each record has its own. `facts` are what a person may want to know
    of the file: its separator, encoding or sheet. `cautions` are what looks odd and stops nothing.
    """

    columns: list[str] | None = None
    facts: dict[str, str] = field(default_factory=dict[str, str])
    cautions: list[str] = field(default_factory=list[str])


def same_name(name: str) -> str:
    """A text that is the same for column names that differ in case, spaces, hyphens or invisible characters only."""
    plain = name if name.isascii() else final_id(unicodedata.normalize("NFKC", name[:_NAME_COMPARED]))
    return "_".join(plain.casefold().replace("_", " ").replace("-", " ").split())


def list_columns(names: Iterable[str]) -> str:
    """Column names as a message shows them."""
    found = [name for name in names if name]
    shown = [repr(legible(name, _NAME_SHOWN)) for name in found[:_COLUMNS_SHOWN]]
    more = len(found) - _COLUMNS_SHOWN
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "") if shown else "none"
