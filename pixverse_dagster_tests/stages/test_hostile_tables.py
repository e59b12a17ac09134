"""Hostile prompt tables: whatever a file holds, good rows are read, bad ones named, and nothing leaves its place."""
# ruff: noqa: PT017 - whether bytes that were drawn are refused depends on them, and so does what is said

import csv
import io
import json
import re
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixverse_dagster.core.errors import InvalidTable
from pixverse_dagster.core.layout import clip_folder, encode_row
from pixverse_dagster.core.request import request_digest
from pixverse_dagster.core.row import Row
from pixverse_dagster.ledger.engine import open_engine
from pixverse_dagster.ledger.ledger import Ledger
from pixverse_dagster.ledger.rows import MAX_PROBLEMS_KEPT
from pixverse_dagster.stages.collect import collect_tasks
from pixverse_dagster.stages.read import TableReading, read_table, record_table
from pixverse_dagster.stages.session import Session
from pixverse_dagster.storage.local import LocalStore
from pixverse_dagster.tables import FileTable
from pixverse_dagster.tables.columns import is_empty
from pixverse_dagster.tables.parse import TableRules
from pixverse_dagster_tests.harness.factories import (
    NAME,
    PIXWITH,
    make_row,
    make_session,
    session_in,
    submit_all,
    succeeded_tasks,
)
from pixverse_dagster_tests.harness.fixtures import Tell
from pixverse_dagster_tests.harness.hostile import CONTROL, IDS, RAW_JSON, TEXTS, examples, json_values
from pixverse_dagster_tests.harness.servers import Simulator

NOWHERE = "http://127.0.0.1:9"
COLUMNS = ("id", "prompt", "model", "seed", "label")
RULES = TableRules(defaults={"model": "runware/pixverse-v4.5"}, labels=["label"])
FOLDER = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._%-]{1,200}")


def read_bytes(session: Session, path: Path, data: bytes, base: str = "") -> TableReading:
    """Read a table of these bytes as the `prompts` asset does."""
    path.write_bytes(data)
    own = {"defaults": RULES.defaults, "labels": RULES.labels, "image_base": base or str(path.parent)}
    pipeline = replace(session.pipeline, table=FileTable(path), options=session.options.model_copy(update=own))
    return read_table(replace(session, pipeline=pipeline))


def judge(reading: TableReading, root: Path, lines: int) -> None:
    """What is true of every reading, whatever was read."""
    for problem in (*reading.problems, *reading.cautions):
        assert 1 <= problem.line <= lines
        assert problem.message
        for text, most in ((problem.message, 1001), (problem.row, 201), (problem.column, 101)):
            assert len(text) <= most
            assert not CONTROL.search(text)
        assert str(problem).encode()
    ids = [row.id for row in reading.rows]
    assert len(set(ids)) == len(ids)
    assert not {row.line for row in reading.rows} & {problem.line for problem in reading.problems}
    store, folders = LocalStore(root), set[str]()
    for row in reading.rows:
        assert row.id
        assert row.id == row.id.strip()
        assert not CONTROL.search(row.id)
        folder = str(clip_folder(NAME, row.id, row.digest, row.take))
        assert all(FOLDER.fullmatch(part) for part in folder.split("/"))
        assert Path(store.uri(folder)).relative_to(root.resolve()).as_posix() == folder
        folders.add(folder.rsplit("/", 1)[0])
        digests = {name: image.digest for name, image in row.images.items()}
        assert row.digest == request_digest(row.request, digests, row.take)
    assert len(folders) == len(ids)


# --- CSV

CELLS = st.sampled_from(TEXTS) | st.text(max_size=20)
RAGGED = st.lists(st.sampled_from(TEXTS), max_size=9).filter(lambda cells: len(cells) != len(COLUMNS))
ROWS: st.SearchStrategy[list[Any]] = st.lists(
    st.one_of(
        st.just("good"),
        st.tuples(st.just("cells"), st.sampled_from(IDS) | st.text(max_size=20), CELLS, CELLS, CELLS, CELLS),
        st.tuples(st.just("ragged"), RAGGED),
        st.tuples(st.just("repeated"), st.integers(0, 3)),
    ),
    max_size=12,
)


