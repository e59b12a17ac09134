"""Words that a person wants forgotten leave the ledger, on SQLite and on PostgreSQL."""

import json

import pytest
import sqlalchemy as sa

from pixverse_dagster.core.layout import task_folder
from pixverse_dagster.core.mark import Choice, Mark
from pixverse_dagster.core.outcomes import Accepted, Succeeded
from pixverse_dagster.core.row import Problem, Row, retake
from pixverse_dagster.core.task import QueuedRow
from pixverse_dagster.core.words import read_without_words, without_words
from pixverse_dagster.ledger import schema
from pixverse_dagster.ledger.claims import ClaimTerms
from pixverse_dagster.ledger.ledger import Ledger
from pixverse_dagster.providers import MODELS
from pixverse_dagster_tests.harness.factories import CELLS, NAME, NOW, RUN, RUNWARE, make_row, moved, put_row

WORDS = ("secretkite", "springtime", "privateplace", "quotedwords")
TERMS = ClaimTerms(RUN, NOW, 180, body=lambda reference: f"secretkite {reference}")


def give_words(ledger: Ledger, row_id: str = "kite") -> Row:
    """A row that has been through everything that keeps a word of it."""
    place = "https://privateplace.example.org/a.png"
    row = make_row(row_id, prompt="secretkite", campaign="springtime", image=place, outputs=2)
    put_row(ledger, row)
    problems = [Problem(3, row_id, "seed", "quotedwords is no number"), Problem(4, "other", "seed", "stays")]
    for later in (1, 2):  # of problems that did not change, only the newest reading has them
        ledger.rows.record(NAME, list(ledger.rows.find(NAME).values()), problems, RUN, NOW + later)
    moved(ledger.refuse(ledger.claim(NAME, row, TERMS)[0], "quotedwords"))
    task = ledger.accept(ledger.claim(NAME, row, TERMS)[0], Accepted(f"task of {row_id}"), NOW, NOW).task
    task = moved(ledger.keep_polling(task, "quotedwords", NOW))
    task = moved(ledger.succeed(task, Succeeded(("https://results.example.org/1",), 0.11), NOW))
    ledger.queue.add(NAME, [QueuedRow(row_id, row.digest, "runware", RUN, "quotedwords", NOW)], NOW)
    task = moved(ledger.store(task, NOW))
    ledger.marks.record(NAME, [Mark(f"{task_folder(task)}/1", row_id, task.id, Choice.REJECT, "quotedwords")])
    moved(ledger.forget(task, "by hand: forgotten"))
    return row


def every_text(engine: sa.Engine) -> str:
    with engine.connect() as connection:
        return json.dumps(
            [str(record) for table in schema.metadata.sorted_tables for record in connection.execute(sa.select(table))]
        )


def test_words_that_are_forgotten_are_in_no_table(engine: sa.Engine):
    """Prompt, labels, addresses, what was sent and said: gone. Digest, cost, choices and decision stay. Repeatable."""
    ledger = Ledger(engine)
    row = give_words(ledger)
    before, spent = ledger.tasks.find(NAME), ledger.spent(NAME, RUN, NOW)
    assert [word for word in WORDS if word not in every_text(engine)] == []
    assert [ledger.forget_words(NAME, "kite"), ledger.forget_words(NAME, "kite")] == [True, False]
    assert [word for word in WORDS if word in every_text(engine)] == []
    after = ledger.tasks.find(NAME)
    for name in ("id", "digest", "take", "claim", "attempt", "state", "task_id", "cost_usd", "decision", "folder"):
        assert [getattr(task, name) for task in after] == [getattr(task, name) for task in before], name
    assert {(task.request.MODEL, task.request.outputs_asked(), len(task.labels)) for task in after} == {(RUNWARE, 2, 0)}
    assert ledger.spent(NAME, RUN, NOW) == spent
    assert [problem.message for problem in ledger.rows.problems(NAME)] == ["stays"]
    assert ledger.claim(NAME, put_row(ledger, row), TERMS)[1] is False


def test_words_of_another_row_and_of_another_take_stay(engine: sa.Engine):
    """Of one take, the row's present words stay: they are another take's."""
    ledger = Ledger(engine)
    row, other = give_words(ledger), give_words(ledger, "boat")
    put_row(ledger, retake(row, 2))
    assert ledger.forget_words(NAME, "kite", 1) is False
    assert ledger.rows.find(NAME)["kite"].request == row.request
    assert [task.request for task in ledger.tasks.find(NAME, keys=["boat"])] == [other.request] * 2
    assert row.request not in [task.request for task in ledger.tasks.find(NAME, keys=["kite"])]


@pytest.mark.parametrize("model", MODELS)
def test_every_models_request_is_read_without_its_words(model: str):
    """No text and no address is left of it, and everything that looks at a task finds a request."""
    request = make_row("kite", model, **CELLS[model]).request
    kept = without_words(request)
    assert not [value for value in kept.values() if value in {"a kite", "@hero walks"} or "http" in str(value)]
    found = read_without_words(MODELS[model], kept)
    assert (found.MODEL, without_words(found)) == (model, kept)
    assert found.effective_resolution() == request.effective_resolution()
    assert found.price_terms() == request.price_terms()
    assert "kite" not in json.dumps([found.public(), found.image_places(), found.images(), found.shape_asked()])
