"""A row or a pipeline gets another name in the ledger, on SQLite and on PostgreSQL, and nothing is paid for again."""

import pytest
import sqlalchemy as sa

from pixverse_dagster.core.errors import Paused, PixverseError
from pixverse_dagster.core.outcomes import Accepted, Succeeded
from pixverse_dagster.core.row import Row, retake
from pixverse_dagster.core.task import Applied, QueuedRow, Task
from pixverse_dagster.ledger import schema
from pixverse_dagster.ledger.claims import ClaimTerms
from pixverse_dagster.ledger.ledger import Ledger
from pixverse_dagster.ledger.pauses import Pause
from pixverse_dagster.ledger.renaming import Renaming
from pixverse_dagster_tests.harness.factories import NAME, NOW, RUN, make_row, moved, put_row

TERMS = ClaimTerms(RUN, NOW, 180, estimate_usd=0.1)
PIPELINE, ROW = Renaming(NAME, "reels"), Renaming(NAME, "dragon", "kite")


def stored(ledger: Ledger, row: Row, pipeline: str = NAME) -> Task:
    task = ledger.claim(pipeline, put_row(ledger, row, pipeline), TERMS)[0]
    task = ledger.accept(task, Accepted(f"task of {task.id}"), NOW, NOW).task
    return moved(ledger.store(moved(ledger.succeed(task, Succeeded(("https://r.example.org/1",), 0.11), NOW)), NOW))


MARK = {"clip": "films/clips/kite/1", "row": "kite", "task": "t", "mark": "pick", "note": "", "marked_at": ""} | {
    "reported": True
}


def fill(ledger: Ledger, engine: sa.Engine) -> Task:
    """Something in every table that has a pipeline's name."""
    kite, boat = make_row("kite"), make_row("boat")
    task = stored(ledger, kite)
    put_row(ledger, boat)
    ledger.rows.raise_take(NAME, "kite")
    ledger.queue.add(NAME, [QueuedRow("kite", ledger.rows.find(NAME)["kite"].digest, "runware", RUN, "busy", NOW)], NOW)
    ledger.rows.withdraw(NAME, "boat", NOW)
    ledger.pauses.add(Pause("pipeline", NAME, "lunch", NOW))
    with engine.begin() as connection:
        for table, values in ((schema.worlds, {"provider": "runware", "world": "live"}),
                              (schema.marks, MARK),
                              (schema.policies, {"name": "retry", "value": "1", "first_seen_at": NOW})):  # fmt: skip
            there = connection.execute(sa.select(table.c.pipeline).where(table.c.pipeline == NAME)).first()
            if not there:
                connection.execute(sa.insert(table).values(pipeline=NAME, **values))
    return task


def named(engine: sa.Engine, column: str, name: str) -> dict[str, int]:
    """How many entries of each table have this name in this column."""
    with engine.connect() as connection:
        counts = {
            table.name.removeprefix("pixverse_"): len(
                connection.execute(sa.select(table).where(table.c[column] == name)).all()
            )
            for table in schema.metadata.sorted_tables
            if column in table.c
        }
    return {table: count for table, count in counts.items() if count}


def test_a_pipeline_is_renamed_in_every_table_at_once(ledger: Ledger, engine: sa.Engine):
    """Tasks, rows, takes, withdrawals, what waits, history, spending, pauses: nothing is called by the old name."""
    task = fill(ledger, engine)
    before, spent = named(engine, "pipeline", NAME), ledger.spent(NAME, RUN, NOW)
    assert before.keys() == {
        t.name.removeprefix("pixverse_") for t in schema.metadata.sorted_tables if "pipeline" in t.c
    }
    ledger.names.make(PIPELINE, NOW)
    assert named(engine, "pipeline", NAME) == {}
    assert named(engine, "pipeline", "reels") == before | {"history": before["history"] + 1}
    assert (ledger.spent("reels", RUN, NOW), ledger.spent(NAME, RUN, NOW).total_usd) == (spent, 0)
    (found,) = ledger.tasks.find("reels")
    assert (found.folder, found.client_reference, found.cost_usd) == (task.folder, task.client_reference, task.cost_usd)
    assert found.folder.startswith(f"{NAME}/clips/kite/")
    assert {one.name: one.reason for one in ledger.pauses.find()} == {
        "reels": "lunch",
        NAME: "it was renamed to reels: give it that name where it is defined",
    }