def csv_table(rows: list[Any], *, bom: bool, end: str) -> tuple[bytes, list[str], set[str]]:
    """A file of such rows, all cells quoted; the ids of the rows that are good, and those that are there twice."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator=end)
    writer.writerow(COLUMNS)
    good, repeated = list[str](), set[str]()
    for number, row in enumerate(rows):
        if row == "good":
            good.append(f"good-{number}")
            writer.writerow([good[-1], "a kite", "", "", ""])
        elif row[0] == "repeated":
            repeated.add(f"twice-{row[1]}")
            for _ in range(2):
                writer.writerow([f"twice-{row[1]}", "a kite", "", "", ""])
        else:
            writer.writerow(row[1] if row[0] == "ragged" else row[1:])
    return ("\ufeff" * bom + text.getvalue()).encode("utf-8", "replace"), good, repeated


def test_good_rows_of_a_csv_survive_whatever_stands_between_them(tmp_path: Path):
    """Every good row is read, every repeated id is named on all its lines, every other line is a row or a problem."""

    @examples(150)
    @given(ROWS, st.booleans(), st.sampled_from(["\n", "\r\n", "\r"]))
    def check(rows: list[Any], bom: bool, end: str) -> None:  # noqa: FBT001 - drawn
        data, good, repeated = csv_table(rows, bom=bom, end=end)
        reading = read_bytes(session, tmp_path / "t.csv", data)
        judge(reading, tmp_path / "root", data.count(b"\n") + data.count(b"\r") + 1)
        found = {row.id for row in reading.rows}
        assert set(good) <= found
        assert not repeated & found
        assert repeated <= {problem.row for problem in reading.problems}
        assert read_bytes(session, tmp_path / "t.csv", data) == reading

    with session_in(tmp_path, NOWHERE) as session:
        check()


ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "latin-1", "cp1252", "shift_jis", "utf-7")
CHUNKS = [
    b"id,prompt", b"\n", b"\r", b"\r\n", b",", b'"', b'""', b"\x00", b"\xff", b"\xef\xbb\xbf", b"\xc3", b"a",
    b"kite", b"good,a kite\n", b'{"id": "g", "prompt": "a kite"}\n', b"{", b"}", b"[", b"]", b":", b"\\ud800",
    b"\xed\xa0\x80", b"\x85", b"\xe2\x80\xa8", b"\x1a", b"id,id", b"-", b" ", b"\t", b"1e999", b"x" * 140_000,
]  # fmt: skip


def test_only_an_unreadable_table_is_refused_whole(tmp_path: Path):
    """Of any bytes at all, under each kind of name, comes a reading or InvalidTable that names the file."""
    whole = st.lists(st.sampled_from(CHUNKS) | st.binary(max_size=12), max_size=14).map(b"".join)
    texts = st.tuples(st.text(max_size=60), st.sampled_from(ENCODINGS))
    encoded = texts.map(lambda drawn: drawn[0].encode(drawn[1], "replace"))

    @examples(250)
    @given(whole | encoded, st.sampled_from(["t.csv", "t.jsonl", "T.NDJSON"]), st.booleans())
    def check(data: bytes, name: str, header: bool) -> None:  # noqa: FBT001 - drawn
        path = tmp_path / name
        try:
            reading = read_bytes(session, path, b"id,prompt\n" * header + data)
        except InvalidTable as refused:
            assert str(path) in str(refused)
            assert len(str(refused)) < 600
            return
        judge(reading, tmp_path / "root", len(data) + 2)

    with session_in(tmp_path, NOWHERE) as session:
        check()


# --- JSON Lines

KEYS = st.sampled_from(
    [*COLUMNS, "take", "image", "frames", "references", "outputs", " id", "ID", "", "x" * 500, "\x00"]
)
OBJECTS = st.dictionaries(KEYS, json_values, max_size=6)
ODD_COLUMNS = st.sampled_from(["seed", "take", "label", "model", "references", "frames", "odd", "image"])
WRONG_LINES = st.one_of(
    OBJECTS.map(json.dumps),
    json_values.map(json.dumps),
    st.sampled_from(RAW_JSON),
    st.tuples(ODD_COLUMNS, st.sampled_from(RAW_JSON)).map(
        lambda drawn: f'{{"id": "odd", "prompt": "a kite", "{drawn[0]}": {drawn[1]}}}'
    ),
    st.sampled_from(RAW_JSON).map(lambda raw: f'{{"id": {raw}, "prompt": "a kite"}}'),
    st.sampled_from(IDS).map(lambda row_id: json.dumps({"id": row_id, "prompt": "a kite"})),
)


def json_lines(lines: list[str]) -> tuple[bytes, list[str]]:
    """A file of these lines, each with a good row before it; the good rows' ids."""
    good = [f"good-{number}" for number in range(len(lines))]
    pairs = ((json.dumps({"id": row, "prompt": "a kite"}), line) for row, line in zip(good, lines, strict=True))
    return "\n".join(line for pair in pairs for line in pair).encode("utf-8", "replace"), good


