"""Prompt tables in files: what is no table is refused whole, what is wrong with a row stays with the row."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from pixverse_dagster.core.errors import InvalidTable
from pixverse_dagster.core.row import Problem, RawRow
from pixverse_dagster.tables import FileTable
from pixverse_dagster.tables.files import look_at
from pixverse_dagster.tables.parse import Draft, TableRules, parse_row
from pixverse_dagster_tests.harness.tables import CELLS, TABLES, as_parquet

arrow: Any = import_module("pyarrow")
parquet: Any = import_module("pyarrow.parquet")

RULES = TableRules(defaults={"model": "runware/pixverse-v4.5"}, labels=["campaign"])


def rows(folder: Path, text: str | bytes, name: str = "rows.csv", first_rows: int | None = None) -> list[RawRow]:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return list(FileTable(path, first_rows).read())


def lines(found: list[RawRow]) -> list[tuple[int, dict[str, Any]]]:
    assert [row.complaint for row in found] == [""] * len(found)
    return [(row.line, dict(row.cells)) for row in found]


CSV: list[tuple[str, str | bytes, list[tuple[int, dict[str, str]]]]] = [
    ("plain", "id,prompt\na,kite\nb,dune\n", [(2, {"id": "a", "prompt": "kite"}), (3, {"id": "b", "prompt": "dune"})]),
    ("no newline at the end", "id,prompt\na,kite", [(2, {"id": "a", "prompt": "kite"})]),
    ("Windows line ends", "id,prompt\r\na,kite\r\nb,dune\r\n", [
        (2, {"id": "a", "prompt": "kite"}), (3, {"id": "b", "prompt": "dune"})]),
    ("byte order mark", b"\xef\xbb\xbfid,prompt\na,kite\n", [(2, {"id": "a", "prompt": "kite"})]),
    ("spaces in the header", " id , prompt \na,kite\n", [(2, {"id": "a", "prompt": "kite"})]),
    ("blank lines", "id,prompt\n\na,kite\n\n\nb,dune\n\n", [
        (3, {"id": "a", "prompt": "kite"}), (6, {"id": "b", "prompt": "dune"})]),
    ("a comma in quotes", 'id,prompt\na,"kite, red"\n', [(2, {"id": "a", "prompt": "kite, red"})]),
    ("quotes in quotes", 'id,prompt\na,"a ""red"" kite"\n', [(2, {"id": "a", "prompt": 'a "red" kite'})]),
    ("a newline in quotes", 'id,prompt\na,"kite\nover\ndunes"\nb,dune\n', [
        (2, {"id": "a", "prompt": "kite\nover\ndunes"}), (5, {"id": "b", "prompt": "dune"})]),
    ("text of every script", "id,prompt\n日本,🪁 é\n", [(2, {"id": "日本", "prompt": "🪁 é"})]),
    ("an unnamed empty column", "id,prompt,\na,kite,\n", [(2, {"id": "a", "prompt": "kite"})]),
    ("a header and nothing else", "id,prompt\n", []),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), [case[1:] for case in CSV], ids=[case[0] for case in CSV])
def test_csv_rows_are_read_with_the_lines_a_person_would_look_at(
    tmp_path: Path, text: str | bytes, expected: list[tuple[int, dict[str, str]]]
):
    """Line 1 is the header; a row that spans lines is at its first."""
    assert lines(rows(tmp_path, text)) == expected


RAGGED = [
    ("short", "a", 1),
    ("long, from a comma without quotes", "a,kite, red", 3),
    ("something under an unnamed column", "a,kite,x", 3),
]


@pytest.mark.parametrize(("line", "cells"), [case[1:] for case in RAGGED], ids=[case[0] for case in RAGGED])
def test_a_ragged_row_is_a_problem_of_its_own_and_never_generated(tmp_path: Path, line: str, cells: int):
    """A shifted cell would pay for the wrong words; the rows around it go on."""
    header = "id,prompt," if line.endswith("x") else "id,prompt"
    tail = "," if line.endswith("x") else ""
    found = [parse_row(row, RULES) for row in rows(tmp_path, f"{header}\nb,dune{tail}\n{line}\nc,dune{tail}\n")]
    assert [isinstance(row, Draft) for row in found] == [True, False, True]
    (problem,) = found[1] if isinstance(found[1], list) else []
    width = 3 if tail else 2
    assert str(problem) == (
        f"line 3, row 'a': has {cells} cells where the header has {width}: a comma may need quotes around its cell"
    )


UNREADABLE: list[tuple[str, str, str | bytes, str]] = [
    ("a column twice", "rows.csv", "id,prompt,prompt\na,b,c\n", "column 'prompt' is there twice"),
    ("a column twice but for spaces", "rows.csv", "id,prompt, prompt\na,b,c\n", "rename or remove one"),
    ("an empty file", "rows.csv", "", "first line must name the columns"),
    ("an empty header", "rows.csv", ",,\na,b,c\n", "first line must name the columns"),
    ("a blank first line", "rows.csv", "\nid,prompt\n", "first line must name the columns"),
    ("neither UTF-8 nor western", "rows.csv", "id,prompt\na,дюна\n".encode("cp1251"), "save it as UTF-8"),
    ("both UTF-8 and western", "rows.csv", "id,prompt\na,é\n".encode() + b"b,\xe9t\xe9\n", "save it as UTF-8"),
    ("not UTF-8 JSON", "rows.jsonl", b'{"id": "\xff"}\n', "save it as UTF-8"),
    ("a quote that never closes", "rows.csv", 'id,prompt\na,"kite\n', "not readable as CSV"),
    ("text after a quote", "rows.csv", 'id,prompt\na,"kite" red\n', "rows.csv, line 2: not readable as CSV"),
    ("no Parquet", "rows.parquet", "id,prompt\n", "rows.parquet: not readable as Parquet"),
    ("an empty Parquet", "rows.parquet", "", "Nothing was sent"),
    ("a cell beyond all measure", "rows.csv", f"id,prompt\na,{'x' * 200_000}\n", "line 2: not readable as CSV"),
    ("another kind of file", "rows.docx", "PK", "tables are .csv, .tsv, .txt, .json, .jsonl, .ndjson"),
    ("no suffix", "rows", "id,prompt\n", "not ''"),
]


@pytest.mark.parametrize(("name", "text", "words"), [c[1:] for c in UNREADABLE], ids=[c[0] for c in UNREADABLE])
def test_a_file_that_is_no_table_is_refused_by_name(tmp_path: Path, name: str, text: str | bytes, words: str):
    """With the file and what to do; never with half of its rows taken for the whole."""
    with pytest.raises(InvalidTable, match="rows") as refused:
        rows(tmp_path, text, name)
    assert str(tmp_path / name) in str(refused.value)
    assert words in str(refused.value)


def test_a_file_that_is_not_there_is_said_to_be_missing(tmp_path: Path):
    """And that nothing was sent."""
    with pytest.raises(InvalidTable, match=r"none\.csv: there is no such file\. Nothing was sent"):
        list(FileTable(tmp_path / "none.csv").read())


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.ndjson", "ROWS.JSONL"])
def test_json_lines_keep_their_types_and_line_numbers(tmp_path: Path, name: str):
    """Blank lines count, an unfinished last line is read, values stay what they are."""
    text = '\ufeff{"id": 1, "seed": 5}\n\n  \n{"id": "b", "audio": true, "references": [{"name": "x"}]}'
    assert lines(rows(tmp_path, text, name)) == [
        (1, {"id": 1, "seed": 5}),
        (4, {"id": "b", "audio": True, "references": [{"name": "x"}]}),
    ]


BAD_LINES = [
    ("{", "is not JSON"),
    ("kite", "is not JSON"),
    ("{'id': 'a'}", "is not JSON"),
    ("[" * 100_000, "is not JSON"),
    ('{"seed": ' + "9" * 5000 + "}", "is not JSON"),
    ("[1, 2]", "is not a JSON object"),
    ('"kite"', "is not a JSON object"),
    ("null", "is not a JSON object"),
    ("7", "is not a JSON object"),
]


@pytest.mark.parametrize(("line", "words"), BAD_LINES, ids=range(len(BAD_LINES)))
def test_a_bad_json_line_is_a_problem_of_its_own(tmp_path: Path, line: str, words: str):
    """The lines around it are read."""
    good = json.dumps({"id": "a", "prompt": "kite"})
    found = [parse_row(row, RULES) for row in rows(tmp_path, f"{good}\n{line}\n{good}\n", "rows.jsonl")]
    assert [isinstance(row, Draft) for row in found] == [True, False, True]
    assert isinstance(found[1], list)
    (problem,) = found[1]
    assert (problem.line, problem.column) == (2, "")
    assert problem.message.startswith(words)
    assert len(problem.message) < 300


def test_a_json_null_is_an_empty_cell(tmp_path: Path):
    """It takes the default, like an empty cell of a CSV, also as a label, an id or a take."""
    as_json = '{"id": "a", "prompt": "kite", "seed": null, "take": null, "campaign": null, "model": null}\n'
    as_csv = "id,prompt,seed,take,campaign,model\na,kite,,,,\n"
    (one,), (other,) = rows(tmp_path, as_json, "rows.jsonl"), rows(tmp_path, as_csv)
    first, second = parse_row(one, RULES), parse_row(other, RULES)
    assert isinstance(first, Draft)
    assert isinstance(second, Draft)
    assert (first.request, first.take, first.labels) == (second.request, second.take, second.labels) == (
        first.request, 1, {})  # fmt: skip
    missing = parse_row(RawRow(1, {"id": None, "prompt": "kite"}), RULES)
    assert isinstance(missing, list)
    assert [(type(problem), problem.column) for problem in missing] == [(Problem, "id")]


def test_first_rows_leaves_the_rest_unread(tmp_path: Path):
    """A trial of two rows does not fail over a fault in the third."""
    text = 'id,prompt\na,kite\nb,dune\nc,"open'
    assert [row.cells["id"] for row in rows(tmp_path, text, first_rows=2)] == ["a", "b"]
    with pytest.raises(InvalidTable, match="line 4"):
        rows(tmp_path, text)


def test_a_table_is_read_lazily_and_twice_the_same(tmp_path: Path):
    """Reading again begins again; a reader may stop anywhere."""
    path = tmp_path / "rows.csv"
    path.write_text("id,prompt\n" + "".join(f"r{n},kite\n" for n in range(1000)))
    table = FileTable(path)
    assert next(iter(table.read())).cells["id"] == "r0"
    assert list(table.read()) == list(table.read())
    assert table.describe() == str(path)


def test_a_key_that_is_there_twice_is_a_problem_of_its_row(tmp_path: Path):
    """As a column that is there twice is one of a CSV: which value is meant cannot be guessed."""
    path = tmp_path / "t.jsonl"
    path.write_text('{"id": "a", "prompt": "x", "prompt": "y"}\n{"id": "b", "prompt": "z"}\n')
    first, second = FileTable(path).read()
    assert "key 'prompt' is there twice" in first.complaint
    assert (second.cells["id"], second.complaint) == ("b", "")


def test_parquet_rows_keep_their_types_and_are_counted(tmp_path: Path):
    """The first record is line 1; row groups do not show; what a row's struct lacks is absent."""
    records = [{"id": n, "prompt": "kite", "seed": None if n else 5, "audio": True} for n in range(7)]
    references = [[{"name": "x", "type": None}], []]
    table = arrow.Table.from_pylist(records)
    found = lines(rows(tmp_path, as_parquet(table, row_group_size=2), "rows.parquet"))
    assert found == [(n + 1, record) for n, record in enumerate(records)]
    data = as_parquet(arrow.table({"references": references}))
    assert [row.cells["references"] for row in rows(tmp_path, data, "t.PARQUET")] == [[{"name": "x"}], []]


