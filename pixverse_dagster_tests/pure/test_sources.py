"""Prompt tables from upstream values and functions, and what a typed cell means."""

from __future__ import annotations

import datetime as dt
import json
import uuid
from collections.abc import Callable, Iterator
from decimal import Decimal
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from pixverse_dagster.core.errors import InvalidTable
from pixverse_dagster.core.row import RawRow
from pixverse_dagster.tables import CallableTable, FileTable, SqlTable, ValueTable, open_table
from pixverse_dagster.tables.cells import plain, raw_row
from pixverse_dagster.tables.parse import Draft, TableRules, parse_row
from pixverse_dagster_tests.harness.factories import CELLS, RUNWARE
from pixverse_dagster_tests.harness.one_table import FULL, ROWS

arrow: Any = import_module("pyarrow")
pandas: Any = import_module("pandas")
polars: Any = import_module("polars")
numpy: Any = import_module("numpy")
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
