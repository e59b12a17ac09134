"""Prompt tables from databases, and one table in every form: one set of requests, wherever it is."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from pixverse_dagster.core.errors import InvalidTable
from pixverse_dagster.core.manifest import InputImage
from pixverse_dagster.tables import PromptTable, SqlTable, ValueTable, open_table
from pixverse_dagster.tables.parse import Draft, TableRules, parse_row
from pixverse_dagster_tests.harness.factories import LABELS
from pixverse_dagster_tests.harness.one_table import COLUMNS, FULL, ROWS

arrow: Any = import_module("pyarrow")
parquet: Any = import_module("pyarrow.parquet")
pandas: Any = import_module("pandas")
polars: Any = import_module("polars")


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
    "postgres://user:s3cret@127.0.0.1:1/films",
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


def test_a_hosts_own_spelling_of_postgresql_is_taken():
    """It leads to the driver, which then says that nobody is there."""
    with pytest.raises(InvalidTable, match=r"postgresql://127.0.0.1:1/films .*OperationalError"):
        list(SqlTable("postgres://user:s3cret@127.0.0.1:1/films", "select 1").read())


def test_the_name_of_a_query_is_short():
    """Where it asks, and how it begins."""
    table = SqlTable("postgresql://u:p@db.example:5433/films?sslmode=require", "select id,\n  prompt " + "x" * 100)
    assert table.describe() == f"postgresql://db.example:5433/films (select id, prompt {'x' * 42}…)"
