"""What people marked is in the ledger as their table has it, on SQLite and PostgreSQL; Dagster is told of it once."""

import csv
import json
from dataclasses import replace
from pathlib import Path

from pixverse_dagster.core.layout import task_folder
from pixverse_dagster.core.mark import Choice, Mark
from pixverse_dagster.core.outcomes import Accepted, Succeeded
from pixverse_dagster.core.row import Row
from pixverse_dagster.core.task import Task
from pixverse_dagster.ledger.claims import ClaimTerms
from pixverse_dagster.ledger.ledger import Ledger
from pixverse_dagster.ledger.renaming import Renaming
from pixverse_dagster.stages.marks import MarksReading, join_marks
from pixverse_dagster.tables.marks import read_mark_table
from pixverse_dagster_tests.harness import node
from pixverse_dagster_tests.harness.factories import NAME, NOW, RUN, make_row, moved, put_row

KITE = Mark(f"{NAME}/clips/kite/0123456789ab-t1/1", "kite", "task of kite", Choice.PICK, "the best", "2026-05-04")
BOAT = Mark(f"{NAME}/clips/boat/0123456789ab-t1/1", "boat", "task of boat", Choice.REJECT)


def test_a_table_of_marks_is_kept_as_it_was_last_read(ledger: Ledger):
    """Read again it changes nothing; a mark that left it is taken off, and a line that could not be read keeps its."""
    assert [ledger.marks.record(NAME, [KITE, BOAT]), ledger.marks.record(NAME, [BOAT, KITE])] == [2, 0]
    assert ledger.marks.find(NAME) == [BOAT, KITE]
    assert ledger.marks.find(NAME, ["kite"]) == [KITE]
    assert ledger.marks.find("another") == []
    changed = replace(KITE, choice=Choice.REJECT, note="no, too dark")
    assert ledger.marks.record(NAME, [changed], kept=[BOAT.clip]) == 1
    assert ledger.marks.find(NAME) == [BOAT, changed]
    assert ledger.marks.record(NAME, []) == 2
    assert ledger.marks.find(NAME) == []


def test_dagster_is_told_of_each_change_once(ledger: Ledger):
    """Also of a mark that is taken off, also where the process died before; not of a new date alone."""
    ledger.marks.record(NAME, [KITE, BOAT])
    told = ledger.marks.unreported(NAME)
    assert told == [BOAT, KITE]
    ledger.marks.record(NAME, [replace(KITE, choice=Choice.REJECT), BOAT])
    ledger.marks.set_reported(NAME, told)
    assert ledger.marks.unreported(NAME) == [replace(KITE, choice=Choice.REJECT)]
    ledger.marks.set_reported(NAME, ledger.marks.unreported(NAME))
    assert ledger.marks.record(NAME, [replace(KITE, choice=Choice.REJECT, marked_at="05.04.26"), BOAT]) == 0
    assert ledger.marks.unreported(NAME) == []
    ledger.marks.record(NAME, [BOAT])
    gone = ledger.marks.unreported(NAME)
    assert [(mark.clip, mark.choice, mark.note) for mark in gone] == [(KITE.clip, Choice.NONE, "")]
    ledger.marks.set_reported(NAME, gone)
    assert ledger.marks.unreported(NAME) == []


def test_what_people_write_is_kept_as_a_database_takes_it(ledger: Ledger):
    """Half a character and a NUL are no text for either database; a note has an end."""
    ledger.marks.record(NAME, [replace(KITE, note="\0 half \ud800" + "x" * 5000)])
    (found,) = ledger.marks.find(NAME)
    assert found.note.startswith(" half ?x")
    assert len(found.note) == 2000


def stored_task(ledger: Ledger, row: Row) -> Task:
    task = ledger.claim(NAME, put_row(ledger, row), ClaimTerms(RUN, NOW, 60))[0]
    task = ledger.accept(task, Accepted(f"task of {task.id}"), NOW, NOW).task
    return moved(ledger.store(moved(ledger.succeed(task, Succeeded(("https://r.example.org/1",), 0.11), NOW)), NOW))


def marked(task: Task, word: str, n: int = 1) -> list[str]:
    return [f"{task_folder(task)}/{n}", word, ""]