def is_blank(line: str) -> bool:
    """Whether a line is an object with nothing in it, as an empty line of a spreadsheet is."""
    try:
        found: Any = json.loads(line)
    except (ValueError, RecursionError):
        return False
    return isinstance(found, dict) and all(map(is_empty, cast("dict[str, Any]", found).values()))


def test_good_json_lines_survive_whatever_stands_between_them(tmp_path: Path):
    """Wrong types, NaN, huge numbers, lone surrogates, NULs, deep nesting, repeated keys: each is its own line's."""

    @examples(200)
    @given(st.lists(WRONG_LINES, min_size=1, max_size=8), st.sampled_from(["", "https://assets.example.org/base"]))
    def check(lines: list[str], base: str) -> None:
        data, good = json_lines(lines)
        reading = read_bytes(session, tmp_path / "t.jsonl", data, base)
        judge(reading, tmp_path / "root", 2 * len(lines))
        kept = {row.id: row.line for row in reading.rows}
        doubled = {problem.row for problem in reading.problems if problem.message.startswith("the id is on lines")}
        assert {row: kept.get(row) for row in good} == {row: 2 * n + 1 for n, row in enumerate(good)}
        named = {problem.line for problem in reading.problems} | set(kept.values())
        assert {2 * n + 2 for n, line in enumerate(lines) if line.strip() and not is_blank(line)} <= named
        assert not doubled & set(kept)

    with session_in(tmp_path, NOWHERE) as session:
        check()


def test_nesting_at_any_depth_is_a_problem_of_its_row(tmp_path: Path):
    """Around the limits of what Python can read and write, in every column, the row beside it is read."""
    columns = ("id", "take", "model", "label", "prompt", "seed", "references", "frames", "odd")
    with session_in(tmp_path, NOWHERE) as session:
        for depth in (*range(880, 1000, 4), 3000, 50_000):
            nest = "[" * depth + "]" * depth
            lines = [f'{{"id": "n", "model": "runware/pixverse-v4.5", "{column}": {nest}}}' for column in columns]
            data, good = json_lines(lines)
            reading = read_bytes(session, tmp_path / "t.jsonl", data)
            judge(reading, tmp_path / "root", 2 * len(lines))
            assert {row.id for row in reading.rows} >= set(good)


def test_a_key_that_differs_only_in_spaces_is_there_twice(tmp_path: Path):
    """As in a header line: which of the two prompts is paid for cannot be guessed."""
    with session_in(tmp_path, NOWHERE) as session:
        reading = read_bytes(
            session, tmp_path / "t.jsonl", b'{"id": "a", "prompt": "one kite", " prompt": "two kites"}'
        )
    (problem,) = reading.problems
    assert "key 'prompt' is there twice" in problem.message


def test_an_image_that_joins_to_no_url_is_a_problem_of_its_row(tmp_path: Path):
    """A name that makes no URL below the image base does not stop the reading of the others."""
    lines = [{"id": "bad", "image": "//["}, {"id": "good", "image": "kite.png"}]
    data = "\n".join(json.dumps({"prompt": "a kite", **line}) for line in lines).encode()
    with session_in(tmp_path, NOWHERE) as session:
        reading = read_bytes(session, tmp_path / "t.jsonl", data, "https://assets.example.org/base")
    assert [row.id for row in reading.rows] == ["good"]
    assert [(problem.row, problem.column) for problem in reading.problems] == [("bad", "image")]


