"""Ids, takes and text as tables have them: the same rows and the same digests from every source."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pixverse_dagster.core.errors import StoreConflict
from pixverse_dagster.stages.read import TableReading, read_table
from pixverse_dagster.stages.session import Session
from pixverse_dagster.stages.store import enter_store
from pixverse_dagster.storage.local import LocalStore
from pixverse_dagster.tables import FileTable, PromptTable, SqlTable, ValueTable
from pixverse_dagster_tests.harness.factories import session_in
from pixverse_dagster_tests.harness.tables import arrow, as_parquet

Reader = Callable[[PromptTable], TableReading]


@pytest.fixture
def read(tmp_path: Path) -> Iterator[Reader]:
    """Reads a table as the `prompts` asset does, with a default model."""
    with session_in(tmp_path, "http://127.0.0.1:9") as session:

        def read_with(table: PromptTable) -> TableReading:
            return read_table(with_model(session), table)

        yield read_with


def with_model(session: Session) -> Session:
    options = session.options.model_copy(update={"defaults": {"model": "runware/pixverse-v4.5"}})
    return replace(session, pipeline=replace(session.pipeline, options=options))


def written(folder: Path, name: str, data: str | bytes) -> FileTable:
    (folder / name).write_bytes(data.encode() if isinstance(data, str) else data)
    return FileTable(folder / name)


def test_numbers_are_the_same_in_every_format(tmp_path: Path, read: Reader):
    """As spreadsheets write them: ids 1 and 2, takes of 1, and one digest each."""
    cells = [
        {"id": 1.0, "prompt": "a kite", "take": 1.0, "duration_seconds": 5.0},
        {"id": 2.0, "prompt": "a dog", "take": None, "duration_seconds": 8.0},
    ]
    with sqlite3.connect(tmp_path / "t.db") as database:
        database.execute("CREATE TABLE t (id REAL, prompt TEXT, take REAL, duration_seconds REAL)")
        database.executemany("INSERT INTO t VALUES (:id, :prompt, :take, :duration_seconds)", cells)
    database.close()
    csv = "id,prompt,take,duration_seconds\n1.0,a kite,1.0,5.0\n2.0,a dog,,8.0\n"
    readings = [
        read(written(tmp_path, "t.csv", csv)),
        read(written(tmp_path, "t.jsonl", "\n".join(map(json.dumps, cells)))),
        read(written(tmp_path, "t.parquet", as_parquet(arrow.Table.from_pylist(cells)))),
        read(SqlTable(f"sqlite:///{tmp_path}/t.db", "SELECT * FROM t")),
        read(ValueTable(cells)),
    ]
    found = [[(row.id, row.take, row.digest) for row in reading.rows] for reading in readings]
    assert [row[:2] for row in found[0]] == [("1", 1), ("2", 1)]
    assert found == [found[0]] * 5
    assert [problem for reading in readings for problem in reading.problems] == []


def test_line_ends_and_unicode_forms_are_no_change(tmp_path: Path, read: Reader):
    """Windows, Unix and a Mac's file names: one request."""
    texts = ['id,prompt\r\nkite,"un été\r\nclimbs"\r\n', 'id,prompt\nkite,"un e\u0301te\u0301\nclimbs "\n']
    (one,), (other,) = (read(written(tmp_path, f"{n}.csv", text)).rows for n, text in enumerate(texts))
    assert (one.id, one.digest, one.request) == (other.id, other.digest, other.request)


def test_of_ids_that_look_the_same_the_first_counts(read: Reader):
    """Even if it has a problem of its own: nothing is paid for under its name. The others name its line."""
    cells = [("kite", "a kite"), ("ki\u200bte", "a dog"), ("dune", ""), ("dune\ufeff", "a dune"), ("sea", "the sea")]
    reading = read(ValueTable([{"id": row_id, "prompt": prompt} for row_id, prompt in cells]))
    assert [(row.id, row.line) for row in reading.rows] == [("kite", 1), ("sea", 5)]
    assert [(problem.line, problem.row, problem.column) for problem in reading.problems] == [
        (2, "kite", "id"),
        (3, "dune", "prompt"),
        (4, "dune", "id"),
    ]
    assert "the id on line 1, which counts" in reading.problems[0].message
    assert "the id on line 3, which counts" in reading.problems[2].message


