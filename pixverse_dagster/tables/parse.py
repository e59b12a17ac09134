"""Turns rows of a prompt table into requests, or into problems that say what to change. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cache
from typing import Any

from pydantic import ValidationError

from pixverse_dagster.core.errors import InvalidTable
from pixverse_dagster.core.layout import encode_row
from pixverse_dagster.core.manifest import Difference, InputImage
from pixverse_dagster.core.redaction import redact_value
from pixverse_dagster.core.request import Request
from pixverse_dagster.core.row import (
    CONTROL_CHARACTERS,
    MAX_ID_BYTES,
    MAX_MESSAGE_CHARACTERS,
    Problem,
    RawRow,
    Row,
    retake,
)
from pixverse_dagster.core.text import shorten
from pixverse_dagster.providers import MODELS

RESERVED = ("id", "model", "take")
_MAX_COMPLAINTS = 20
"""Most complaints of one kind about one row, and most lines that are listed for one id."""
_MAX_QUOTED = 40
"""Longest value that a message quotes, in characters."""
_WHOLE = re.compile(r"0*([0-9]{1,9})(?:\.0*)?")
"""A whole number, also as spreadsheets write it: `1.0`."""
_MAX_NAME = 80
"""How many characters of a cell are compared with known names: a cell may be as long as the table."""


@dataclass(frozen=True)
class TableRules:
    """How a pipeline reads its table: values for empty cells, and columns that are kept as labels only."""

    defaults: Mapping[str, Any] = field(default_factory=dict[str, Any])
    labels: Sequence[str] = ()

    def check(self) -> None:
        """Raise InvalidTable if a default is not a parameter, or if a label is one."""
        for name in self.defaults:
            if name not in {"model", "take"} and name not in parameter_names():
                raise InvalidTable(f"default {name!r} is not a parameter of any model{_suggestion(name, None)}")
        for name in self.labels:
            if name in RESERVED or name in parameter_names():
                raise InvalidTable(f"label {name!r} is a parameter: it changes what is generated and cannot be a label")


@dataclass(frozen=True)
class Draft:
    """A row whose request is valid, but whose images have not been checked yet."""

    raw: RawRow
    id: str
    take: int
    labels: Mapping[str, str]
    request: Request
    differences: tuple[Difference, ...] = ()

    def problem(self, column: str, message: str) -> Problem:
        """A problem of this row."""
        return Problem(self.raw.line, self.id, column, message)

    def complete(self, images: Mapping[str, InputImage]) -> Row:
        """The row with its checked images, by reference, and its digest."""
        row = Row(self.id, self.raw.line, self.take, self.labels, self.request, images, "", self.differences)
        return retake(row, self.take)


@cache
def parameter_names() -> frozenset[str]:
    """Every parameter of every model."""
    return frozenset(name for model in MODELS.values() for name in model.model_fields)


def parse_row(raw: RawRow, rules: TableRules) -> Draft | list[Problem]:
    """The draft of a row under a table's rules, or the problems that it has."""
    try:
        return _parse_row(raw, rules)
    except RecursionError:
        return [Problem(raw.line, "", "", "a cell is nested too deeply")]


def _parse_row(raw: RawRow, rules: TableRules) -> Draft | list[Problem]:
    cells = {str(name).strip(): value for name, value in raw.cells.items() if not _empty(value)}
    row_id = _text(cells.get("id"))
    problems: list[Problem] = []

    def complain(column: str, message: str) -> None:
        problems.append(Problem(raw.line, row_id, column, message))

    if raw.complaint:
        complain("", raw.complaint)
        return problems
    if complaint := id_complaint(row_id):
        complain("id", complaint)
    take = _take(cells.get("take", rules.defaults.get("take", 1)))
    if take is None:
        complain("take", "must be a whole number from 1 to 9999: raise it by one to ask for another clip")
    name = _text(cells.get("model", rules.defaults.get("model")))
    model = MODELS.get(name)
    if model is None:
        complain("model", _model_complaint(name))
        return problems
    parameters = {n: v for n, v in cells.items() if n not in RESERVED and n not in rules.labels}
    unknown = [column for column in parameters if column not in model.model_fields]
    problems += [Problem(raw.line, row_id, *bad) for bad in _unknown_column_complaints(unknown, model)]
    parameters = {name: value for name, value in parameters.items() if name in model.model_fields}
    applicable = set(model.model_fields) - set(parameters) - model.displaced(parameters)
    defaults = {name: value for name, value in rules.defaults.items() if name in applicable}
    try:
        request = model.model_validate({**defaults, **parameters})
    except ValidationError as error:
        for column, message in _validation_complaints(error, model):
            complain(column, message)
        return problems
    labels = {label: _text(cells[label]) for label in rules.labels if label in cells}
    problems += [Problem(raw.line, row_id, *bad) for bad in _label_complaints(labels)]
    if problems or take is None:
        return problems
    left = {name: value for name, value in rules.defaults.items() if name not in {*RESERVED, *defaults, *parameters}}
    return Draft(raw, row_id, take, labels, request, tuple(_differences(left, {**defaults, **parameters}, request)))


def _differences(left: Mapping[str, Any], asked: Mapping[str, Any], request: Request) -> Iterator[Difference]:
    """What is not sent as it was asked for: defaults that the row's model does not take, and text in another form."""
    secret = {name for name in {*left, *asked} if any(model.keeps_secret(name) for model in MODELS.values())}
    for name, value in left.items():
        if not _empty(value):
            yield Difference(field=name, asked="…" if name in secret else _shown_value(value))
    for name, value in asked.items():
        sent = getattr(request, name)
        if isinstance(value, str) and isinstance(sent, str) and value.strip() != sent and name not in secret:
            yield Difference(field=name, asked=_shown_value(value), sent=_shown_value(sent))