# --- where rows are kept


def test_a_hostile_id_is_paid_for_once_and_stored_below_the_root(server: Simulator, tmp_path: Path):
    """Of all the ids that are accepted, each is one charge and one folder, and beside the root there is nothing."""
    accepted = [
        "/../x",
        "a/../..//b",
        "CON",
        "~root",
        "$(id)",
        "%2e%2e%2f",
        "🪁",
        "e\u0301",
        "=cmd|' |'!A0",
        "<b>",
        "x" * 200,
        "-rf",
    ]
    rows = [make_row(row_id, PIXWITH) for row_id in accepted]
    root = tmp_path / "a" / "root"
    with session_in(tmp_path, server.url) as session:
        tasks = succeeded_tasks(session, rows)
        assert [one.problem for one in submit_all(session, rows).values() if one.problem or one.sent] == []
        assert [one.problem for one in collect_tasks(session, LocalStore(root), tasks) if one.manifest is None] == []
    assert len(server.tasks()) == len(rows)
    assert {path.name for path in (tmp_path / "a").iterdir()} == {"root"}
    assert {path.name for path in (root / NAME / "clips").iterdir()} == {encode_row(row_id) for row_id in accepted}


# --- the ledger


def recorded_unchanged(session: Session, folder: Path, count: int) -> None:
    """Rows and problems come out of the ledger as they went in."""

    @examples(count)
    @given(st.lists(WRONG_LINES, min_size=1, max_size=6), ROWS)
    def check(lines: list[str], rows: list[Any]) -> None:
        for name, data in (("t.jsonl", json_lines(lines)[0]), ("t.csv", csv_table(rows, bom=False, end="\n")[0])):
            reading = read_bytes(session, folder / name, data)
            record_table(session, reading)
            kept: dict[str, Row] = session.ledger.rows.find(NAME)
            assert list(kept.values()) == list(reading.rows)
            assert list(kept) == [row.id for row in reading.rows]
            assert session.ledger.rows.problems(NAME) == list(reading.problems[:MAX_PROBLEMS_KEPT])

    check()


def test_rows_come_out_of_a_sqlite_ledger_as_they_went_in(tmp_path: Path):
    """Ids, requests, labels, digests and problems: whatever text they are made of."""
    with session_in(tmp_path, NOWHERE) as session:
        recorded_unchanged(session, tmp_path, 50)


@contextmanager
def on_postgres(url: str) -> Generator[Session]:
    engine = open_engine(url)
    try:
        with make_session(Ledger(engine), NOWHERE) as session:
            yield session
    finally:
        engine.dispose()


def test_rows_come_out_of_a_postgres_ledger_as_they_went_in(postgres_database: str, tmp_path: Path):
    """PostgreSQL takes no NUL and no half of a surrogate pair, and never meets one."""
    with on_postgres(postgres_database) as session:
        recorded_unchanged(session, tmp_path, 40)


# --- size

