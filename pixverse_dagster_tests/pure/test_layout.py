"""The layout of a store: keys are made in one place, and what is made can be taken apart again."""

from __future__ import annotations

import itertools
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixverse_dagster.core.layout import ClipKey, clip_folder, encode_row, parse

ROWS = ["kite", "a b/ü", "..", ".", "~", "%2F", "a%b", "1.mp4", "clips", "-t1", "x" * 50]
DIGEST = "0123456789abcdef" * 4


@pytest.mark.parametrize("row", ROWS)
def test_every_key_of_a_clip_can_be_taken_apart(row: str):
    """Manifest, video files and posters, whatever the row is called."""
    folder = clip_folder("films", row, DIGEST, 3)
    assert parse(folder.manifest) == ClipKey(folder, "manifest")
    assert parse(folder.output(2, "webm")) == ClipKey(folder, "output", 2, "webm")
    assert parse(folder.poster(4)) == ClipKey(folder, "poster", 4)


@given(st.text(min_size=1).filter(lambda text: text.isprintable()), st.text(min_size=1), st.integers(1, 9999))
def test_what_was_made_comes_back(pipeline: str, row: str, take: int):
    """Of any name that text can be."""
    try:
        folder = clip_folder(pipeline, row, DIGEST, take)
        key = folder.output(1, "mp4")
    except UnicodeEncodeError:
        return  # half a surrogate pair: the table's reader refuses it
    assert parse(key) == ClipKey(folder, "output", 1, "mp4")


STRANGE = [
    "",
    "manifest.json",
    "films/clips/kite/0123456789ab-t1/",
    "films/clips/kite/0123456789ab-t1/5.mp4",
    "films/clips/kite/0123456789ab-t1/1.txt",
    "films/clips/kite/0123456789ab-t0/1.mp4",
    "films/clips/kite/0123456789ab-t01/1.mp4",
    "films/clips/kite/0123456789AB-t1/1.mp4",
    "films/clips/kite/0123456789abc-t1/1.mp4",
    "films/clips/a b/0123456789ab-t1/1.mp4",
    "films/clips/%6Bite/0123456789ab-t1/1.mp4",
    "films/clips/a%2fb/0123456789ab-t1/1.mp4",
    "films/clips/../0123456789ab-t1/1.mp4",
    "films/images/kite/0123456789ab-t1/1.mp4",
    "x/films/clips/kite/0123456789ab-t1/1.mp4",
]


@pytest.mark.parametrize("key", STRANGE)
def test_a_key_that_this_layout_does_not_make_is_none_of_its_own(key: str):
    """Other files, other spellings of a name, other numbers: whoever reads a store leaves them alone."""
    assert parse(key) is None


@pytest.mark.parametrize(
    ("row_id", "folder"),
    [
        ("r1", "r1"),
        ("a-b_c.d", "a-b_c.d"),
        ("kite 7", "kite%207"),
        (".", "%2E"),
        ("..", "%2E%2E"),
        ("..x", "..x"),
        ("50%", "50%25"),
        ("%2E", "%252E"),
        ("~", "%7E"),
        ("é", "%C3%A9"),
        ("a/b", "a%2Fb"),
    ],
)
def test_a_row_becomes_one_folder_name(row_id: str, folder: str):
    """Percent-encoded outside A-Z a-z 0-9 . _ -, and dots that mean another folder as well."""
    assert encode_row(row_id) == folder


def test_no_two_rows_share_a_folder():
    """The encoding can be undone, so that no two ids collide, and leaves nothing that a path could mean."""
    alphabet = [".", "%", "2", "E", "e", "~", " ", "/", "é"]
    ids = ["".join(letters) for size in (1, 2, 3, 4) for letters in itertools.product(alphabet, repeat=size)]
    folders = [encode_row(row_id) for row_id in ids]
    assert [unquote(folder) for folder in folders] == ids
    assert len(set(folders)) == len(ids)
    assert not [folder for folder in folders if "/" in folder or folder in {".", ".."}]
