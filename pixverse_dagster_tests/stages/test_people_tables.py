"""Tables as people's tools write them: read as they are meant, or refused as a whole in one sentence."""

from __future__ import annotations

import csv
import datetime as dt
import io
import json
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from pixverse_dagster.core.errors import InvalidTable
from pixverse_dagster.stages.drafts import ReadDrafts, read_drafts
from pixverse_dagster.stages.read import TableReading, record_table
from pixverse_dagster.stages.session import Session
from pixverse_dagster.stages.shrinkage import check_shrinkage
from pixverse_dagster.tables import FileTable, PromptTable, SqlTable, ValueTable, open_table
from pixverse_dagster.tables.notes import FileSettings
from pixverse_dagster.tables.rules import TableRules
from pixverse_dagster_tests.harness.factories import make_row, session_in
from pixverse_dagster_tests.harness.tables import as_parquet

arrow: Any = import_module("pyarrow")
openpyxl: Any = import_module("openpyxl")
pandas: Any = import_module("pandas")
polars: Any = import_module("polars")
DEFAULTS = {"model": "runware/pixverse-v4.5"}


def read(source: Any, columns: Mapping[str, str] | None = None, labels: Sequence[str] = (), **more: Any) -> ReadDrafts:
    """What a table of a pipeline of Runware's model is read as."""
    table = open_table(source)
    if isinstance(table, FileTable):
        wanted = frozenset({"id", "prompt", *(columns or {}).values()})
        table = table.with_settings(FileSettings(columns=wanted, **more))
    return read_drafts(table, TableRules(DEFAULTS, labels, columns or {}))


def text(folder: Path, content: str | bytes, name: str = "rows.csv", **more: Any) -> ReadDrafts:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read(path, **more)


def ids(found: ReadDrafts) -> list[str]:
    return [draft.id for draft in found.drafts]


def bad(found: ReadDrafts) -> list[tuple[str, str]]:
    return [(problem.row, problem.column) for problem in found.problems]


# One table of nasty cells, in every form

COLUMNS = [
    "ID",
    " Prompt ",
    "Negative prompt",
    "take",
    "duration-seconds",
    "Seed",
    "aspect_ratio",
    "resolution",
    "Note",
]
NASTY: list[list[Any]] = [
    [1.0, "a kite", None, 1.0, 5.0, 7.0, None, None, "first"],
    [2.0, "  a dog\r\nruns ", "", None, 8.0, None, "16:9", "540p", None],
    [None, None, None, None, None, None, None, None, None],
    [3.0, "#REF!", None, None, None, None, None, None, None],
    [4.0, "a fern", "nan", None, None, None, None, None, "nan"],
    [5.0, "None", "<NA>", None, None, None, None, None, None],
    [6.0, "a fern", "#DIV/0!", None, None, None, None, None, None],
    [7.0, "null and void", None, 2.0, None, None, None, None, "an été"],
    [None, "Total: 7 shots", None, None, 30.0, 1.0, None, None, None],
    [8.0, "a wave", None, 1.5, None, None, None, None, None],
    [9.0, "", None, None, None, None, None, None, None],
]


def cells() -> list[dict[str, Any]]:
    return [dict(zip(COLUMNS, row, strict=True)) for row in NASTY]


def delimited(separator: str, above: str = "", encoding: str = "utf-8") -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        page = io.StringIO(newline="")
        page.write(above)
        csv.writer(page, delimiter=separator).writerows([COLUMNS, *NASTY])
        (folder / "t.csv").write_bytes(page.getvalue().encode(encoding))
        return folder / "t.csv"

    return write


def put(name: str, content: Callable[[], str | bytes]) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        made = content()
        (folder / name).write_bytes(made.encode() if isinstance(made, str) else made)
        return folder / name

    return write


def workbook(rows: Sequence[Sequence[Any]] = (), title: str = "Shots", at: tuple[int, int] = (1, 1)) -> bytes:
    book = openpyxl.Workbook()
    book.active.title = "About"
    book.active.sheet_state = "hidden"
    sheet = book.create_sheet(title)
    for down, row in enumerate(rows):
        for along, value in enumerate(row):
            sheet.cell(at[0] + down, at[1] + along, value)
    page = io.BytesIO()
    book.save(page)
    return page.getvalue()