def join(ledger: Ledger, folder: Path, *lines: list[str]) -> MarksReading:
    with (folder / "picks.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["clip", "mark", "note"], *lines])
    return join_marks(ledger, NAME, read_mark_table(str(folder / "picks.csv")))


def test_a_line_is_joined_with_the_clip_that_its_key_names(ledger: Ledger, tmp_path: Path):
    """With the take and the attempt that it names, also where row and pipeline were renamed since."""
    first = stored_task(ledger, make_row("kite"))
    second = stored_task(ledger, ledger.rows.raise_take(NAME, "kite"))
    found = join(ledger, tmp_path, marked(first, "reject"), marked(second, "pick"))
    assert [(mark.task, mark.row, mark.choice) for mark in found.marks] == [
        (first.id, "kite", Choice.REJECT),
        (second.id, "kite", Choice.PICK),
    ]
    ledger.names.make(Renaming(NAME, "dragon", "kite"), NOW)
    again = join(ledger, tmp_path, marked(first, "reject"), marked(second, "pick"))
    assert [(mark.task, mark.row) for mark in again.marks] == [(first.id, "dragon"), (second.id, "dragon")]
    assert (found.problems, again.problems) == ((), ())


def test_a_line_about_no_stored_clip_is_named_and_left_out(ledger: Ledger, tmp_path: Path):
    """Of another pipeline, of no task, of an output that is not there, of a task without a clip, of a deleted clip."""
    kite, gone = stored_task(ledger, make_row("kite")), stored_task(ledger, make_row("gone"))
    waits = ledger.claim(NAME, put_row(ledger, make_row("waits")), ClaimTerms(RUN, NOW, 60))[0]
    ledger.forget(gone, "by hand: forgotten")
    found = join(
        ledger,
        tmp_path,
        ["reels/clips/kite/0123456789ab-t1/1", "pick", ""],
        ["films/clips/kite/0123456789ab-t7/1", "pick", ""],
        marked(kite, "pick", 3),
        marked(waits, "pick"),
        marked(gone, "pick"),
        marked(kite, "pick"),
    )
    assert [mark.task for mark in found.marks] == [kite.id]
    said = [problem.message for problem in found.problems]
    whys = ("a clip of 'reels'", "no such clip", "has 1 outputs", "task is claimed", "deleted on demand")
    assert len(said) == len(whys)
    assert [why for why, message in zip(whys, said, strict=True) if why not in message] == []


def test_a_note_is_a_persons_text_and_shows_no_secret(ledger: Ledger, tmp_path: Path):
    """Its lines are one, and a signature in an address is not kept."""
    task = stored_task(ledger, make_row("kite"))
    note = "as in\nhttps://b.example.org/1.mp4?X-Amz-Signature=feedfacefeedface and more"
    (mark,) = join(ledger, tmp_path, [f"{task_folder(task)}/1", "reject", note]).marks
    assert mark.note.startswith("as in https://b.example.org/1.mp4")
    assert "feedface" not in mark.note


NOTES = ("=1+1", "'=1+1", "''-2", 'a; b, "c"', "two\nlines", "ü 😀 \u202e", "'", "-", "it's")
EXPORT = """
import { writeFileSync } from 'node:fs';
import { write } from './src/csv.js';
const [file, notes] = process.argv.slice(1);
const marked = JSON.parse(notes).map((note, at) => ({
  card: { id: `-5%2F${at}/0123456789ab-t2/1`, row: `-5/${at}`, take: 2, model: 'runware/pixverse-v4.5' },
  clip: `films/clips/-5%2F${at}/0123456789ab-t2/1`,
  mark: { sign: ['pick', 'reject', ''][at % 3], note, at: '2026-05-04T09:00:00.000Z' },
}));
writeFileSync(file, write(marked));
"""


def test_what_the_page_exports_is_read_as_it_was_marked(tmp_path: Path):
    """The page's own code writes it: every note comes out as it went in, whatever a spreadsheet would make of it."""
    file = tmp_path / "picks.csv"
    node.run("node", "--input-type=module", "-e", EXPORT, "--", str(file), json.dumps(NOTES))
    table = read_mark_table(str(file))
    assert (table.problems, table.unread) == ((), ())
    assert [line.note for line in table.lines] == list(NOTES)
    assert [line.choice for line in table.lines] == [Choice.PICK, Choice.REJECT, Choice.NONE] * 3
    assert {line.key.folder.row for line in table.lines} == {f"-5/{number}" for number in range(len(NOTES))}
    assert {(line.key.folder.take, line.key.n, line.marked_at) for line in table.lines} == {
        (2, 1, "2026-05-04T09:00:00.000Z")
    }