def test_a_parquet_column_that_is_there_twice_is_refused(tmp_path: Path):
    """Whichever was read would be a guess."""
    with pytest.raises(InvalidTable, match="column 'prompt' is there twice"):
        rows(tmp_path, as_parquet(arrow.table([["a"], ["b"]], names=["prompt", " prompt"])), "rows.parquet")


def test_first_rows_of_parquet_leave_the_rest_unread(tmp_path: Path):
    """A trial of one row does not fail over the bytes after it."""
    data = bytearray(as_parquet(arrow.table({"id": ["a", "b"]}), row_group_size=1, use_dictionary=False))
    at = parquet.ParquetFile(io.BytesIO(data)).metadata.row_group(1).column(0).data_page_offset
    data[at : at + 9] = b"\xff" * 9
    assert [row.cells["id"] for row in rows(tmp_path, bytes(data), "rows.parquet", first_rows=1)] == ["a"]
    with pytest.raises(InvalidTable, match="not readable as Parquet"):
        rows(tmp_path, bytes(data), "rows.parquet")


def test_without_pyarrow_a_parquet_table_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """It is an extra: CSV and JSON Lines do without it."""
    data = as_parquet(arrow.table({"id": ["a"]}))
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(InvalidTable, match=r"install pixverse-dagster\[parquet\]"):
        rows(tmp_path, data, "rows.parquet")
    assert len(rows(tmp_path, "id\na\n")) == 1


