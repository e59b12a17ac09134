"""Prompt tables from databases, upstream values and functions: one table is one set of requests, wherever it is."""

from __future__ import annotations

import csv
import datetime as dt
import json
import uuid
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from importlib import import_module
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
import sqlalchemy as sa

from pixverse_dagster.core.errors import InvalidTable
from pixverse_dagster.core.manifest import InputImage
from pixverse_dagster.core.row import RawRow
from pixverse_dagster.tables import CallableTable, FileTable, PromptTable, SqlTable, ValueTable, open_table
from pixverse_dagster.tables.cells import plain, raw_row
from pixverse_dagster.tables.parse import Draft, TableRules, parse_row
from pixverse_dagster_tests.harness.factories import CELLS, HIGHWAY, LABELS, PIXWITH, RUNWARE

arrow: Any = import_module("pyarrow")
parquet: Any = import_module("pyarrow.parquet")
pandas: Any = import_module("pandas")
polars: Any = import_module("polars")
numpy: Any = import_module("numpy")

C1 = "highway/pixverse-c1-reference-to-video"
ROWS: list[dict[str, Any]] = [
    {"id": "wind", **CELLS[RUNWARE], "model": RUNWARE, "prompt": 'a "red" kite,\nhigh', "seed": 7, "outputs": 2},
    {"id": "日本", **CELLS[HIGHWAY], "model": HIGHWAY, "audio": True, "cfg_scale": 0.7, "seed": 0, "take": 2},
    {
        "id": "3",
        **CELLS[HIGHWAY],
        "model": HIGHWAY,
        "audio": False,
        "cfg_scale": 1.0,
        "campaign": 2024,
        "seed": 2_147_483_647,
    },
    {"id": "hero", **CELLS[C1], "model": C1, "language": "de"},
    {"id": "last", **CELLS[PIXWITH], "model": PIXWITH, "take": 1, "campaign": 2025},
]
COLUMNS = list(dict.fromkeys(column for row in ROWS for column in row))
FULL: list[dict[str, Any]] = [{column: row.get(column) for column in COLUMNS} for row in ROWS]


def requests(table: PromptTable) -> list[tuple[str, int, Mapping[str, str], str]]:
    """What would be paid for: each row's id, take, labels and digest. Every row must be one that can be generated."""
    found: list[tuple[str, int, Mapping[str, str], str]] = []
    for raw in table.read():
        draft = parse_row(raw, TableRules(labels=LABELS))
        assert isinstance(draft, Draft), draft
        row = draft.complete({one: InputImage(source=one, digest=f"url:{one}") for one in draft.request.images()})
        found.append((row.id, row.take, row.labels, row.digest))
    return found


def write_csv(path: Path) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(
            {name: json.dumps(cell) if isinstance(cell, list | bool) else cell for name, cell in row.items()}
            for row in ROWS
        )
    return path


def write_json_lines(path: Path) -> Path:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in ROWS))
    return path


def write_parquet(path: Path) -> Path:
    parquet.write_table(arrow.Table.from_pylist(FULL), path, row_group_size=2)
    return path


def write_pandas(write: str, path: Path) -> Path:
    getattr(pandas.DataFrame(ROWS), write)(path)
    return path


def fill(url: str) -> SqlTable:
    """The rows in a database's own types."""
    kinds = {"seed": sa.BigInteger, "take": sa.Integer, "duration_seconds": sa.Integer, "cfg_scale": sa.Numeric(5, 2)}
    kinds |= {"audio": sa.Boolean, "references": sa.JSON(none_as_null=True), "outputs": sa.Integer}
    kinds |= {"campaign": sa.Integer}
    table = sa.Table("films", sa.MetaData(), *(sa.Column(name, kinds.get(name, sa.Text)) for name in COLUMNS))
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.begin() as connection:
        table.metadata.create_all(connection)
        connection.execute(table.insert(), FULL)
    return SqlTable(url, "select * from films")