def database(folder: Path) -> PromptTable:
    names = ", ".join(f'"{name}"' for name in COLUMNS)
    with sqlite3.connect(folder / "t.db") as connection:
        connection.execute(f"CREATE TABLE t ({names})")
        connection.executemany("INSERT INTO t VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", NASTY)
    connection.close()
    return SqlTable(f"sqlite:///{folder}/t.db", "SELECT * FROM t")


FORMS: dict[str, Callable[[Path], Any]] = {
    "CSV": delimited(","),
    "CSV with semicolons": delimited(";"),
    "CSV that says its separator": delimited(";", "sep=;\r\n"),
    "tabs": delimited("\t"),
    "bars": delimited("|"),
    "CSV with a byte-order mark": delimited(";", encoding="utf-8-sig"),
    "UTF-16": delimited("\t", encoding="utf-16"),
    "UTF-16 without a mark": delimited("\t", encoding="utf-16-le"),
    "UTF-16, the other way round": delimited(",", encoding="utf-16-be"),
    "UTF-32": delimited(",", encoding="utf-32"),
    "Windows-1252": delimited(";", encoding="cp1252"),
    "JSON Lines": put("t.jsonl", lambda: "\n".join(map(json.dumps, cells()))),
    "JSON Lines under another name": put("t.json", lambda: "\n".join(map(json.dumps, cells()))),
    "a JSON array": put("t.json", lambda: json.dumps(cells(), indent=1)),
    "rows below a key": put("t.json", lambda: json.dumps({"version": 1, "data": {"rows": cells()}})),
    "rows as arrays": put("t.json", lambda: json.dumps({"range": "A1:I12", "values": [COLUMNS, *NASTY]})),
    "Parquet": put("t.parquet", lambda: as_parquet(arrow.Table.from_pylist(cells()))),
    "Excel": put("t.xlsx", lambda: workbook([COLUMNS, *NASTY])),
    "SQLite": database,
    "a list": lambda _: cells(),
    "pandas": lambda _: pandas.DataFrame(cells()),
    "pandas with NA": lambda _: pandas.DataFrame(cells()).convert_dtypes(),
    "polars": lambda _: polars.DataFrame(cells()),
    "Arrow": lambda _: arrow.Table.from_pylist(cells()),
    "Arrow with categories": lambda _: arrow.Table.from_pandas(pandas.DataFrame(cells()).astype({"Note": "category"})),
}


@pytest.mark.parametrize("form", FORMS)
def test_one_table_of_nasty_cells_is_the_same_rows_in_every_form(tmp_path: Path, form: str):
    """Rows, takes, labels, digests and problems: what a cell means does not depend on what has written it."""
    found = read(FORMS[form](tmp_path), labels=["note"])
    expected = read(
        [
            {"id": "1", "prompt": "a kite", "duration_seconds": 5, "seed": 7, "note": "first"},
            {"id": "2", "prompt": "a dog\nruns", "duration_seconds": 8, "aspect_ratio": "16:9", "resolution": "540p"},
            {"id": "7", "prompt": "null and void", "take": 2, "note": "an été"},
        ],
        labels=["note"],
    )
    assert expected.problems == []
    rows, meant = (
        [(d.id, d.take, dict(d.labels), d.complete({}).digest) for d in one.drafts] for one in (found, expected)
    )
    assert rows == meant
    assert bad(found) == [
        ("3", "prompt"),
        ("4", "negative_prompt"),
        ("5", "prompt"),
        ("5", "negative_prompt"),
        ("6", "negative_prompt"),
        ("", "id"),
        ("8", "take"),
        ("9", "prompt"),
    ]
    assert "'#REF!'" in found.problems[0].message
    assert "'nan'" in found.problems[1].message
    assert found.remarks == ([found.remarks[0]] if form == "Windows-1252" else [])


# Files as spreadsheets and scripts leave them