def test_ids_that_are_written_the_same_are_all_named(read: Reader):
    """Which is meant cannot be known; one that only looks like them is named as well."""
    reading = read(ValueTable([{"id": row_id, "prompt": "a kite"} for row_id in ("a", "a", "a\u00ad", "b")]))
    assert [row.id for row in reading.rows] == ["b"]
    assert [problem.line for problem in reading.problems] == [1, 2, 3]


class Careless(LocalStore):
    """A directory whose file system does not tell case apart, and leaves out dots at the end of a name."""

    def told_apart(self, one: str, other: str) -> bool:
        return one.lower().rstrip(".") != other.lower().rstrip(".")


def test_rows_that_a_file_system_takes_for_one_are_a_problem_of_the_later_one(tmp_path: Path):
    """At reading, before anything is paid for; of any number the first counts. Nothing is written to the store."""
    ids = ["kite", "dog", "Kite", "kITE", "über", "Über", "a%2f", "a%2F"]
    with session_in(tmp_path, "http://127.0.0.1:9") as session:
        careless = replace(with_model(session), open_store=lambda: Careless(tmp_path / "store"))
        reading = read_table(careless, ValueTable([{"id": one, "prompt": "a kite"} for one in ids]))
    assert [row.id for row in reading.rows] == ["kite", "dog", "über", "Über", "a%2f"]
    assert [(problem.row, problem.column) for problem in reading.problems] == [
        ("Kite", "id"),
        ("kITE", "id"),
        ("a%2F", "id"),
    ]
    for word in ("'kite' on line 1", "does not tell them apart", "Nothing is paid", "another id"):
        assert word in reading.problems[0].message
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("known", [True, False])
def test_elsewhere_they_are_rows_of_their_own(tmp_path: Path, *, known: bool):
    """Where the file system tells them apart, and where nobody knows the store."""
    table = ValueTable([{"id": one, "prompt": "a kite"} for one in ("kite", "Kite", "kitE")])
    with session_in(tmp_path, "http://127.0.0.1:9") as session:
        store = (lambda: LocalStore(tmp_path / "store")) if known else None
        reading = read_table(replace(with_model(session), open_store=store), table)
    assert ([row.id for row in reading.rows], reading.problems) == (["kite", "Kite", "kitE"], ())


def test_a_store_that_cannot_be_asked_does_not_stop_the_reading(tmp_path: Path):
    """Its rows are read all the same."""

    def unreachable() -> LocalStore:
        raise OSError("no route to host")

    table = ValueTable([{"id": one, "prompt": "a kite"} for one in ("kite", "Kite")])
    with session_in(tmp_path, "http://127.0.0.1:9") as session:
        reading = read_table(replace(with_model(session), open_store=unreachable), table)
    assert len(reading.rows) == 2


def test_two_pipelines_that_a_file_system_takes_for_one_are_refused(tmp_path: Path):
    """The second one, before it writes anything; elsewhere they are two."""
    for name in ("films", "posters"):
        enter_store(Careless(tmp_path / "one"), "a", name)
        enter_store(LocalStore(tmp_path / "two"), "a", name)
    with pytest.raises(StoreConflict, match=r"one folder for pipelines 'films' and 'Films'.* nothing is paid for"):
        enter_store(Careless(tmp_path / "one"), "b", "Films")
    assert [path.name for path in (tmp_path / "one" / "ledgers").iterdir()] == ["a.json"]
    enter_store(LocalStore(tmp_path / "two"), "b", "Films")
