"""The final form of row ids: a table that another tool saved has the same rows, and look-alikes are named."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixverse_dagster.core.row import RawRow
from pixverse_dagster.tables import CallableTable, FileTable, ValueTable
from pixverse_dagster.tables.ids import final_id, looks_like, settle_ids
from pixverse_dagster.tables.parse import Draft, TableRules, double_problem, parse_row
from pixverse_dagster_tests.harness.hostile import IDS, examples
from pixverse_dagster_tests.harness.tables import arrow, as_parquet

RULES = TableRules(defaults={"model": "runware/pixverse-v4.5"})


def rows(*ids: Any) -> list[RawRow]:
    return [RawRow(line, {"id": row_id, "prompt": "a kite"}) for line, row_id in enumerate(ids, start=2)]


def settled(*ids: Any) -> list[str]:
    return [str(row.cells["id"]) for row in settle_ids(rows(*ids)).rows]


def doubles(*ids: Any) -> dict[int, int]:
    return dict(settle_ids(rows(*ids)).doubles)


# Numbers


NUMBERS = [
    (["1.0", "2.0"], ["1", "2"]),
    (["1.0", "2", "3.00"], ["1", "2", "3"]),
    (["1.0", "", "2.0"], ["1", "", "2"]),
    (["007.0", "-3.0"], ["007", "-3"]),
    (["1.0", "1.5", "2.0"], ["1", "1.5", "2"]),
    (["1.0", "a"], ["1.0", "a"]),
    (["1.0", "1.0.1"], ["1.0", "1.0.1"]),
    (["1", "1.0"], ["1", "1.0"]),
    (["1.0", "1.00", "2.0"], ["1.0", "1.00", "2.0"]),
    (["1.0", "1.0"], ["1", "1"]),
    (["12345678901234567890.0"], ["12345678901234567890"]),
]


@pytest.mark.parametrize(("written", "final"), NUMBERS, ids=range(len(NUMBERS)))
def test_a_whole_number_is_one_where_all_of_the_column_are_numbers(written: list[str], final: list[str]):
    """As spreadsheets write them; not where it would make one row of two, and not where an id is a version."""
    assert settled(*written) == final


def everywhere(folder: Path, ids: list[float], takes: list[float | None]) -> Iterator[list[RawRow]]:
    """The same table, as each kind of source reads it."""
    cells = [{"id": i, "prompt": "a kite", "take": t} for i, t in zip(ids, takes, strict=True)]
    text = "".join(f"{c['id']},a kite,{'' if c['take'] is None else c['take']}\n" for c in cells)
    (folder / "t.csv").write_text("id,prompt,take\n" + text)
    (folder / "t.jsonl").write_text("\n".join(map(json.dumps, cells)))
    (folder / "t.parquet").write_bytes(as_parquet(arrow.Table.from_pylist(cells)))
    for name in ("t.csv", "t.jsonl", "t.parquet"):
        yield list(FileTable(folder / name).read())
    yield list(CallableTable(lambda: cells).read())
    yield list(ValueTable(arrow.Table.from_pylist(cells)).read())


def test_a_number_is_the_same_id_and_take_in_every_format(tmp_path: Path):
    """CSV, JSON Lines, Parquet, a function, an asset's value: same ids, same takes, same digests."""
    found = [
        [parse_row(row, RULES) for row in settle_ids(read).rows]
        for read in everywhere(tmp_path, [1.0, 2.0], [1.0, None])
    ]
    assert len(found) == 5
    for drafts in found:
        assert [(d.id, d.take, d.complete({}).digest) for d in drafts if isinstance(d, Draft)] == [
            (d.id, d.take, d.complete({}).digest) for d in found[0] if isinstance(d, Draft)
        ]
        assert [(d.id, d.take) for d in drafts if isinstance(d, Draft)] == [("1", 1), ("2", 1)]


# What looks the same


ONE_ID = [
    ("composed and decomposed", "caf\u00e9", "cafe\u0301"),
    ("Kelvin and K", "5\u212a", "5K"),
    ("no-break space", "kite 7", "kite\u00a07"),
    ("thin space", "kite 7", "kite\u20097"),
    ("narrow no-break space", "kite 7", "kite\u202f7"),
    ("ideographic space", "kite 7", "kite\u30007"),
    ("zero-width space", "kite", "ki\u200bte"),
    ("byte order mark", "kite", "\ufeffkite"),
    ("soft hyphen", "kite", "ki\u00adte"),
    ("word joiner", "kite", "kite\u2060"),
    ("direction", "kite", "\u200ekite\u200f"),
    ("override", "kite", "\u202akite\u202c"),
    ("joiner between letters", "kite", "ki\u200dte"),
    ("non-joiner at the end", "kite", "kite\u200c"),
    ("joiner between Chinese letters", "日本", "日\u200d本"),
    ("variation selector after a letter", "kite", "kite\ufe0f"),
    ("tags", "kite", "kite\U000e0061"),
    ("Hangul filler", "kite", "kite\u3164"),
    ("an invisible character inside a letter", "caf\u00e9", "cafe\u034f\u0301"),
    ("a joiner that joins nothing", "👩", "👩\u200d"),
]