PLAIN: list[tuple[str, str | bytes, list[str]]] = [
    ("semicolons", "id;prompt;resolution\nkite;a red kite;540p\nfoam;sea foam, close, slow;540p\n", ["kite", "foam"]),
    ("German Excel", "\ufeffid;prompt;duration_seconds\r\nm\u00f6we;Eine M\u00f6we \u00fcber dem Watt;5\r\n", ["möwe"]),
    ("upper case", "ID,Prompt\nkite,a red kite\n", ["kite"]),
    ("spaces and hyphens", "Id ,PROMPT,Duration Seconds,negative-prompt\nkite,a red kite,5,fog\n", ["kite"]),
    ("blank lines", "id,prompt\nkite,a red kite\n,\nfoam,sea foam\n,,\n\n ; \n", ["kite", "foam"]),
    ("empty cells beyond the header", "id,prompt\nkite,a red kite,,\n", ["kite"]),
    ("commas in the cells alone", "id;prompt\nkite;a, b, c, d\n", ["kite"]),
    ("commas in quotes in the header", 'id;"negative_prompt";prompt\nkite;"a, b";a kite\n', ["kite"]),
    (
        "tabs and quotes that are words",
        'id\tprompt\na\t"Hi" they say\nb\t"x ""y"""\nc\t"p\nq"\nd\tz"z\n',
        ["a", "b", "c", "d"],
    ),
    ("sep and tabs", "sep=\t\nid\tprompt\nkite\ta kite\n", ["kite"]),
    ("a zero-width space in the header", "\u200bid,prompt\u00a0\nkite,a kite\n", ["kite"]),
    ("one column", "prompt;id\nkite;a\n", ["a"]),
]


@pytest.mark.parametrize(("content", "rows"), [case[1:] for case in PLAIN], ids=[case[0] for case in PLAIN])
def test_a_separator_and_a_header_are_recognised(tmp_path: Path, content: str | bytes, rows: list[str]):
    """From the header line alone, whatever the cells below hold."""
    assert ids(text(tmp_path, content)) == rows


def test_a_row_of_a_table_with_sep_is_named_by_its_line(tmp_path: Path):
    """The line above the header counts, and the separator is called what it is."""
    found = text(tmp_path, "sep=;\nid;prompt\nkite;a;kite\n")
    assert [str(problem) for problem in found.problems] == [
        "line 3, row 'kite': has 3 cells where the header has 2: a semicolon may need quotes around its cell"
    ]


def test_line_ends_in_a_cell_are_one_request(tmp_path: Path):
    """As Excel and as everybody else writes them."""
    (one,), (other,) = (text(tmp_path, f'id,prompt\nkite,"a red kite{end}climbs"\n').drafts for end in ("\r\n", "\n"))
    assert one.complete({}).digest == other.complete({}).digest


WHOLE: list[tuple[str, str, str | bytes, str]] = [
    ("no id", "t.csv", "prompt,campaign\na red kite,spring\n", "has no column 'id'.*'prompt', 'campaign'"),
    ("no id and no rows", "t.csv", "prompt,campaign\n", "has no column 'id'.*'prompt', 'campaign'"),
    ("no id in JSON", "t.json", '[{"prompt": "a"}, {"name": "b"}]', "has no column 'id'.*'prompt', 'name'"),
    ("no id in Excel", "t.xlsx", workbook([["Shot", "Text"], ["a", "b"]]), "has no column 'id'.*'Shot', 'Text'"),
    ("two of a kind", "t.csv", "id,ID,prompt\na,b,c\n", "columns 'id' and 'ID' both mean 'id'"),
    ("a web page", "t.csv", "<!DOCTYPE html><html><title>Log in, please</title>\n", "web page"),
    ("a workbook under another name", "t.csv", b"PK\x03\x04\x14\x00\x06\x00\n", "is no table of text"),
    ("no JSON", "t.json", "{'id': 1}", "not readable as JSON"),
    ("words in JSON", "t.json", '{"prompts": ["a", "b"]}', "has no rows"),
    ("two tables", "t.json", '{"a": [{"id": 1}], "b": [{"id": 2}]}', "several keys: 'a', 'b'"),
    ("no line of JSON", "t.jsonl", "{\n[\n", "not one row of it can be read; line 1: is not JSON"),
    ("an empty sheet", "t.xlsx", workbook(), "must name the columns"),
    ("no workbook", "t.xlsx", b"PK", "not readable as an Excel workbook"),
]


