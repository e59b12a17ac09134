"""Rows become requests, or problems with a remedy."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from pixverse_dagster.core.errors import InvalidTable
from pixverse_dagster.core.row import Problem, RawRow
from pixverse_dagster.providers import MODELS
from pixverse_dagster.tables.parse import Draft, TableRules, duplicate_problems, parse_row
from pixverse_dagster_tests.harness.drafts import (
    KITE,
    PIXWITH,
    PLAIN,
    RUNWARE,
    SMALLEST,
    V6,
    V45,
    Cells,
    digest,
    draft,
    read,
)


def problems(rules: TableRules = PLAIN, /, **cells: Any) -> list[tuple[str, str]]:
    found = read(rules, **cells)
    assert isinstance(found, list), found.request
    return [(problem.column, problem.message) for problem in found]


# Columns


COLUMNS: list[tuple[str, str, str]] = [
    # model, column, what the message offers
    (RUNWARE, "resoluton", "did you mean 'resolution'?"),
    (RUNWARE, "Promt", "did you mean 'prompt'?"),
    (RUNWARE, "camera", "is not a parameter of runware/pixverse-v4.5"),
    (RUNWARE, "numberResults", "here it is called 'outputs'"),
    (RUNWARE, "positivePrompt", "here it is called 'prompt'"),
    (RUNWARE, "cameraMovement", "here it is called 'camera_movement'"),
    (RUNWARE, "webhookURL", "here it is called 'webhook_url'"),
    (RUNWARE, "uploadEndpoint", "here it is called 'upload_endpoint'"),
    (RUNWARE, "checkContent", "here it is called 'safety_check_content'"),
    (V6, "generate_audio_switch", "here it is called 'audio'"),
    (V6, "duration", "here it is called 'duration_seconds'"),
    (V45, "fast_mode", "here it is called 'motion_mode'"),
    (PIXWITH, "num_outputs", "here it is called 'outputs'"),
    (PIXWITH, "image_urls", "here it is called 'image'"),
    (PIXWITH, "modle", "did you mean 'model'?"),
    (RUNWARE, "audio", "it belongs to highway/pixverse-v6-i2v, highway/pixverse-c1-reference-to-video"),
    (V45, "outputs", "it belongs to runware/pixverse-v4.5, pixwith/pixverse-v5"),
    (PIXWITH, "references", "it belongs to highway/pixverse-c1-reference-to-video"),
    (RUNWARE, "campaign", "declared as a label"),
]


@pytest.mark.parametrize(("model", "column", "offer"), COLUMNS)
def test_an_unknown_column_is_named_with_the_nearest_known_one(model: str, column: str, offer: str):
    """A misspelling, a provider's own name, another model's parameter, a label that nobody declared."""
    found = problems(model=model, image=KITE, **{column: "x"})
    assert (column, True) in [(name, offer in message) for name, message in found], found


def test_an_empty_cell_of_a_column_that_does_not_apply_is_no_problem():
    """Rows of several models share one table: what a row leaves empty is not asked of it."""
    assert draft(audio="", references=None, resoluton="  ").request == draft().request


def test_column_names_may_have_spaces_around_them():
    """A header written by hand, "id, prompt", means the same columns."""
    assert draft(**{" seed ": "3"}).request == draft(seed=3).request


def test_every_problem_of_a_row_is_named_at_once():
    """A person repairs a row once, not once per mistake."""
    found = problems(id="a\tb", take="0", resoluton="x", seed=-1, outputs=9)
    assert sorted({column for column, _ in found}) == ["id", "outputs", "resoluton", "seed", "take"]


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("runware/pixverse-4.5", "did you mean 'runware/pixverse-v4.5'?"),
        ("Pixwith/PixVerse-v5", "did you mean 'pixwith/pixverse-v5'?"),
        ("sora", "there are highway/pixverse-v4.5-i2v"),
        (None, "no default model: use one of"),
        ("x" * 10_000, "there is no model"),
    ],
)
def test_an_unknown_model_is_named_with_the_nearest_known_one(model: str | None, words: str):
    """Also for a name of any length, which is not repeated in full."""
    ((column, message),) = problems(model=model)
    assert column == "model"
    assert words in message
    assert len(message) < 400


def test_a_problem_reads_as_one_sentence_with_its_place():
    """Line, row, column, what is wrong: as text."""
    found = read(PLAIN, 7, seed=-1)
    assert isinstance(found, list)
    assert str(found[0]) == "line 7, row 'r1', column 'seed': must be greater than or equal to 0, not -1"
    assert str(Problem(3, "a", "", "is not JSON")) == "line 3, row 'a': is not JSON"


# Defaults, labels, takes


def test_defaults_fill_empty_cells_and_only_those_that_the_model_has():
    """A cell wins over a default; a default that another model takes is nothing to this row."""
    rules = TableRules(defaults={"model": RUNWARE, "seed": 5, "audio": True, "outputs": "2", "take": 3})
    filled = draft(rules, model=None, outputs=" ")
    assert (filled.request, filled.take) == (draft(seed=5, outputs=2).request, 3)
    assert draft(rules, seed=9, outputs=1, take=1).request == draft(seed=9).request
    assert draft(rules, model=V6, image=KITE).request == draft(model=V6, image=KITE, seed=5, audio=True).request


def test_a_bad_default_is_a_problem_of_the_rows_that_use_it():
    """The column of the default is named, as if the cell had said it."""
    assert problems(TableRules(defaults={"seed": -1}))[0][0] == "seed"
    assert draft(TableRules(defaults={"seed": -1}), seed=1).request == draft(seed=1).request


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        (TableRules(defaults={"resoluton": "720p"}), "did you mean 'resolution'?"),
        (TableRules(defaults={"numberResults": 2}), "here it is called 'outputs'"),
        (TableRules(defaults={"id": "x"}), "'id' is not a parameter"),
        (TableRules(labels=["seed"]), "'seed' is a parameter"),
        (TableRules(labels=["id"]), "cannot be a label"),
        (TableRules(labels=["take"]), "cannot be a label"),
    ],
)
def test_rules_that_are_not_what_they_say_are_refused(rules: TableRules, words: str):
    """A default is a parameter, a label is none."""
    with pytest.raises(InvalidTable, match="parameter") as refused:
        rules.check()
    assert words in str(refused.value)


def test_good_rules_pass():
    """Every parameter may have a default, and any other column may be a label."""
    TableRules(defaults={"model": V6, "take": 2, "audio": True}, labels=["campaign", "language"]).check()


def test_labels_are_kept_as_text_and_not_generated_from():
    """A label column goes with the row; an empty one is left out."""
    rules = TableRules(labels=["campaign", "week"])
    labelled = draft(rules, campaign=" spring ", week=12, language=None)
    assert labelled.labels == {"campaign": "spring", "week": "12"}
    assert draft(rules, campaign="", week=12).labels == {"week": "12"}
    assert labelled.request == draft().request


def test_a_label_that_is_not_text_is_named_before_anything_is_paid():
    """Half of an emoji, as a cut string has it, could not be written into a manifest later."""
    assert problems(TableRules(labels=["campaign"]), campaign="go \ud83d")[0][0] == "campaign"


@pytest.mark.parametrize(
    ("cell", "take"), [(None, 1), ("", 1), ("1", 1), (2, 2), (" 3 ", 3), ("9999", 9999), ("1.0", 1), (2.0, 2)]
)
def test_a_take_is_a_whole_number_from_1(cell: Any, take: int):
    """Empty means the first take."""
    assert draft(take=cell).take == take


@pytest.mark.parametrize("cell", ["0", "-1", "10000", "1.5", "2.5", "0.0", "1e3", "two", True, [2], "9" * 5000])
def test_any_other_take_is_refused(cell: Any):
    """With the range and what a take is for."""
    assert problems(take=cell)[0] == (
        "take",
        "must be a whole number from 1 to 9999: raise it by one to ask for another clip",
    )


# Ids


GOOD_IDS = [
    "r1",
    "kite 7",
    "a-b_c.d",
    "é",
    "日本語",
    "🪁",
    "50%",
    "%2E",
    "a..b",
    "a/b",
    "sc01/sh020",
    "a,b",
    "a\\b",
    'say "hi"',
    "a'b",
    "[a]",
    "a[0]",
    "*",
    "a?b#c%2Fd&e+f:g;h|i=j",
    "{a}$b<script>",
    "-a",
    "null",
    "all",
    "x" * 200,
    "CON",
    "~",
]
BAD_IDS: list[tuple[Any, str]] = [
    ("", "is empty"),
    ("   ", "is empty"),
    (None, "is empty"),
    ("a\tb", "control character"),
    ("a\nb", "control character"),
    ("a\x00b", "control character"),
    ("a\x7fb", "control character"),
    ("a\u2028b", "control character"),
    ("a...b", "range of partitions"),
    ("...", "range of partitions"),
    (".", "'.' at an end"),
    ("..", "'.' at an end"),
    (".hidden", "'.' at an end"),
    ("../../etc/passwd", "'.' at an end"),
    ("end.", "'.' at an end"),
    ("#REF!", "a formula that fails"),
    ("\ud800", "not valid Unicode"),
    ("x" * 201, "is 201 bytes long as a folder name; at most 200 fit"),
    ("x" * 10_000, "use a shorter id"),
    ("🪁" * 17, "is 204 bytes long"),
]


@pytest.mark.parametrize("row_id", GOOD_IDS)
def test_an_id_may_be_any_short_text_that_a_partition_key_can_carry(row_id: str):
    """Letters of every script, spaces, dots, percent signs, emoji."""
    assert draft(id=row_id).id == row_id


@pytest.mark.parametrize(("row_id", "words"), BAD_IDS, ids=range(len(BAD_IDS)))
def test_an_id_that_dagster_or_a_folder_cannot_carry_is_refused(row_id: Any, words: str):
    """With what is wrong and what to use instead."""
    ((column, message),) = problems(id=row_id)
    assert column == "id"
    assert words in message


def test_an_id_is_trimmed_and_may_be_a_number():
    """JSON Lines has ids like 7, a spreadsheet leaves spaces."""
    assert (draft(id=7).id, draft(id="  r2 ").id) == ("7", "r2")


def test_rows_that_share_an_id_are_all_named_and_nobody_guesses():
    """Each of them says on which lines the id stands; other rows are left alone."""
    drafts = [draft(id="a"), draft(id="b"), draft(id="a"), draft(id=" a ")]
    drafts = [Draft(RawRow(n, {}), d.id, d.take, d.labels, d.request) for n, d in enumerate(drafts, 2)]
    assert [(p.line, p.row, p.column, p.message) for p in duplicate_problems(drafts)] == [
        (line, "a", "id", "the id is on lines 2, 4, 5: give each row its own") for line in (2, 4, 5)
    ]


HOSTILE: list[Any] = [
    None, True, 0, -1, 1.5, float("nan"), float("inf"), 10**400, "", "\x00", "\ud800", "x" * 5000, "[" * 5000, "{}",
    "[]", "null", [], {}, [[]], [{}], [None], {"a": {"b": []}}, ["x"] * 100, [{"image": {}}],
    [{"image": 5, "frame": {}}], "${HOME}", "'; DROP TABLE rows; --", "<script>", "[red]", "{0}", "%s",
]  # fmt: skip


@pytest.mark.parametrize("model", MODELS)
def test_no_cell_whatever_is_in_it_stops_the_reading(model: str):
    """Any value in any column gives a request or problems: one bad row never stops the good ones."""
    columns = ["id", "take", "model", "label", "unheard_of", *MODELS[model].model_fields]
    good = SMALLEST.get(model, {}) | {"model": model}
    for column, value in itertools.product(columns, HOSTILE):
        found = read(TableRules(labels=["label"]), **{**good, column: value})
        if isinstance(found, list):
            assert found
            assert all(str(problem) and len(problem.message) < 2000 for problem in found), (column, value)


# Moving between providers


MOVES = [
    (RUNWARE, PIXWITH, {"resolution": "360p", "aspect_ratio": "9:16", "duration_seconds": 8, "outputs": 2}),
    (V45, RUNWARE, {"image": KITE, "resolution": "720p", "motion_mode": "fast", "style": "clay", "seed": 3}),
    (V45, V6, {"image": KITE, "resolution": "1080p", "duration_seconds": 5, "negative_prompt": "fog", "seed": 3}),
    (V6, RUNWARE, {"image": KITE, "resolution": "540p", "duration_seconds": 8, "negative_prompt": "fog"}),
    (V6, PIXWITH, {"image": KITE, "resolution": "540p", "duration_seconds": 5}),
]


@pytest.mark.parametrize(("here", "there", "cells"), MOVES)
def test_a_row_moves_to_another_provider_by_its_model_alone(here: str, there: str, cells: Cells):
    """Columns that mean the same have the same name everywhere, and the move is another request."""
    before, after = draft(model=here, **cells), draft(model=there, **cells)
    for column, value in cells.items():
        assert getattr(before.request, column) == getattr(after.request, column) == value
    assert digest(model=here, **cells) != digest(model=there, **cells)


def test_a_rows_own_size_or_image_takes_the_place_of_a_default_size():
    """A default for the common case does not make the others invalid."""
    rules = TableRules({"model": "runware/pixverse-v4.5", "resolution": "540p", "aspect_ratio": "9:16"})
    for cells, expected in (
        ({}, {"width": 540, "height": 960}),
        ({"width": "640", "height": "360"}, {"width": 640, "height": 360}),
        ({"image": "kite.png"}, {"resolution": "540p"}),
        ({"aspect_ratio": "1:1"}, {"width": 540, "height": 540}),
    ):
        parsed = parse_row(RawRow(2, {"id": "a", "prompt": "A kite", **cells}), rules)
        assert isinstance(parsed, Draft), parsed
        body = parsed.request.body(str)
        assert {name: body[name] for name in ("width", "height", "resolution") if name in body} == expected


def test_a_message_quotes_a_short_value_and_never_a_permission():
    """What is wrong is easier to find with the value; a webhook's token is nobody's business."""
    found = read(PLAIN, 7, resolution="4k", webhook_url="token-4711")
    assert isinstance(found, list)
    told = {problem.column: problem.message for problem in found}
    assert told["resolution"].endswith("not '4k'")
    assert "4711" not in told["webhook_url"]