MEASURE = """
import json, resource, sys, time
from pathlib import Path
import psutil
from pixverse_dagster.core.errors import InvalidTable
from pixverse_dagster.tables.parse import Draft, TableRules, duplicate_problems, parse_row
from pixverse_dagster.tables import FileTable

def read(path):
    rules, drafts, problems = TableRules(defaults={"model": "runware/pixverse-v4.5"}), [], []
    try:
        for raw in FileTable(path).read():
            parsed = parse_row(raw, rules)
            drafts += [parsed] if isinstance(parsed, Draft) else []
            problems += parsed if isinstance(parsed, list) else []
        problems += duplicate_problems(drafts)
    except InvalidTable as error:
        return f"refused: {len(str(error)) < 600}"
    assert max([len(str(problem)) for problem in problems], default=0) < 1500
    return "good" if any(draft.id == "good" for draft in drafts) else "no rows"

limit = psutil.Process().memory_info().vms + int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
found = {}
for name, (before, piece, count, after, _) in json.load(sys.stdin).items():
    path = Path(sys.argv[1]) / name
    with path.open("w", encoding="utf-8") as file:
        file.write(before)
        for _ in range(count):
            file.write(piece)
        file.write(after)
    began = time.monotonic()
    found[name] = [read(path), time.monotonic() - began]
    path.unlink()
print(json.dumps(found))
"""
MB = 1024 * 1024
BIG = 50
C1 = '{"id": "c1", "prompt": "a kite", "model": "highway/pixverse-c1-reference-to-video", "references": '
GOOD = '\n{"id": "good", "prompt": "a kite"}\n'
ROW = '{"id": "big", "prompt": "a kite", '
MANY = ", ".join(f'"c{number}": 1' for number in range(90_000))
# What stands before the big thing, the thing and how often, what stands after it, and what becomes of the table.
BIG_TABLES: dict[str, tuple[str, str, int, str, str]] = {
    "cell.csv": ("id,prompt\nbig,", "x" * MB, BIG, "\ngood,a kite\n", "refused: True"),
    "emoji.csv": ("id,prompt\nbig,", "🪁" * (MB // 4), BIG, "\ngood,a kite\n", "refused: True"),
    "lines in a cell.csv": ('id,prompt\nbig,"', "x\n" * (MB // 2), BIG, '"\ngood,a kite\n', "refused: True"),
    "commas.csv": ("id,prompt\nbig,", "," * MB, BIG, "\ngood,a kite\n", "refused: True"),
    "commas in one row.csv": ("id,prompt\nbig,", "," * MB, 6, "\ngood,a kite\n", "good"),
    "header.csv": ("id,prompt", "".join(f",c{number}" for number in range(900_000)), 1, "\ngood,a kite\n", "no rows"),
    "label.jsonl": (ROW + '"label": "', "x" * MB, BIG, '"}' + GOOD, "good"),
    "prompt.jsonl": ('{"id": "big", "prompt": "', "é" * (MB // 2), BIG, '"}' + GOOD, "good"),
    "id.jsonl": ('{"prompt": "a kite", "id": "', "é" * (MB // 2), BIG, '"}' + GOOD, "good"),
    "model.jsonl": (ROW + '"model": "', "x" * MB, BIG, '"}' + GOOD, "good"),
    "column.jsonl": (ROW + '"', "x" * MB, BIG, '": 1}' + GOOD, "good"),
    "list.jsonl": (C1 + "[", "1," * (MB // 2), BIG, "1]}" + GOOD, "good"),
    "list in a cell.jsonl": (C1 + '"[', "1," * 49_000, 1, '1]"}' + GOOD, "good"),
    "keys.jsonl": (ROW, MANY, 1, "}" + GOOD, "good"),
    "keys of a reference.jsonl": (C1 + "[{", MANY, 1, "}]}" + GOOD, "good"),
    "one line.jsonl": (ROW + '"label": "', "x" * MB, 4 * BIG, '"}' + GOOD, "good"),
    "one id.jsonl": ("", '{"id": "twice", "prompt": "a kite"}\n', 10_000, GOOD, "good"),
}


MEMORY = 400 * MB


@pytest.mark.cover
def test_a_cell_of_50_mb_is_read_or_refused_in_bounded_memory_and_time(tmp_path: Path, tell: Tell):
    """A process that may take 400 MB more reads each in a few seconds; good rows behind the big cell are read."""
    command = [sys.executable, "-c", MEASURE, str(tmp_path), str(MEMORY)]
    tables = json.dumps(BIG_TABLES)
    done = subprocess.run(command, input=tables, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, tuple[str, float]] = json.loads(done.stdout)
    assert {name: said for name, (said, _) in found.items()} == {name: big[4] for name, big in BIG_TABLES.items()}
    slowest, seconds = max(((name, seconds) for name, (_, seconds) in found.items()), key=lambda item: item[1])
    assert seconds < 15
    sizes = f"{len(found)} tables of up to {4 * BIG} MB within {MEMORY // MB} MB"
    tell("hostile tables", f"{sizes}; slowest {slowest}: {seconds:.1f} s")