@pytest.mark.parametrize(("name", "content", "words"), [c[1:] for c in WHOLE], ids=[c[0] for c in WHOLE])
def test_a_table_that_cannot_be_meant_is_refused_as_a_whole(tmp_path: Path, name: str, content: Any, words: str):
    """In one sentence with what is there. A reading that is refused changes nothing."""
    with pytest.raises(InvalidTable, match=words) as refused:
        text(tmp_path, content, name)
    assert str(tmp_path / name) in str(refused.value)
    assert "Nothing was sent" in str(refused.value)
    assert len(str(refused.value)) < 600 + len(str(tmp_path))


JSON: list[tuple[str, str, list[str]]] = [
    ("an array", '[{"id": "kite", "prompt": "a kite"}, {"id": "foam", "prompt": "sea foam"}]\n', ["kite", "foam"]),
    ("below a key", '{"rows": [{"id": "kite", "prompt": "kite"}, {"id": "foam", "prompt": "fog"}]}', ["kite", "foam"]),
    ("an object of objects", '{"kite": {"prompt": "a kite"}, "foam": {"prompt": "sea foam"}}', ["kite", "foam"]),
    ("with their own ids", '{"0": {"id": "a", "prompt": "kite"}, "1": {"id": "b", "prompt": "foam"}}', ["a", "b"]),
    ("one row", '{"id": "kite", "prompt": "a kite"}', ["kite"]),
    ("no row", "[]", []),
    ("no row below a key", '{"rows": []}', []),
    ("other lists", '{"tags": ["x", "y"], "rows": [{"id": "kite", "prompt": "a kite"}]}', ["kite"]),
]  # fmt: skip


@pytest.mark.parametrize(("content", "rows"), [case[1:] for case in JSON], ids=[case[0] for case in JSON])
def test_rows_are_found_in_a_json_document(tmp_path: Path, content: str, rows: list[str]):
    """Where they are the only thing that can be rows."""
    found = text(tmp_path, content, "t.json")
    assert (ids(found), found.problems) == (rows, [])


def test_a_bad_row_of_a_json_document_is_a_problem_of_its_own(tmp_path: Path):
    """By its number: no object, a key twice, and what a row of any table may have."""
    rows = (
        '[{"id": "a", "prompt": "x", "prompt": "y"}, 7, {"id": "b", "prompt": "a dune"}, {"id": "c", "prompt": "nan"}]'
    )
    found = text(tmp_path, rows, "t.json")
    assert (ids(found), [problem.line for problem in found.problems]) == (["b"], [1, 2, 4])


# Columns by other names

OWN = "Shot Code,Description,Notes\nsc01-sh010,a lighthouse in heavy rain,wide\nsc01-sh020,the lamp turns,close\n"
MINE = {"id": "Shot Code", "prompt": "Description"}


def test_columns_are_found_by_the_names_that_they_have(tmp_path: Path):
    """With the labels that are named, and with all that are nothing else."""
    named = text(tmp_path, OWN, columns=MINE, labels=["Notes"])
    every = text(tmp_path, OWN, columns={"id": "shot code", "prompt": "DESCRIPTION "}, labels=["*"])
    for found in (named, every):
        assert [(d.id, d.request.model_dump()["prompt"], dict(d.labels)) for d in found.drafts] == [
            ("sc01-sh010", "a lighthouse in heavy rain", {"Notes": "wide"}),
            ("sc01-sh020", "the lamp turns", {"Notes": "close"}),
        ]
        assert found.problems == []


def test_one_column_may_be_two_things(tmp_path: Path):
    """Prompt sets have no ids: their words tell them apart."""
    found = text(tmp_path, "Prompt\ta\na kite\tx\n", "t.tsv", columns={"id": "Prompt", "prompt": "Prompt"}, labels="*")
    assert [(d.id, d.request.model_dump()["prompt"], dict(d.labels)) for d in found.drafts] == [
        ("a kite", "a kite", {"a": "x"})
    ]
    assert ids(text(tmp_path, "prompt\na kite\n", columns={"id": "prompt"})) == ["a kite"]


