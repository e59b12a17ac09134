"""From the columns that a table has to the names that are known here: one step for every source. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pixverse_dagster.core.errors import InvalidTable
from pixverse_dagster.core.row import RawRow
from pixverse_dagster.core.text import normal_text
from pixverse_dagster.tables.keys import key_of_words
from pixverse_dagster.tables.notes import Notes, list_columns, same_name
from pixverse_dagster.tables.rules import EVERY, RESERVED, TableRules, parameter_names, suggest

_STAYS = "Nothing was sent, and the rows, partitions and clips that are there stay"
_MAX_HINTS = 50
_MAX_LINES = 10
_POSITION = re.compile(r"#|n[ro]?\.?|(row|line|record)?[ _-]*(index|number|no\.?|num|position|pos)|row|line|\d+|@index")


@dataclass(frozen=True)
class Arranged:
    """A table's rows with the names that are known here.

    `names` says, for each column of the table, which it is here; several, or none if it is left out. `rules` are the
    table's, with its labels one by one.
    """

    rows: Sequence[RawRow]
    rules: TableRules
    names: Mapping[str, Sequence[str]] = field(default_factory=dict[str, Sequence[str]])
    cautions: Sequence[str] = ()


def arrange(table: str, rows: Iterable[RawRow], rules: TableRules, notes: Notes) -> Arranged:
    """Give the rows of a whole table the names that are known here, and leave out those that are blank.

    A name is found whatever its case, spaces and hyphens; what `columns` of the rules says comes first. Raises
    InvalidTable, for the table as a whole, if it has no column of ids, or none that `columns` names.
    """
    given = [row for row in rows if row.complaint or not all(map(is_empty, row.cells.values()))]
    columns = notes.columns or list(dict.fromkeys(str(name).strip() for row in given for name in row.cells))
    names = _find_names(table, columns, rules, whole=notes.columns is not None)
    if columns or given:
        _check_ids(table, columns, names, given)
    labels = [label for label in rules.labels if label != EVERY]
    cautions: list[str] = []
    if EVERY in rules.labels:
        known = {*RESERVED, *parameter_names(), *labels}
        others = [column for column, found in names.items() if found == [column] and column not in known]
        labels += others
        hints = {name: suggest(name, None) for name in others[:_MAX_HINTS]}
        cautions += [f"column {name[:100]!r} is kept as a label{hint}" for name, hint in hints.items() if hint]
    cautions += [f"column {column[:100]!r} is left out: `columns` takes another one for it"
                 for column, found in names.items() if not found]  # fmt: skip
    arranged = [_rename(row, names) for row in given] if any(n != [c] for c, n in names.items()) else given
    if any({"id", "prompt"} <= set(found) for found in names.values()):
        arranged, said = _with_keys_of_words(arranged, frozenset(labels))
        cautions += said
    return Arranged(arranged, replace(rules, labels=labels, columns={}), names, cautions)


def _with_keys_of_words(rows: Sequence[RawRow], labels: frozenset[str]) -> tuple[list[RawRow], list[str]]:
    """The rows of a table whose words are its ids, each once: the same words with the same parameters are one row."""
    kept: list[RawRow] = []
    first: dict[str, RawRow] = {}
    repeated: list[int] = []
    for row in rows:
        words = row.cells.get("prompt")
        if row.complaint or not isinstance(words, str) or is_empty(words):
            kept.append(row)
            continue
        key = key_of_words(words)
        before = first.setdefault(key, row)
        if before is not row and _parameters(before, labels) == _parameters(row, labels):
            repeated.append(row.line)
        else:
            kept.append(replace(row, cells={**row.cells, "id": key}))
    lines = ", ".join(map(str, repeated[:_MAX_LINES])) + ("…" if len(repeated) > _MAX_LINES else "")
    said = f"the words of {len(repeated)} rows are those of an earlier row, and count once: lines {lines}"
    return kept, [said] if repeated else []


def _parameters(row: RawRow, labels: frozenset[str]) -> dict[str, Any]:
    counted = {name: cell for name, cell in row.cells.items() if name not in {*labels, "id"} and not is_empty(cell)}
    return {name: normal_text(cell) if isinstance(cell, str) else cell for name, cell in counted.items()}


def is_empty(value: Any) -> bool:
    """Whether a cell has nothing in it."""
    return value is None or (isinstance(value, str) and not value.strip())


def _find_names(table: str, columns: Sequence[str], rules: TableRules, *, whole: bool) -> dict[str, list[str]]:
    """What each column of the table is called here. `whole`: every row has all of the columns."""
    labels = [label for label in rules.labels if label != EVERY]
    known = {same_name(name): name for name in (*labels, *RESERVED, *sorted(parameter_names()))}
    exact = {*labels, *known.values()}
    names: dict[str, list[str]] = {column: [] for column in columns}
    for name, source in rules.columns.items():
        names[_find_source(table, name, source, columns)].append(name)
    first: dict[str, str] = {}
    for column, found in names.items():
        name = column if column in exact else known.get(same_name(column), column)
        if name in rules.columns:
            continue
        if whole and name in first:
            raise InvalidTable(
                f"{table}: columns {first[name][:100]!r} and {column[:100]!r} both mean {name!r}: rename or remove "
                f"one. {_STAYS}"
            )
        first.setdefault(name, column)
        # A column that `columns` names for something else keeps its own meaning only if it has one.
        if not found or name in exact:
            found.append(name)
    return names


def _find_source(table: str, name: str, source: str, columns: Sequence[str]) -> str:
    written = str(source).strip()
    if written in columns:
        return written
    near = [column for column in columns if same_name(column) == same_name(written)]
    if len(near) == 1:
        return near[0]
    moves = ""
    if name == "id" and _POSITION.fullmatch(written.lower()):
        moves = (
            " An id made from the position is not taken: it moves when a row is put in or taken out, and then other "
            "rows would be paid for again."
        )
    raise InvalidTable(
        f"{table}: there is no column {written[:100]!r}, which `columns` names for {name!r}.{moves} "
        f"The table has: {list_columns(columns)}. {_STAYS}"
    )


def _check_ids(table: str, columns: Sequence[str], names: Mapping[str, Sequence[str]], rows: Sequence[RawRow]) -> None:
    if any("id" in found for found in names.values()):
        return
    if not columns:
        first = f"line {rows[0].line}: {rows[0].complaint}" if rows else ""
        raise InvalidTable(f"{table}: not one row of it can be read; {first}. {_STAYS}")
    raise InvalidTable(
        f"{table}: has no column 'id', which names each row's partition. The table has: {list_columns(columns)}. Name "
        f"the column that tells its rows apart: `columns: {{id: …}}`, or add one. {_STAYS}"
    )


def _rename(row: RawRow, names: Mapping[str, Sequence[str]]) -> RawRow:
    cells: dict[str, Any] = {}
    complaint = row.complaint
    for column, value in row.cells.items():
        for name in names.get(str(column).strip(), (column,)):
            if name in cells and not is_empty(cells[name]) and not is_empty(value):
                complaint = complaint or f"has column {name!r} twice: rename or remove one"
            elif name not in cells or not is_empty(value):
                cells[name] = value
    return replace(row, cells=cells, complaint=complaint)