FORMS: dict[str, Callable[[Path], Any]] = {
    "CSV": lambda folder: write_csv(folder / "t.csv"),
    "JSON Lines": lambda folder: write_json_lines(folder / "t.jsonl"),
    "Parquet": lambda folder: write_parquet(folder / "t.parquet"),
    "Parquet by pandas": lambda folder: write_pandas("to_parquet", folder / "t.parquet"),
    "SQLite": lambda folder: fill(f"sqlite:///{folder / 't.db'}"),
    "pandas": lambda _: pandas.DataFrame(ROWS),
    "pandas with NA": lambda _: pandas.DataFrame(ROWS).convert_dtypes(),
    "pandas on Arrow": lambda _: arrow.Table.from_pylist(FULL).to_pandas(types_mapper=pandas.ArrowDtype),
    "pandas of Arrow": lambda _: arrow.Table.from_pylist(FULL).to_pandas(),
    "polars": lambda _: polars.DataFrame(ROWS, infer_schema_length=None),
    "lazy polars": lambda _: polars.LazyFrame(ROWS, infer_schema_length=None),
    "Arrow table": lambda _: arrow.Table.from_pylist(FULL),
    "list": lambda _: ROWS,
    "tuple of full rows": lambda _: tuple(FULL),
    "function giving a list": lambda _: lambda: ROWS,
    "function giving a generator": lambda _: lambda: (row for row in ROWS),
    "function giving an Arrow reader": lambda _: lambda: arrow.Table.from_pylist(FULL).to_reader(2),
}


@pytest.mark.parametrize("form", FORMS)
def test_one_table_is_the_same_requests_in_every_form(tmp_path: Path, form: str):
    """Row ids, takes, labels and digests, and on every reading; moving a table to another place pays for nothing."""
    table = open_table(FORMS[form](tmp_path))
    assert isinstance(table, PromptTable)
    expected = requests(ValueTable(ROWS))
    assert len(expected) == len(ROWS)
    assert requests(table) == expected
    assert requests(table) == expected
    counted = [raw.line for raw in table.read()]
    assert counted == ([2, 4, 5, 6, 7] if form == "CSV" else [1, 2, 3, 4, 5])


def test_one_table_is_the_same_requests_in_postgresql(postgres_database: str):
    """With its numerics, booleans and JSON."""
    assert requests(fill(postgres_database)) == requests(ValueTable(ROWS))


# Cells