def test_words_that_are_ids_give_the_same_id_again(tmp_path: Path):
    """Also long ones and those that end a sentence; the same words are one row."""
    long = "a lighthouse in heavy rain, " * 20
    page = io.StringIO(newline="")
    csv.writer(page).writerows(
        [["Text", "Category"], ["A kite.", "x"], [long, "y"], [f"{long}!", "y"], ["A kite.", "z"]]
    )
    found = text(tmp_path, page.getvalue(), columns={"id": "Text", "prompt": "Text"}, labels=["*"])
    kite, one, other = ids(found)
    assert (kite, len({one, other}), found.problems) == ("A kite", 2, [])
    assert one.startswith("a lighthouse in heavy rain, a lighthouse")
    assert found.remarks == ["the words of 1 rows are those of an earlier row, and count once: lines 5"]
    assert ids(text(tmp_path, page.getvalue(), columns={"id": "Text", "prompt": "Text"}, labels=["*"])) == [
        kite,
        one,
        other,
    ]


def test_a_column_that_gives_way_is_named(tmp_path: Path):
    """What the pipeline says of its columns comes first."""
    found = text(tmp_path, "id,prompt,prompt_long\na,short,long\n", columns={"prompt": "prompt_long"})
    assert [d.request.model_dump()["prompt"] for d in found.drafts] == ["long"]
    assert found.remarks == ["column 'prompt' is left out: `columns` takes another one for it"]


def test_a_label_that_looks_like_a_parameter_is_named(tmp_path: Path):
    """All other columns are labels, the misspelt ones as well."""
    found = text(tmp_path, "id,prompt,resoluton,Campaign\na,kite,720p,spring\n", labels=["*"])
    assert [dict(d.labels) for d in found.drafts] == [{"resoluton": "720p", "Campaign": "spring"}]
    assert found.remarks == ["column 'resoluton' is kept as a label; did you mean 'resolution'?"]


MISSING: list[tuple[dict[str, str], str]] = [
    (
        {"prompt": "Descr"},
        r"there is no column 'Descr', which `columns` names for 'prompt'",
    ),
    ({"id": "#"}, "made from the position is not taken: it moves"),
    ({"id": "row number", "prompt": "Description"}, "made from the position is not taken: it moves"),
    ({"id": "index"}, "made from the position is not taken: it moves"),
]


@pytest.mark.parametrize(("columns", "words"), MISSING, ids=[repr(c) for c, _ in MISSING])
def test_a_name_that_is_not_there_is_refused_with_those_that_are(tmp_path: Path, columns: dict[str, str], words: str):
    """An id by position among them: whoever puts a row in would pay for the ones below it again."""
    with pytest.raises(InvalidTable, match=words) as refused:
        text(tmp_path, OWN, columns=columns)
    assert "'Shot Code', 'Description', 'Notes'" in str(refused.value)
    assert ids(text(tmp_path, "#,prompt\n7,kite\n", columns={"id": "#"})) == ["7"]


@pytest.mark.parametrize("columns", [{"promt": "Description"}, {"Description": "prompt"}])
def test_a_name_that_nothing_has_here_is_refused_when_it_is_loaded(columns: dict[str, str]):
    """Also the two sides of a line the wrong way round."""
    with pytest.raises(InvalidTable, match="is neither id, model, take, a parameter nor a label"):
        TableRules(columns=columns).check()


def test_a_shape_that_yaml_took_for_a_number_is_said_once():
    """16:9 is 969 there, and every row of the table would say so."""
    with pytest.raises(InvalidTable, match=r"is the number 969: without quotes, .*Write \"16:9\" in quotes"):
        TableRules({"aspect_ratio": 969}).check()


# Words for nothing

NOTHING = ["#REF!", "#N/A", "#DIV/0!", "#VALUE!", "#NAME?", "#NULL!", "#NUM!", "#SPILL!", "#CALC!", "#ERROR!",
           "#BEZUG!", "#NV", "nan", "NaN", "-nan", "None", "NONE", "null", "NULL", "<NA>", "NaT", "N/A",
           "n/a", "NA", "undefined", "\\N", "Err:502", " nan "]  # fmt: skip
WORDS = [
    "none of the birds",
    "#cinematic kite",
    "Nan, my grandmother",
    "a null island",
    "#1",
    "na na na",
    "#wow, a kite!",
]


