"""A table of marks is read as the gallery writes it, and as spreadsheet programs write it again."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import pytest
from openpyxl import Workbook

from pixverse_dagster.core.errors import InvalidTable
from pixverse_dagster.core.mark import Choice
from pixverse_dagster.tables.marks import COLUMNS, MarkTable, read_mark_table

KITE = "films/clips/kite/0123456789ab-t1/1"
ODD = "films/clips/-5%2F%C3%A4/0123456789ab-t2-a2/2"
MODEL = "runware/pixverse-v4.5"
LINES = [
    ["kite", "1", "1", "1", KITE, "pick", 'the best; "really",\nso far', MODEL, "2026-05-04T09:00:00Z"],
    ["'-5/ä", "2", "2", "2", ODD, "reject", "'=too dark", MODEL, "2026-05-04T09:01:00Z"],
]  # fmt: skip


def written(lines: Sequence[Sequence[str]], columns: Sequence[str] = COLUMNS, separator: str = ",") -> str:
    file = io.StringIO()
    csv.writer(file, delimiter=separator).writerows([columns, *lines])
    return file.getvalue()


def read(folder: Path, text: str, encoding: str = "utf-8-sig", name: str = "picks.csv") -> MarkTable:
    (folder / name).write_bytes(text.encode(encoding))
    return read_mark_table(str(folder / name))


def what(table: MarkTable) -> list[tuple[str, Choice, str]]:
    return [(line.clip, line.choice, line.note) for line in table.lines]


EXPECTED = [(KITE, Choice.PICK, 'the best; "really",\nso far'), (ODD, Choice.REJECT, "=too dark")]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-8", "utf-16", "cp1252"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_table_is_read_however_it_was_saved(tmp_path: Path, encoding: str, separator: str):
    """Byte-order mark or not, comma or semicolon; the guard against formulas is taken off again."""
    found = read(tmp_path, written(LINES, separator=separator), encoding)
    assert what(found) == EXPECTED
    assert (found.problems, found.unread) == ((), ())
    assert found.lines[1].key.folder.row == "-5/ä"


@pytest.mark.parametrize(
    "order",
    [["mark", "clip"], ["Note", "MARK", "model", "Clip ", "marked at", "mine"], [*reversed(COLUMNS)]],
    ids=["only two", "other names", "reversed"],
)
def test_columns_are_found_by_their_names(tmp_path: Path, order: list[str]):
    """In any order, with columns of a person's own, and without those that are not needed."""
    names = [name.strip().casefold().replace(" ", "_") for name in order]
    lines = [[line[COLUMNS.index(name)] if name in COLUMNS else "x" for name in names] for line in LINES]
    assert [(clip, choice) for clip, choice, _ in what(read(tmp_path, written(lines, order)))] == [
        (clip, choice) for clip, choice, _ in EXPECTED
    ]


def test_a_workbook_is_read_as_well(tmp_path: Path):
    """What a person saves as a workbook: numbers are numbers there, and dates may be."""
    book = Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.append(COLUMNS)
    for line in LINES:
        sheet.append([int(cell) if cell.isdigit() else cell for cell in line])
    sheet.append([None] * len(COLUMNS))
    book.save(tmp_path / "picks.xlsx")
    assert what(read_mark_table(str(tmp_path / "picks.xlsx"))) == EXPECTED


@pytest.mark.parametrize(
    ("word", "choice"),
    [
        ("Pick", Choice.PICK),
        ("PICKED", Choice.PICK),
        ("✓ pick", Choice.PICK),
        ("✓", Choice.PICK),
        (" reject ", Choice.REJECT),
        ("✗", Choice.REJECT),
        ("", Choice.NONE),
    ],
)
def test_a_mark_is_read_as_people_write_it(tmp_path: Path, word: str, choice: Choice):
    """In any case, with its sign; a note alone is no decision."""
    found = read(tmp_path, written([[KITE, word, "a note"]], ["clip", "mark", "note"]))
    assert what(found) == [(KITE, choice, "a note")]


def test_a_line_that_cannot_be_read_is_named_and_keeps_its_clips_mark(tmp_path: Path):
    """The others are read. What no clip is called so is left out; a file's ending does no harm."""
    lines = [
        ["kite", KITE, "maybe"],
        ["boat", "../../etc/passwd", "pick"],
        ["sea", "", "pick"],
        ["tree", f"{ODD}.mp4", "reject"],
        ["sky", "films/clips/sky/0123456789ab-t1/9", "pick"],
        ["", "", ""],
    ]
    found = read(tmp_path, written(lines, ["row", "clip", "mark"]))
    assert what(found) == [(ODD, Choice.REJECT, "")]
    assert found.unread == (KITE,)
    assert [(problem.line, problem.row, problem.column) for problem in found.problems] == [
        (2, "kite", "mark"),
        (3, "boat", "clip"),
        (4, "sea", "clip"),
        (6, "sky", "clip"),
    ]
    assert "neither pick nor reject" in found.problems[0].message


def test_of_two_exports_in_one_file_the_later_line_counts(tmp_path: Path):
    """With the header between them, as `cat` leaves it."""
    columns = ["row", "clip", "mark"]
    text = written([["kite", KITE, "pick"], ["b", ODD, "reject"]], columns)
    found = read(tmp_path, text + written([["kite", KITE, "reject"]], columns))
    assert what(found) == [(ODD, Choice.REJECT, ""), (KITE, Choice.REJECT, "")]
    assert found.problems == ()


@pytest.mark.parametrize("lines", [[], [["kite", "a kite"]]], ids=["header only", "a prompt table"])
def test_a_table_without_clips_and_marks_is_refused(tmp_path: Path, lines: list[list[str]]):
    """A prompt table, most likely. It says so, what it means, and what to do."""
    with pytest.raises(InvalidTable, match="no table of marks: it has no column 'clip', only 'id'") as refused:
        read(tmp_path, written(lines, ["id", "prompt"]))
    assert "nothing was spent" in str(refused.value)
    with pytest.raises(InvalidTable, match="there is no such file"):
        read_mark_table(str(tmp_path / "none.csv"))


def test_a_table_without_lines_has_no_marks(tmp_path: Path):
    """All marks were taken off: that is a table, too."""
    assert read(tmp_path, written([])) == MarkTable((), (), ())