def test_a_file_url_is_a_path(tmp_path: Path):
    """Percent-encoded, as URLs are."""
    path = tmp_path / "my rows.csv"
    path.write_bytes(TABLES["rows.csv"])
    table = FileTable(path.as_uri())
    assert [row.cells for row in table.read()] == CELLS
    assert (table.describe(), table.folder) == (str(path), str(tmp_path))


# A table that changes while it is read


def append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"c,a wave\n")


def swap(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(path.read_bytes() + b"\n")
    other.replace(path)


CHANGES: dict[str, Callable[[Path], object]] = {
    "appended to": append,
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-3]),
    "emptied": lambda path: path.write_bytes(b""),
    "swapped": swap,
    "written anew": lambda path: (path.write_bytes(path.read_bytes()), os.utime(path, ns=(1, 1))),
    "deleted": Path.unlink,
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", TABLES)
def test_a_table_that_changes_while_it_is_read_is_not_taken(tmp_path: Path, name: str, change: str):
    """In every format and however: a half of it may be new and a half old, or the writer has not ended."""
    path = tmp_path / name
    path.write_bytes(TABLES[name])
    reading = FileTable(path).read()
    assert next(reading).cells == CELLS[0]
    CHANGES[change](path)
    with pytest.raises(InvalidTable, match=f"{name}: changed while it was read.*Nothing was sent"):
        list(reading)