def test_a_word_for_nothing_is_a_problem_and_other_words_are_not():
    """In text and in every other parameter; one that a parameter knows is a value."""
    found = read([{"id": f"r{n}", "prompt": word} for n, word in enumerate(NOTHING)])
    assert (found.drafts, [problem.column for problem in found.problems]) == ([], ["prompt"] * len(NOTHING))
    found = read([{"id": f"r{n}", "prompt": "a kite", "seed": word} for n, word in enumerate(NOTHING)])
    assert (found.drafts, [problem.column for problem in found.problems]) == ([], ["seed"] * len(NOTHING))
    assert read([{"id": f"r{n}", "prompt": word} for n, word in enumerate(WORDS)]).problems == []
    assert read([{"id": "a", "prompt": "a kite", "safety_mode": "none"}]).problems == []


def test_a_true_null_is_an_empty_cell():
    """Of pandas, polars, Arrow, numpy and Python: the default counts."""
    rows = [{"id": "a", "prompt": "a kite", "seed": None}, {"id": "b", "prompt": "a kite", "seed": 7}]
    frames = [pandas.DataFrame(rows), pandas.DataFrame(rows).convert_dtypes(), polars.DataFrame(rows)]
    for table in (*frames, arrow.Table.from_pylist(rows), rows):
        found = read(table)
        assert [d.request.model_dump()["seed"] for d in found.drafts] == [None, 7]


# Excel

NOON = dt.datetime(2024, 2, 3, 12, 5)  # noqa: DTZ001 - a sheet knows no zones
SHEET = [["Shot list 2024"], [], ["ID", "Prompt", "aspect_ratio", "Date", "Seed"],
         [1, "a kite", dt.time(16, 9), dt.date(2024, 2, 3), 7.0], [2, 1984, "9:16", NOON, None],
         [3, "a dog", None, None, "#N/A"]]  # fmt: skip


def test_a_sheet_and_a_range_are_found_by_option(tmp_path: Path):
    """By name or number; a range may begin below a title. Dates, numbers and shapes are what their column means."""
    content = workbook(SHEET, "Shots", (2, 2))
    for sheet, cells_of in (("Shots", "B4:F8"), ("2", "B4"), (None, "B4")):
        found = text(tmp_path, content, "t.xlsx", labels=["Date"], sheet=sheet, range=cells_of)
        assert [(d.id, dict(d.labels), d.raw.line) for d in found.drafts] == [
            ("1", {"Date": "2024-02-03"}, 5),
            ("2", {"Date": "2024-02-03T12:05:00"}, 6),
        ]
        assert [d.request.model_dump()["aspect_ratio"] for d in found.drafts] == ["16:9", "9:16"]
        assert [d.request.model_dump()["prompt"] for d in found.drafts] == ["a kite", "1984"]
        assert bad(found) == [("3", "seed")]
        assert found.notes.facts["sheet"] == "Shots"
    for wrong, words in (
        ({"sheet": "Shot"}, "has no sheet 'Shot'; it has: 'About', 'Shots'"),
        ({"range": "B"}, "range"),
    ):
        with pytest.raises(InvalidTable, match=words):
            text(tmp_path, content, "t.xlsx", **wrong)


def test_a_formula_without_a_value_is_a_word_for_nothing(tmp_path: Path):
    """A program wrote it and none has calculated it: the cell is not empty, and no default takes its place."""
    found = text(tmp_path, workbook([["id", "prompt", "seed"], ["a", "kite", "=1+1"], ["b", "kite", 3]]), "t.xlsx")
    assert (ids(found), bad(found)) == (["b"], [("a", "seed")])


# Types that only databases and frames have