def test_a_row_is_renamed_in_every_table_and_no_other_row_is(ledger: Ledger, engine: sa.Engine):
    """What the old name still asks for is withdrawn: no sensor pays for it."""
    fill(ledger, engine)
    before, others = named(engine, "row", "kite"), named(engine, "row", "boat")
    digest = ledger.rows.find(NAME)["kite"].digest
    ledger.names.make(ROW, NOW)
    assert named(engine, "row", "kite") == {"withdrawals": 1}
    assert named(engine, "row", "dragon") == before | {"history": before["history"] + 1}
    assert named(engine, "row", "boat") == others
    assert list(ledger.rows.find(NAME)) == ["boat", "dragon"] or list(ledger.rows.find(NAME)) == ["dragon", "boat"]
    ledger.rows.record(NAME, [retake(make_row("kite"), 2)], [], RUN, NOW)
    assert ledger.rows.find(NAME)["kite"].digest == digest
    assert ledger.rows.unsubmitted(NAME, 10) == []


def test_what_is_still_read_under_the_old_pipelines_name_is_not_paid_for(ledger: Ledger):
    """Until a person says so: the code location may not have been loaded again."""
    row = make_row()
    stored(ledger, row)
    ledger.names.make(PIPELINE, NOW)
    put_row(ledger, row)
    with pytest.raises(Paused, match="renamed to reels"):
        ledger.claim(NAME, row, TERMS)
    assert ledger.claim("reels", put_row(ledger, row, "reels"), TERMS)[1] is False
    ledger.pauses.remove("pipeline", NAME)
    assert ledger.claim(NAME, row, TERMS)[1] is True


def test_a_table_that_was_read_under_the_new_name_counts_with_the_takes_of_the_old_one(ledger: Ledger):
    """The reading did not know what a person had asked for: it would have been paid for under another digest."""
    first = make_row("kite")
    stored(ledger, first)
    second = ledger.rows.raise_take(NAME, "kite")
    stored(ledger, second)
    for renaming, pipeline, row_id in (
        (PIPELINE, "reels", "kite"),
        (Renaming("reels", "dragon", "kite"), "reels", "dragon"),
    ):
        read = make_row(row_id)
        ledger.rows.record(pipeline, [read, make_row("other")], [], RUN, NOW)
        ledger.names.make(renaming, NOW)
        row = ledger.rows.find(pipeline)[row_id]
        assert (row.take, row.digest) == (2, second.digest)
        assert ledger.tasks.current(pipeline)[row_id].take == 2
        assert ledger.rows.takes(pipeline) == {row_id: 2}


def test_a_new_row_of_an_old_name_is_sent_under_a_reference_of_its_own(ledger: Ledger):
    """A provider that knows the reference would answer with the other row's task."""
    first = stored(ledger, make_row("kite"))
    ledger.names.make(Renaming(NAME, "dragon", "kite"), NOW)
    second, mine = ledger.claim(NAME, put_row(ledger, make_row("kite")), TERMS)
    assert mine
    assert second.client_reference != first.client_reference


def test_chains_and_swaps_and_names_that_are_used_again(ledger: Ledger):
    """A → b → c; then a new a; and two rows change names by way of a third one."""
    a, b = stored(ledger, make_row("a")), stored(ledger, make_row("b", prompt="another"))
    for old, new in (("a", "x"), ("b", "a"), ("x", "b")):
        ledger.names.make(Renaming(NAME, new, old), NOW)
    assert {task.row: task.id for task in ledger.tasks.find(NAME)} == {"b": a.id, "a": b.id}
    for old, new in (("b", "c"), ("c", "d")):
        ledger.names.make(Renaming(NAME, new, old), NOW)
    assert ledger.tasks.find(NAME, keys=["d"])[0].id == a.id
    again = make_row("b")
    claimed, mine = ledger.claim(NAME, put_row(ledger, again), TERMS)
    assert mine
    # Of two submits with one reference, Runware makes one.
    assert len({task.client_reference for task in ledger.tasks.find(NAME)}) == 3
    assert claimed.client_reference not in {a.client_reference, b.client_reference}
    assert ledger.tasks.find(NAME, keys=["d"])[0].digest == again.digest


