"""Hostile ids and names: a row has its own folder, and what cannot be opened is no table."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixverse_dagster.core.errors import InvalidTable
from pixverse_dagster.core.layout import encode_row
from pixverse_dagster.tables import FileTable
from pixverse_dagster_tests.harness.hostile import IDS, examples

FOLDER = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._%-]{1,200}")


@pytest.mark.parametrize("kind", ["folder.csv", "folder.jsonl"])
def test_what_cannot_be_opened_is_no_table(tmp_path: Path, kind: str):
    """A folder under a table's name is refused like a file that is not there."""
    (tmp_path / kind).mkdir()
    with pytest.raises(InvalidTable, match="cannot be read"):
        list(FileTable(tmp_path / kind).read())


def test_two_ids_share_a_folder_only_where_case_is_ignored(tmp_path: Path):
    """Case and normalisation make other folders; where a disk ignores case, ids that differ in nothing else meet.

    The folder is the percent-encoding that the layout fixes, so `Kite` and `kite` are one folder on such a disk.
    """
    ids = st.sampled_from(IDS) | st.text(max_size=12)

    @examples(300)
    @given(ids, ids)
    def check(one: str, other: str) -> None:
        assert (encode_row(one) == encode_row(other)) == (one == other)
        if encode_row(one).lower() == encode_row(other).lower():
            assert ascii_lower(one) == ascii_lower(other)
        assert FOLDER.fullmatch(encode_row(one[:15]) or "x")

    check()
    assert len({encode_row(one) for one in ("é", "e\u0301", "\ufb01", "fi", "K", "\u212a", "\u0131", "i")}) == 8


def ascii_lower(text: str) -> str:
    return re.sub(r"[A-Z]", lambda letter: letter.group().lower(), text)