def test_labels_take_whatever_has_a_text_and_parameters_do_not():
    """Lists, structs, decimals, nanoseconds and durations, without pandas in Arrow's way."""
    typed = arrow.table({
        "id": ["a"],
        "prompt": ["kite"],
        "tags": arrow.array([["x", "y"]]),
        "who": arrow.array([{"name": "Ann", "age": None}]),
        "price": arrow.array(["1.50"]).cast(arrow.decimal128(5, 2)),
        "at": arrow.array([1_700_000_000_123_456_789], arrow.timestamp("ns")),
        "length": arrow.array([5_000_000_001], arrow.duration("ns")),
        "seal": arrow.array([b"wax"]),
        "proof": arrow.array([b"\xff\xfe"]),
        "kind": arrow.array(["wide"]).dictionary_encode(),
        "cuts": arrow.array([[1_700_000_000_123_456_789]], arrow.list_(arrow.timestamp("ns"))),
    })  # fmt: skip
    found = read(typed, labels=["*"])
    (draft,) = found.drafts
    assert dict(draft.labels) == {
        "tags": '["x", "y"]',
        "who": '{"name": "Ann"}',
        "price": "1.5",
        "at": "2023-11-14T22:13:20.123456",
        "length": "0:00:05",
        "seal": "wax",
        "proof": "(2 bytes)",
        "kind": "wide",
        "cuts": '["2023-11-14T22:13:20.123456"]',
    }
    found = read([{"id": "a", "prompt": "kite", "seed": dt.timedelta(seconds=5)}])
    assert [str(problem) for problem in found.problems] == [
        "line 1, row 'a': has a value of type timedelta (use text or numbers) in column 'seed'"
    ]


class Stream:
    """A value with Arrow's C stream and nothing else: what DuckDB's relations and dbt's results are to a reader."""

    def __init__(self, table: Any) -> None:
        self._table = table

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        return self._table.__arrow_c_stream__(requested_schema)


BLOBS: dict[str, Any] = {
    "id": ["a", "b", "c"],
    "prompt": ["kite", "dune", "wave"],
    "thumb": [b"wax", b"\xff\xfe", None],
}
"""A column of blobs beside the prompts."""
BINARY = {
    "Arrow": lambda: arrow.table(BLOBS),
    "large binary": lambda: arrow.table(BLOBS | {"thumb": arrow.array(BLOBS["thumb"], arrow.large_binary())}),
    "binary view": lambda: arrow.table(BLOBS | {"thumb": arrow.array(BLOBS["thumb"], arrow.binary_view())}),
    "fixed size": lambda: arrow.table(BLOBS | {"thumb": arrow.array([b"wax", b"\xff\xfe!", None], arrow.binary(3))}),
    "a stream": lambda: Stream(arrow.table(BLOBS)),
    "a function that gives a reader": lambda: lambda: arrow.table(BLOBS).to_reader(),
    "polars": lambda: polars.DataFrame(BLOBS),
    "a lazy frame": lambda: polars.LazyFrame(BLOBS),
    "pandas": lambda: pandas.DataFrame(BLOBS),
}


@pytest.mark.parametrize("form", BINARY)
def test_a_column_of_blobs_costs_no_row(form: str):
    """As a label it is its text or its size; left unnamed, it is a problem of the rows that have one."""
    found = read(BINARY[form](), labels=["thumb"])
    size = 3 if form == "fixed size" else 2
    assert [dict(draft.labels) for draft in found.drafts] == [{"thumb": "wax"}, {"thumb": f"({size} bytes)"}, {}]
    assert found.problems == []
    found = read(BINARY[form]())
    assert (ids(found), [problem.row for problem in found.problems]) == (["c"], ["a", "b"])
    assert all("(decode it to text) in column 'thumb'" in str(problem) for problem in found.problems)


# Published prompt sets: rows of our own in their forms