def _shown_value(value: Any) -> str:
    return shorten(str(redact_value(str(value))), MAX_MESSAGE_CHARACTERS)


def duplicate_problems(drafts: Sequence[Draft]) -> list[Problem]:
    """A problem for every row that shares its id with another row: which of them is meant cannot be known."""
    lines: dict[str, list[int]] = {}
    for draft in drafts:
        lines.setdefault(draft.id, []).append(draft.raw.line)
    named = {row: _enumerate(found) for row, found in lines.items() if len(found) > 1}
    return [
        draft.problem("id", f"the id is on lines {named[draft.id]}: give each row its own")
        for draft in drafts
        if draft.id in named
    ]


def double_problem(raw: RawRow, first_line: int) -> Problem:
    """The problem of a row whose id only seems to differ from that of an earlier row, which counts."""
    return Problem(
        raw.line,
        _row_id(raw),
        "id",
        f"looks the same as the id on line {first_line}, which counts: they differ only in invisible characters, kinds "
        "of space or the form of their Unicode text. Give this row an id of its own, or remove it",
    )


def _row_id(raw: RawRow) -> str:
    return next((_text(value) for name, value in raw.cells.items() if str(name).strip() == "id"), "")


def _enumerate(lines: Sequence[int]) -> str:
    more = len(lines) - _MAX_COMPLAINTS
    return ", ".join(map(str, lines[:_MAX_COMPLAINTS])) + (f" and {more} more" if more > 0 else "")


def _empty(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _text(value: Any) -> str:
    return "" if value is None else str(value).strip()


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _take(value: Any) -> int | None:
    found = _WHOLE.fullmatch(str(value).strip())
    take = int(found.group(1)) if found else 0
    return take if 1 <= take <= 9999 else None  # noqa: PLR2004 - any bound will do


def id_complaint(row_id: str) -> str:
    if not row_id:
        return "is empty: every row needs an id, which becomes its partition key"
    if CONTROL_CHARACTERS.search(row_id):
        return "has a control character, which a partition key cannot have: use letters, digits, '-', '_' and '.'"
    for mark in ("...", ",", "/", "\\", '"'):
        if mark in row_id:
            return f"has {mark!r}, which Dagster's partition selection cannot carry: use '-' or '_' instead"
    if not _is_unicode(row_id):
        return "is not valid Unicode text: use letters, digits, '-', '_' and '.'"
    if (size := max(len(row_id), len(encode_row(row_id[:MAX_MESSAGE_CHARACTERS])))) > MAX_ID_BYTES:
        return f"is {size} bytes long as a folder name; at most {MAX_ID_BYTES} fit: use a shorter id"
    return ""


def _label_complaints(labels: Mapping[str, str]) -> list[tuple[str, str]]:
    bad = "is not valid Unicode text: perhaps a character was cut in half"
    return [(label, bad) for label, text in labels.items() if not _is_unicode(text)]


def _model_complaint(name: str) -> str:
    if not name:
        return f"is empty and the pipeline has no default model: use one of {', '.join(MODELS)}"
    near = get_close_matches(name[:_MAX_NAME], MODELS, n=1, cutoff=0.5)
    return f"there is no model {name[:_MAX_NAME]!r}" + (
        f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(MODELS)}"
    )


def _unknown_column_complaints(columns: list[str], model: type[Request]) -> list[tuple[str, str]]:
    more = len(columns) - _MAX_COMPLAINTS
    found = [(column, _column_complaint(column, model)) for column in columns[:_MAX_COMPLAINTS]]
    return [*found, ("", f"has {more} more cells that are not parameters of {model.MODEL}")] if more > 0 else found


def _column_complaint(column: str, model: type[Request]) -> str:
    if column in parameter_names():
        others = ", ".join(name for name, other in MODELS.items() if column in other.model_fields)
        return f"{model.MODEL} has no {column}; it belongs to {others}. Empty the cell or change the model"
    hint = _suggestion(column, model)
    return f"is not a parameter of {model.MODEL}{hint} (a column that only describes is declared as a label)"


def _suggestion(column: str, model: type[Request] | None) -> str:
    models = [model] if model else list(MODELS.values())
    column = column[:_MAX_NAME]
    by_provider_name = {theirs.lower(): ours for m in models for theirs, ours in m.provider_names().items()}
    if (ours := by_provider_name.get(column.lower())) and ours != column:
        return f"; here it is called {ours!r}"
    names = [*RESERVED, *(name for m in models for name in m.model_fields)]
    near = get_close_matches(column.lower(), names, n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""


def _quoted(value: Any) -> str:
    """The end of a message, which quotes a wrong value. Empty for long ones and for URLs, which may be credentials."""
    if not isinstance(value, str | int | float) or len(words := repr(value)) > _MAX_QUOTED or "://" in words:
        return ""
    return f", not {words}"


def _validation_complaints(error: ValidationError, model: type[Request]) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for item in error.errors(include_url=False, include_context=False)[:_MAX_COMPLAINTS]:
        message = item["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
        column, *inner = [str(part) for part in item["loc"]] or [""]
        # A rule over several columns starts its message with the column that a person would change.
        if not column and (head := message.split(":", 1)[0].split(" ", 1)[0]) in model.model_fields:
            column, message = head, message.removeprefix(f"{head}: ")
        if item["type"] == "missing" and not inner:
            message = f"is required by {model.MODEL} and is empty"
        elif column in model.model_fields and not model.keeps_secret(column):
            message += _quoted(item["input"])
        found.append((column, f"{'.'.join(inner)}: {message}" if inner else message))
    return found
