"""Turns rows of a prompt table into requests, or into problems that say what to change. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from pydantic import ValidationError

from pixverse_dagster.core.manifest import Difference, InputImage
from pixverse_dagster.core.redaction import redact_value
from pixverse_dagster.core.request import Request
from pixverse_dagster.core.row import (
    MAX_MESSAGE_CHARACTERS,
    Problem,
    RawRow,
    Row,
    retake,
)
from pixverse_dagster.core.text import shorten
from pixverse_dagster.providers import MODELS
from pixverse_dagster.tables.cells import find_wordless, label_text
from pixverse_dagster.tables.columns import is_empty
from pixverse_dagster.tables.keys import id_complaint, is_unicode
from pixverse_dagster.tables.rules import MAX_NAME, RESERVED, TableRules, parameter_names, suggest
from pixverse_dagster.tables.words import is_null_word

_MAX_COMPLAINTS = 20
"""Most complaints of one kind about one row, and most lines that are listed for one id."""
_MAX_QUOTED = 40
"""Longest value that a message quotes, in characters."""
_WHOLE = re.compile(r"0*([0-9]{1,9})(?:\.0*)?")
"""A whole number, also as spreadsheets write it: `1.0`."""
_WHOLE_TEXT = re.compile(r"\s*([+-]?[0-9]+)\.0*\s*")
_CLOCK = re.compile(r"0?([0-9]{1,2}):0?([0-9]{1,2})(?::00(?:\.0+)?)?")
"""`16:9` as a spreadsheet shows it that took it for a time: `16:09:00`."""


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


def parse_row(raw: RawRow, rules: TableRules) -> Draft | list[Problem]:
    """The draft of a row under a table's rules, or the problems that it has."""
    try:
        return _parse_row(raw, rules)
    except RecursionError:
        return [Problem(raw.line, "", "", "a cell is nested too deeply")]


def _parse_row(raw: RawRow, rules: TableRules) -> Draft | list[Problem]:
    cells = {str(name).strip(): value for name, value in raw.cells.items() if not is_empty(value)}
    row_id = _text(cells.get("id"))
    complaint = raw.complaint or _wordless_complaint(cells, rules)
    found = [("", complaint)] if complaint else _key_complaints(row_id, cells, rules)
    problems = [Problem(raw.line, row_id, *bad) for bad in found]
    model = MODELS.get(_model_name(cells, rules))
    if complaint or not row_id or model is None:
        # Without an id it is a line of totals or a footnote: nothing else in it is meant as a row.
        return problems
    parameters = {n: _as_meant(v, n, model) for n, v in cells.items() if n not in RESERVED and n not in rules.labels}
    unknown = [column for column in parameters if column not in model.model_fields]
    nothing = [name for name, value in parameters.items() if _stands_for_nothing(value, name, model)]
    bad_cells = _unknown_column_complaints(unknown, model)
    bad_cells += [(name, _null_word_complaint(parameters[name])) for name in nothing]
    left_out = {*unknown, *nothing}
    parameters = {name: value for name, value in parameters.items() if name not in left_out}
    applicable = set(model.model_fields) - set(parameters) - model.displaced(parameters) - set(nothing)
    defaults = {name: value for name, value in rules.defaults.items() if name in applicable}
    request = None
    try:
        request = model.model_validate({**defaults, **parameters})
    except ValidationError as error:
        bad_cells += [bad for bad in _validation_complaints(error, model) if bad[0] not in nothing]
    labels = {label: label_text(cells[label]) for label in rules.labels if label in cells}
    problems += [Problem(raw.line, row_id, *bad) for bad in (*bad_cells, *_label_complaints(labels))]
    take = _take(cells, rules)
    if problems or take is None or request is None:
        return problems
    left = {name: value for name, value in rules.defaults.items() if name not in {*RESERVED, *defaults, *parameters}}
    return Draft(raw, row_id, take, labels, request, tuple(_differences(left, {**defaults, **parameters}, request)))


def _key_complaints(row_id: str, cells: Mapping[str, Any], rules: TableRules) -> list[tuple[str, str]]:
    """What is wrong with the id, the take and the model of a row; without an id, nothing else counts."""
    found: list[tuple[str, str]] = []
    if complaint := id_complaint(row_id):
        found.append(("id", complaint))
    if not row_id:
        return found
    if _take(cells, rules) is None:
        found.append(("take", "must be a whole number from 1 to 9999: raise it by one to ask for another clip"))
    if (name := _model_name(cells, rules)) not in MODELS:
        found.append(("model", _model_complaint(name)))
    return found


def _model_name(cells: Mapping[str, Any], rules: TableRules) -> str:
    return _text(cells.get("model", rules.defaults.get("model")))


def _differences(left: Mapping[str, Any], asked: Mapping[str, Any], request: Request) -> Iterator[Difference]:
    """What is not sent as it was asked for: defaults that the row's model does not take, and text in another form."""
    secret = {name for name in {*left, *asked} if any(model.keeps_secret(name) for model in MODELS.values())}
    for name, value in left.items():
        if not is_empty(value):
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


def _wordless_complaint(cells: Mapping[str, Any], rules: TableRules) -> str:
    """The complaint about values that JSON cannot express, which are good for labels only."""
    return "; ".join(
        f"has {found.complaint} in column {name[:MAX_NAME]!r}"
        for name, value in cells.items()
        if name not in rules.labels and (found := find_wordless(value)) is not None
    )


def _as_meant(value: Any, column: str, model: type[Request]) -> Any:
    """A cell as its column means it: the same number, text or shape, whichever format has written it."""
    if column in model.model_fields and model.is_text(column):
        return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value
    if not isinstance(value, str):
        return value
    if column == "aspect_ratio" and (clock := _CLOCK.fullmatch(value.strip())):
        return f"{clock.group(1)}:{clock.group(2)}"
    return found.group(1) if (found := _WHOLE_TEXT.fullmatch(value)) else value


def _stands_for_nothing(value: Any, column: str, model: type[Request]) -> bool:
    if column not in model.model_fields or not isinstance(value, str) or not is_null_word(value):
        return False
    return not model.is_choice(column, value.strip())


def _null_word_complaint(word: str) -> str:
    return (
        f"is the word {word.strip()!r}, which stands for no value and is not paid for: empty the cell, or mend what "
        "wrote it"
    )


def _enumerate(lines: Sequence[int]) -> str:
    more = len(lines) - _MAX_COMPLAINTS
    return ", ".join(map(str, lines[:_MAX_COMPLAINTS])) + (f" and {more} more" if more > 0 else "")


def _text(value: Any) -> str:
    return "" if value is None else str(value).strip()


def _take(cells: Mapping[str, Any], rules: TableRules) -> int | None:
    found = _WHOLE.fullmatch(str(cells.get("take", rules.defaults.get("take", 1))).strip())
    take = int(found.group(1)) if found else 0
    return take if 1 <= take <= 9999 else None  # noqa: PLR2004 - any bound will do


def _label_complaints(labels: Mapping[str, str]) -> list[tuple[str, str]]:
    bad = "is not valid Unicode text: perhaps a character was cut in half"
    return [(label, bad) for label, text in labels.items() if not is_unicode(text)]


def _model_complaint(name: str) -> str:
    if not name:
        return f"is empty and the pipeline has no default model: use one of {', '.join(MODELS)}"
    near = get_close_matches(name[:MAX_NAME], MODELS, n=1, cutoff=0.5)
    return f"there is no model {name[:MAX_NAME]!r}" + (
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
    hint = suggest(column, model)
    return f"is not a parameter of {model.MODEL}{hint} (a column that only describes is declared as a label)"


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
