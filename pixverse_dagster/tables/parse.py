"""Turns rows of a prompt table into requests, or into problems that say what to change. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
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
from pixverse_dagster.tables.accepted import ROUNDED, nearest, rounded
from pixverse_dagster.tables.cells import find_wordless, label_text
from pixverse_dagster.tables.columns import is_empty
from pixverse_dagster.tables.keys import id_complaint, is_unicode
from pixverse_dagster.tables.moving import Asked, image_columns, is_unsupported, move, without_unsupported
from pixverse_dagster.tables.rules import MAX_NAME, RESERVED, TableRules, model_complaint, parameter_names, suggest
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
    columns: Mapping[str, str] = field(default_factory=dict[str, str])
    """By its reference, the column of the table that an image is from, where the request has it in another."""

    @property
    def place(self) -> tuple[int, str]:
        """Its line and its id, as problems of it have them."""
        return self.problem("", "").place

    def image_column(self, reference: str) -> str:
        """The column of the table that names this image."""
        return self.columns.get(reference) or self.request.image_column(reference)

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
    nothing = [name for name, value in parameters.items() if _stands_for_nothing(value, name, model)]
    meant = {name: value for name, value in parameters.items() if name not in nothing}
    asked = move(meant, rules.defaults, model, drop=rules.on_unsupported == "drop")
    unknown = [column for column in asked.cells if column not in model.model_fields]
    bad_cells = [*asked.complaints, *_unknown_column_complaints(unknown, model, rules)]
    bad_cells += [(name, _null_word_complaint(str(parameters[name]))) for name in nothing]
    given = {name: asked.cells[name] for name in model.model_fields if name in asked.cells}
    applicable = set(model.model_fields) - set(given) - model.displaced(given) - set(nothing)
    defaults = _applied(rules, applicable, model)
    values = {**defaults, **given}
    rounds = rounded(model, values) if rules.rounding == "nearest" else {}
    request = None
    try:
        request = model.model_validate({**values, **rounds})
    except ValidationError as error:
        bad_cells += [bad for bad in _validation_complaints(error, model, rules) if bad[0] not in nothing]
    labels = {label: label_text(cells[label]) for label in rules.labels if label in cells}
    problems += [Problem(raw.line, row_id, *bad) for bad in (*bad_cells, *_label_complaints(labels))]
    take = _take(cells, rules)
    if problems or take is None or request is None:
        return problems
    wanted = {name: value for name, value in {**rules.defaults, **meant}.items() if name not in RESERVED}
    found = tuple(_differences(wanted, asked, {*values}, {*rounds}, request))
    return Draft(raw, row_id, take, labels, request, found, asked.columns)


def _applied(rules: TableRules, applicable: Collection[str], model: type[Request]) -> dict[str, Any]:
    """The defaults that fill the empty cells of a row."""
    defaults = {name: value for name, value in rules.defaults.items() if name in applicable}
    return without_unsupported(defaults, model) if rules.on_unsupported == "drop" else defaults


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


@cache
def _secret_columns() -> frozenset[str]:
    """The columns that hold a credential, at any model."""
    return frozenset(name for model in MODELS.values() for name in model.model_fields if model.keeps_secret(name))


def _differences(
    wanted: Mapping[str, Any], asked: Asked, values: Collection[str], rounds: Collection[str], request: Request
) -> Iterator[Difference]:
    """What is not sent as it was asked for, in cells or by default.

    What the row's model does not take, what it takes in other columns or only near to it, and text in another form.
    """
    secret = _secret_columns() & wanted.keys()
    for name, value in wanted.items():
        if is_empty(value):
            continue
        shown = "…" if name in secret else _shown_value(value)
        sent = getattr(request, name, None)
        if name in asked.sent:
            yield Difference(field=name, asked=shown, sent=asked.sent[name])
        elif name in asked.dropped or name in rounds or (name not in values and name not in asked.anyway):
            left = sent is None or name in secret or (name not in asked.dropped and name not in rounds)
            yield Difference(field=name, asked=shown, sent=None if left else _shown_value(sent))
        elif isinstance(value, str) and isinstance(sent, str) and value.strip() != sent and name not in secret:
            yield Difference(field=name, asked=shown, sent=_shown_value(sent))


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
    if not isinstance(value, str) or not is_null_word(value):
        return False
    if column not in model.model_fields:
        return column in image_columns()
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
    return model_complaint(name)


def _unknown_column_complaints(
    columns: Sequence[str], model: type[Request], rules: TableRules
) -> list[tuple[str, str]]:
    more = len(columns) - _MAX_COMPLAINTS
    found = [(column, _column_complaint(column, model, rules)) for column in columns[:_MAX_COMPLAINTS]]
    return [*found, ("", f"has {more} more cells that are not parameters of {model.MODEL}")] if more > 0 else found


def _column_complaint(column: str, model: type[Request], rules: TableRules) -> str:
    if column in parameter_names():
        others = ", ".join(name for name, other in MODELS.items() if column in other.model_fields)
        way = _way_out(column, model, rules)
        return f"{model.MODEL} has no {column}; it belongs to {others}. Empty the cell or change the model{way}"
    hint = suggest(column, model)
    return f"is not a parameter of {model.MODEL}{hint} (a column that only describes is declared as a label)"


def _way_out(column: str, model: type[Request], rules: TableRules) -> str:
    """The end of a message: the option with which the row could be generated."""
    if rules.on_unsupported == "drop" or (column in image_columns() and not model.max_images()):
        return ""
    takes = "sends its images as the model takes them" if column in image_columns() else "leaves it out"
    return f"; `on_unsupported: drop` {takes}"


def _value_way_out(column: str, value: Any, model: type[Request], rules: TableRules) -> str:
    if column in ROUNDED and nearest(model, column, value) and rules.rounding == "refuse":
        return "; `rounding: nearest` takes the nearest"
    return _way_out(column, model, rules) if is_unsupported(column, value, model) else ""


def _quoted(value: Any) -> str:
    """The end of a message, which quotes a wrong value. Empty for long ones and for URLs, which may be credentials."""
    if not isinstance(value, str | int | float) or len(words := repr(value)) > _MAX_QUOTED or "://" in words:
        return ""
    return f", not {words}"


def _validation_complaints(error: ValidationError, model: type[Request], rules: TableRules) -> list[tuple[str, str]]:
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
            message += _value_way_out(column, item["input"], model, rules)
        found.append((column, f"{'.'.join(inner)}: {message}" if inner else message))
    return found