KITE, DUNE = 'A kite, or "dragon".', "a dune at dawn"
TWO = [KITE, DUNE]
SETS: dict[str, tuple[str, Callable[[], str], dict[str, str], list[str]]] = {
    "PartiPrompts": (
        "p.tsv",
        lambda: f"Prompt\tCategory\tChallenge\tNote\n{KITE}\tArts\tBasic\t\n{DUNE}\tAbstract\tBasic\tdry, so far\n",
        {"id": "Prompt", "prompt": "Prompt"},
        TWO,
    ),
    "DrawBench": (
        "p.csv",
        lambda: f'Prompts,Category\n"A kite, or ""dragon"".",Gary Marcus et al. \n{DUNE},DALL-E\n',
        {"id": "Prompts", "prompt": "Prompts"},
        TWO,
    ),
    "VBench": (
        "p.json",
        lambda: json.dumps(
            [
                {"prompt_en": KITE, "dimension": ["color"], "auxiliary_info": {"color": {"color": "red"}}},
                {"prompt_en": DUNE, "dimension": ["scene", "color"]},
            ]
        ),
        {"id": "prompt_en", "prompt": "prompt_en"},
        TWO,
    ),
    "VBench-2.0": (
        "p.json",
        lambda: json.dumps({words: {"caption": words, "dimension": ["Mechanics"]} for words in TWO}),
        {"id": "caption", "prompt": "caption"},
        TWO,
    ),
    "EvalCrafter": (
        "p.json",
        lambda: json.dumps({f"000{n}": {"prompt": words, "attributes": {"count": n}} for n, words in enumerate(TWO)}),
        {},
        ["0000", "0001"],
    ),
    "T2V-CompBench": (
        "p.json",
        lambda: json.dumps([{"prompt": words, "state 0": "up", "phrase_1": ["a kite?"], "d_2": ""} for words in TWO]),
        {"id": "prompt", "prompt": "prompt"},
        TWO,
    ),
    "GenAI-Bench": (
        "p.json",
        lambda: json.dumps(
            {
                f"0000{n}": {"id": f"0000{n}", "prompt": words, "prompt in Chinese": "风筝", "models": {"M": [5, 4]}}
                for n, words in enumerate(TWO, start=1)
            }
        ),
        {},
        ["00001", "00002"],
    ),
    "MovieGen Bench": (
        "p.csv",
        lambda: f'prompt,concept,motion_level\n"A kite, or ""dragon"".",human - 1,high\n{DUNE},nature,low\n',
        {"id": "prompt", "prompt": "prompt"},
        TWO,
    ),
    "MovieGen Bench with sound": (
        "p.jsonl",
        lambda: "\n".join(
            json.dumps({"id": n, "video_prompt": words, "audio_prompt": "wind"}) for n, words in enumerate(TWO)
        ),
        {"prompt": "video_prompt"},
        ["0", "1"],
    ),
}


@pytest.mark.parametrize("name", SETS)
def test_a_published_prompt_set_is_read_as_it_is(tmp_path: Path, name: str):
    """With names of columns alone; what they say beside the prompt are labels."""
    file, content, columns, expected = SETS[name]
    found = text(tmp_path, content(), file, columns=columns, labels=["*"])
    assert found.problems == []
    assert [(d.id.rstrip("."), d.request.model_dump()["prompt"]) for d in found.drafts] == [
        (row.rstrip("."), words) for row, words in zip(expected, TWO, strict=True)
    ]
    assert any(draft.labels for draft in found.drafts)


def test_the_cells_of_a_table_are_read_without_the_rows_of_others():
    """A value table is what it is given."""
    assert ids(read(ValueTable([{"ID": "a", "Prompt": "kite"}, {"id": "b", "prompt": "dune"}]))) == ["a", "b"]


# A table of which most is gone


def shrunk(session: Session, left: int, going: int, **options: Any) -> TableReading:
    """A pipeline of forty rows is read again and has so many left."""
    rows = [make_row(f"r{n}") for n in range(40)]
    record_table(session, TableReading(tuple(rows), (), ()))
    own = replace(session.pipeline, options=session.options.model_copy(update=options))
    reading = TableReading(tuple(rows[:left]), (), ())
    return check_shrinkage(replace(session, pipeline=own), reading, [f"r{n}" for n in range(40 - going, 40)])


def test_a_table_that_was_cut_is_refused_where_partitions_would_go(tmp_path: Path):
    """Under half of the rows, and at least twenty less; it may be allowed, and is said either way."""
    with session_in(tmp_path, "http://127.0.0.1:9") as session:
        for left, going in ((0, 40), (19, 21), (5, 1)):
            with pytest.raises(InvalidTable, match=rf"has {left} rows, and had 40 .*stay.*allow_shrink"):
                shrunk(session, left, going)
            said = f"the table has {left} rows, and had 40 when it was last read"
            assert shrunk(session, left, going, allow_shrink=True).remarks == (said,)
            assert shrunk(session, left, 0).remarks == (said,)
        for left in (20, 40):
            assert shrunk(session, left, 40 - left).remarks == ()