UTC = dt.UTC
CELL: list[tuple[Any, Any]] = [
    (float("nan"), None), (Decimal("NaN"), None), (numpy.float64("nan"), None), (numpy.datetime64("NaT"), None),
    (pandas.NA, None), (pandas.NaT, None), (None, None),
    (5.0, 5), (0.7, 0.7), (1e300, 1e300), (True, True), (numpy.True_, True), (numpy.int64(5), 5),
    (numpy.float32(0.5), 0.5), (numpy.float64(5.0), 5), (numpy.str_("kite"), "kite"), (10**20, 10**20),
    (Decimal(5), 5), (Decimal("5.00"), 5), (Decimal("0.7"), 0.7), (Decimal("0.12345678901234567890"),
     "0.12345678901234567890"), (Decimal("1e1000"), "1E+1000"), (Decimal("Infinity"), float("inf")),
    (dt.date(2024, 2, 3), "2024-02-03"), (dt.datetime(2024, 2, 3, 4, 5, tzinfo=UTC), "2024-02-03T04:05:00+00:00"),
    (pandas.Timestamp("2024-02-03"), "2024-02-03T00:00:00"), (numpy.datetime64("2024-02-03"), "2024-02-03"),
    (dt.time(4, 5), "04:05:00"), (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    ((1.0, [None, float("nan")]), [1, [None, None]]), ({"a": None, 2: numpy.int8(3)}, {"2": 3}),
    (numpy.array([{"a": 1.0, "b": None}]), [{"a": 1}]), (numpy.array([[1.0], [2.5]]), [[1], [2.5]]),
]  # fmt: skip


@pytest.mark.parametrize(("cell", "meant"), CELL, ids=[repr(cell)[:40] for cell, _ in CELL])
def test_a_typed_cell_is_the_json_value_that_it_means(cell: Any, meant: Any):
    """Missing is empty, whole is an int, times are ISO text, and every type is Python's own."""
    found = plain(cell)
    assert found == meant
    assert type(found) is type(meant)
    json.dumps(found)


def nested(depth: int) -> list[Any]:
    found: list[Any] = []
    for _ in range(depth):
        found = [found]
    return found


WORDLESS: list[tuple[Any, str]] = [
    (b"kite", "has a value of type bytes (decode it to text) in column 'x'"),
    ([memoryview(b"kite")], "has a value of type memoryview (decode it to text) in column 'x'"),
    (dt.timedelta(seconds=5), "has a value of type timedelta (use text or numbers) in column 'x'"),
    ({1, 2}, "has a value of type set (use text or numbers) in column 'x'"),
    (10**5000, "has a number of 16610 bits in column 'x'"),
    (nested(5000), "has lists in column 'x' that are nested too deeply"),
]


@pytest.mark.parametrize(("cell", "words"), WORDLESS, ids=[words[:31] for _, words in WORDLESS])
def test_a_cell_that_json_has_no_word_for_is_a_problem_of_its_row(cell: Any, words: str):
    """Named by row and column; the other rows go on."""
    good = {"id": "a", **CELLS[RUNWARE], "model": RUNWARE}
    found = [parse_row(raw, TableRules()) for raw in ValueTable([good, {"id": "b", "x": cell}, good]).read()]
    assert [isinstance(row, Draft) for row in found] == [True, False, True]
    assert isinstance(found[1], list)
    assert [str(problem) for problem in found[1]] == [f"line 2, row 'b': {words}"]


def test_a_row_with_a_column_twice_is_a_problem_of_its_own():
    """Names that differ by spaces only are one column."""
    assert raw_row(1, {"id": "a", "prompt": "x", " prompt": "y"}).complaint == (
        "has column 'prompt' twice: rename or remove one"
    )


# Databases


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a database with the rows in it."""
    url = f"sqlite:///{tmp_path / 't.db'}"
    url = url if request.param == "sqlite" else request.getfixturevalue("postgres_database")
    fill(url)
    return url


def test_a_query_stands_as_it_is_written(database: str):
    """Colons, percent signs and a semicolon are the query's own; its order is the rows' order."""
    query = "select id, '100% at 12:30 :x' as prompt from films where id not like 'h%' order by id desc;"
    found = list(SqlTable(database, query).read())
    assert [raw.cells for raw in found][-1] == {"id": "3", "prompt": "100% at 12:30 :x"}
    assert [raw.line for raw in found] == [1, 2, 3, 4]


def test_a_query_that_writes_is_refused_and_changes_nothing(database: str):
    """A table is read."""
    before = list(SqlTable(database, "select * from films").read())
    for statement in (
        "delete from films",
        "update films set seed = 1 returning id",
        "with gone as (delete from films returning id) select id from gone",
    ):
        with pytest.raises(InvalidTable, match="Nothing was sent"):
            list(SqlTable(database, statement).read())
    assert list(SqlTable(database, "select * from films").read()) == before


def test_a_query_that_gives_no_table_is_refused(database: str):
    """With the database and the query's beginning."""
    for query, words in (
        ("select id, id from films", "column 'id' is there twice"),
        ("select nothing from films", r"films\): cannot be read .*nothing"),
        ("selekt", r"\(selekt\): cannot be read"),
    ):
        with pytest.raises(InvalidTable, match=words) as refused:
            list(SqlTable(database, query).read())
        assert "Nothing was sent" in str(refused.value)


def test_a_query_is_streamed(postgres_database: str):
    """Ten rows of a hundred million are ten rows."""
    rows = SqlTable(postgres_database, "select generate_series(1, 100000000) as id").read()
    assert [raw.cells["id"] for raw in islice(rows, 10)] == list(range(1, 11))


SECRET = [
    "postgresql://user:s3cret@127.0.0.1:1/films",
    "postgresql+psycopg2://127.0.0.1:1/films?password=s3cret&user=u",
    "nonsense://user:s3cret@host/films",
    "sqlite:////nowhere/films.db?key=s3cret",
    "user:s3cret@host",
]


@pytest.mark.parametrize("url", SECRET)
def test_a_password_is_in_nothing_that_is_shown(url: str):
    """Neither in the name, nor in the object, nor in the error of a database that cannot be reached."""
    table = SqlTable(url, "select 1")
    with pytest.raises(InvalidTable, match="Nothing was sent") as refused:
        list(table.read())
    shown = [table.describe(), repr(table), str(refused.value), repr(refused.value)]
    assert not [text for text in shown if "s3cret" in text]
    assert refused.value.__suppress_context__ or not refused.value.__context__


def test_a_missing_sqlite_file_is_not_made(tmp_path: Path):
    """As SQLite would."""
    with pytest.raises(InvalidTable, match="there is no such file"):
        list(SqlTable(f"sqlite:///{tmp_path / 'none.db'}", "select 1").read())
    assert list(tmp_path.iterdir()) == []


def test_the_name_of_a_query_is_short():
    """Where it asks, and how it begins."""
    table = SqlTable("postgresql://u:p@db.example:5433/films?sslmode=require", "select id,\n  prompt " + "x" * 100)
    assert table.describe() == f"postgresql://db.example:5433/films (select id, prompt {'x' * 42}…)"


# Values and functions


@pytest.mark.parametrize("make", [lambda: iter(ROWS), lambda: arrow.Table.from_pylist(FULL).to_reader()])
def test_a_value_that_gives_its_rows_once_is_read_once(make: Callable[[], Any]):
    """An empty second reading would look like an empty table; a pipeline's own table is refused at once."""
    table = ValueTable(make(), "asset films")
    assert len(list(table.read())) == len(ROWS)
    with pytest.raises(InvalidTable, match="asset films: gives its rows only once and was read before"):
        table.read()
    with pytest.raises(InvalidTable, match="only once, and a pipeline reads its table again"):
        open_table(make())


NO_TABLES: list[Any] = ["rows.csv", b"", {"id": "a"}, None, 5, object()]


@pytest.mark.parametrize("value", NO_TABLES, ids=[type(value).__name__ for value in NO_TABLES])
def test_a_value_that_is_no_table_is_refused(value: Any):
    """Also one that could be iterated and would give letters or column names."""
    with pytest.raises(InvalidTable, match=f"a {type(value).__name__} is no table of prompts"):
        list(ValueTable(value, "asset films").read())


def test_a_row_that_is_no_mapping_is_a_problem_of_its_own():
    """A mapping may be of any kind."""
    found = list(ValueTable([("a", "kite"), MappingProxyType({"id": "b"})]).read())
    assert found == [
        RawRow(1, {}, "is a tuple: one row is one mapping of columns to cells"),
        RawRow(2, {"id": "b"}),
    ]


@pytest.mark.parametrize(
    "frame",
    [
        pandas.DataFrame([[1, 2]], columns=["id", "id"]),
        arrow.table([[1], [2]], names=["id", "id "]),
        polars.DataFrame({"id": [1], " id": [2]}),
    ],
    ids=["pandas", "Arrow", "polars"],
)
def test_a_frame_with_a_column_twice_is_refused(frame: Any):
    """As a file with one is."""
    with pytest.raises(InvalidTable, match=r"the (DataFrame|Table): column 'id' is there twice"):
        list(ValueTable(frame).read())


def broken() -> Iterator[dict[str, Any]]:
    yield {"id": "a"}
    raise OSError("no answer from https://u:s3cret@films.example/?key=s3cret")


def test_an_error_of_a_function_names_the_function():
    """Also after the first row; the function's own traceback goes along."""
    table = CallableTable(broken)
    assert table.describe() == f"{__name__}.broken"
    rows = table.read()
    assert next(rows).cells == {"id": "a"}
    with pytest.raises(InvalidTable, match=r"broken: failed with OSError: no answer .*Nothing was sent") as refused:
        next(rows)
    assert "s3cret" not in str(refused.value)
    assert isinstance(refused.value.__cause__, OSError)


def test_a_function_is_called_for_each_reading_and_not_before():
    """What it gives may have changed."""
    calls: list[int] = []

    def rows() -> list[dict[str, Any]]:
        calls.append(len(calls))
        return [{"id": n} for n in calls]

    table = open_table(rows)
    assert calls == []
    assert [len(list(table.read())) for _ in range(3)] == [1, 2, 3]


def test_a_source_is_opened_as_what_it_is(tmp_path: Path):
    """A path or URL is a file, a table stays what it is."""
    assert isinstance(open_table("rows.csv"), FileTable)
    assert isinstance(open_table(tmp_path / "rows.csv"), FileTable)
    table = SqlTable("sqlite://", "select 1")
    assert open_table(table) is table
    assert isinstance(open_table(ROWS), ValueTable)