def test_a_pipeline_gets_its_name_back(ledger: Ledger):
    """It is not paused under the name that it has."""
    row = make_row()
    stored(ledger, row)
    ledger.names.make(PIPELINE, NOW)
    ledger.names.make(Renaming("reels", NAME), NOW)
    assert [one.name for one in ledger.pauses.find()] == ["reels"]
    assert ledger.claim(NAME, put_row(ledger, make_row("new")), TERMS)[1] is True


def test_what_cannot_be_renamed_is_refused_in_words(ledger: Ledger, engine: sa.Engine):
    """And nothing changes."""
    stored(ledger, make_row("kite"))
    stored(ledger, make_row("boat"))
    put_row(ledger, make_row("new"))
    ledger.claim(NAME, put_row(ledger, make_row("sent")), TERMS)
    stored(ledger, make_row("kite"), "other")
    refused = {
        Renaming(NAME, "boat", "kite"): "'boat' has tasks of its own already.*Nothing was renamed",
        Renaming(NAME, "dragon", "nobody"): "knows no row 'nobody'.*nothing to rename",
        Renaming(NAME, "new", "kite"): "both in the table as it was last read.*two rows",
        Renaming(NAME, "dragon", "sent"): "row 'sent' is being sent at this moment.*run this again",
        Renaming(NAME, "kite", "kite"): "is called so",
        Renaming(NAME, "other"): "'other' has tasks of its own already",
        Renaming("nobody", "reels"): "knows no pipeline 'nobody'",
        Renaming(NAME, "reels"): "row 'sent' is being sent",
    }
    before = {column: named(engine, column, name) for column, name in (("pipeline", NAME), ("row", "kite"))}
    for renaming, words in refused.items():
        for attempt in (ledger.names.check, ledger.names.make):
            with pytest.raises(PixverseError, match=words):
                attempt(renaming, NOW)
    assert {column: named(engine, column, name) for column, name in (("pipeline", NAME), ("row", "kite"))} == before


def test_a_renaming_that_was_made_is_known(ledger: Ledger):
    """So that it can be brought to its end; not where the old name is in use again."""
    stored(ledger, make_row("kite"))
    assert not ledger.names.was_made(ROW)
    ledger.names.make(ROW, NOW)
    assert ledger.names.was_made(ROW)
    assert not ledger.names.was_made(Renaming(NAME, "other", "kite"))
    assert not ledger.names.was_made(Renaming(NAME, "dragon"))
    stored(ledger, make_row("kite", prompt="a new one"))
    assert not ledger.names.was_made(ROW)


def test_whoever_read_a_task_before_its_row_was_renamed_still_finds_all_its_claims(ledger: Ledger):
    """A manifest lists every attempt, and a further one finds all folders that are taken."""
    kite = put_row(ledger, make_row("kite"))
    first = ledger.claim(NAME, kite, TERMS)[0]
    ledger.refuse(first, "no")
    before = ledger.claim(NAME, kite, TERMS)[0]
    before = ledger.accept(before, Accepted("t-2"), NOW, NOW).task
    ledger.names.make(ROW, NOW)
    assert [(one.row, one.id) for one in ledger.tasks.claims(before)] == [("dragon", first.id), ("dragon", before.id)]


def test_a_decision_about_a_task_whose_row_was_renamed_meanwhile_is_recorded_once(ledger: Ledger):
    """An adoption, a late answer and another attempt in its place belong to the task, not to a row of the old name."""
    kite = put_row(ledger, make_row("kite"))
    before = ledger.claim(NAME, kite, TERMS)[0]
    before = moved(ledger.mark_unknown(before, "no answer", None))
    ledger.names.make(ROW, NOW + 10 * TERMS.lease_seconds)
    late = ledger.accept(before, Accepted("t-1"), NOW, NOW)
    assert isinstance(late, Applied)
    assert (late.task.id, late.task.row, late.task.folder) == (
        before.id,
        "dragon",
        f"films/clips/dragon/{kite.digest[:12]}-t1",
    )
    again = moved(ledger.abandon(late.task, "given up", "by hand"))
    back = Renaming(NAME, "kite", "dragon")
    ledger.names.make(back, NOW)
    adopted = moved(ledger.adopt(again, "t-1", NOW, "by hand"))
    assert (adopted.id, adopted.row) == (before.id, "kite")
    ledger.names.make(ROW, NOW)
    assert moved(ledger.replace(adopted, "given up", "by hand")).released
    assert [(task.row, task.state) for task in ledger.tasks.find(NAME)] == [("dragon", "abandoned")]