@pytest.mark.parametrize("name", TABLES)
def test_a_large_table_that_is_being_written_is_said_to_be_so(tmp_path: Path, name: str):
    """What is wrong with its bytes is not its author's fault."""
    path = tmp_path / name
    rows = [{"id": f"r{n}", "prompt": f"kite {n} " + "x" * 200} for n in range(8000)]
    whole = {
        "rows.csv": "id,prompt\n" + "".join(f"{row['id']},{row['prompt']}\n" for row in rows),
        "rows.jsonl": "".join(json.dumps(row) + "\n" for row in rows),
    }
    table = arrow.table({name: [row[name] for row in rows] for name in rows[0]})
    path.write_bytes(whole[name].encode() if name in whole else as_parquet(table, row_group_size=1000))
    reading = FileTable(path).read()
    assert next(reading).cells == rows[0]
    with path.open("r+b") as file:
        file.truncate(300_000)
        file.seek(290_000)
        file.write(b"\xff" * 10_000)
    with pytest.raises(InvalidTable, match="changed while it was read"):
        list(reading)


def test_a_watched_table_is_taken_when_two_looks_in_a_row_saw_the_same():
    """Whatever any clock says. What was taken is not taken again, also if it was away or half written in between."""
    looks = ["a", "b", "b", "b", "c", "b", "c", "d", "d", None, "d", "e", None, "e", "e", "d", "d"]
    taken, cursor = list[str | None](), None
    for seen in looks:
        look = look_at(cursor, seen)
        cursor = look.cursor
        taken.append(seen if look.is_due else None)
    due = {2: "b", 8: "d", 14: "e", 16: "d"}
    assert taken == [due.get(n) for n in range(len(looks))]


@pytest.mark.parametrize("cursor", ["", "17-3", "[]", '{"taken": 3}', "{", "null"])
def test_a_cursor_that_says_nothing_is_a_first_look(cursor: str):
    """It is taken at the look after it."""
    first = look_at(cursor, "17-3")
    assert not first.is_due
    assert look_at(first.cursor, "17-3").is_due