@pytest.mark.parametrize(("one", "other"), [case[1:] for case in ONE_ID], ids=[case[0] for case in ONE_ID])
def test_ids_that_nobody_can_tell_apart_are_one_and_the_first_counts(one: str, other: str):
    """Also from one reading to the next: the id itself has one form."""
    assert final_id(one) == final_id(other) == one if one != "5\u212a" else "5K"
    for first, second in ((one, other), (other, one)):
        assert doubles("dune", first, "sea", second, second) == {5: 3, 6: 3}
        assert doubles(first, first) == {}


TWO_IDS = [
    ("a family and its members", "👩\u200d👧", "👩👧"),
    ("a coder and a laptop", "👩\u200d💻", "👩💻"),
    ("skin tones", "👋🏻", "👋🏿"),
    ("a joined skin tone", "👩🏽\u200d🚀", "👩🏽🚀"),
    ("a rainbow flag", "🏳\ufe0f\u200d🌈", "🏳\ufe0f🌈"),
    ("England and Scotland", "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
     "🏴\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f"),
    ("two countries", "🇩🇪", "🇪🇸"),
    ("a Persian non-joiner", "\u0645\u06cc\u200c\u062e\u0648", "\u0645\u06cc\u062e\u0648"),
    ("an Indic joiner", "क्\u200dष", "क्ष"),
    ("ligature and letters", "\ufb01lm", "film"),
    ("full width", "\uff21", "A"),
    ("a circled number", "①", "1"),
    ("case", "Kite", "kite"),
    ("one space or two", "a  b", "a b"),
    ("dotless", "\u0131", "i"),
]  # fmt: skip


@pytest.mark.parametrize(("one", "other"), [case[1:] for case in TWO_IDS], ids=[case[0] for case in TWO_IDS])
def test_ids_that_people_see_as_two_stay_two(one: str, other: str):
    """What a joiner or a tag makes visible is a part of the id."""
    assert (final_id(one), final_id(other)) == (one, other)
    assert doubles(one, other) == {}


@pytest.mark.parametrize(("one", "other"), [("❤", "❤\ufe0f"), ("☎\ufe0e", "☎\ufe0f"), ("1\ufe0f\u20e3", "1\u20e3")])
def test_two_styles_of_an_emoji_are_doubles_and_keep_their_style(one: str, other: str):
    """The style is seen, but nobody would look for the difference."""
    assert (final_id(one), final_id(other)) == (one, other)
    assert doubles(one, other) == {3: 2}


def test_a_double_is_named_with_the_line_of_the_first():
    """And what to do."""
    ((line, first),) = doubles("kite", "ki\u200bte").items()
    problem = double_problem(settle_ids(rows("kite", "ki\u200bte")).rows[1], first)
    assert (line, str(problem)[:64]) == (3, "line 3, row 'kite', column 'id': looks the same as the id on lin")
    assert "line 2, which counts" in problem.message
    assert "Give this row an id of its own" in problem.message


def test_an_id_of_invisible_characters_alone_is_empty():
    """And so a problem of its row, and no double of other empty ones."""
    assert settled("\u200b\ufeff", "\u00ad") == ["", ""]
    assert doubles("\u200b\ufeff", "\u00ad", "") == {}


def test_an_id_has_one_final_form():
    """Forming it again changes nothing, the Unicode form and the edges that it came in are all the same."""
    odd = "\u200d\u200c\ufe0f\u00ad\u200b\u2009 e\u0301\u0301\u034fé👩💻🏴\U000e0067\u0915\u094d\u0628a\u1100\u1161"

    @examples(500)
    @given(st.sampled_from(IDS) | st.text(max_size=12) | st.text(st.sampled_from(odd), max_size=8))
    def check(text: str) -> None:
        final = final_id(text)
        assert final_id(final) == final
        if len(text) < 300:
            assert final == unicodedata.normalize("NFC", final) == final.strip()
            assert final_id(f" {unicodedata.normalize('NFD', text)}\u00a0") == final_id(text)
        assert looks_like(looks_like(final)) == looks_like(final)

    check()


def test_other_cells_and_rows_without_an_id_are_left_alone():
    """Order, lines, complaints and cells; a column that is called so with spaces around it."""
    given_rows = [RawRow(1, {}), RawRow(2, {" id ": "1.0", "seed": "1.0"}), RawRow(3, {"id": None}, "is short")]
    assert list(settle_ids(given_rows).rows) == [given_rows[0], RawRow(2, {" id ": "1", "seed": "1.0"}), given_rows[2]]
