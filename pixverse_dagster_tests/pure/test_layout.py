"""The layout of a store: keys are made in one place, and what is made can be taken apart again."""

from __future__ import annotations

import itertools
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixverse_dagster.core.layout import (
    ClipFolder,
    ClipKey,
    GalleryKey,
    ImageKey,
    Key,
    LedgerKey,
    MarkerKey,
    NamesKey,
    clip_folder,
    encode_row,
    parse,
    parse_folder,
    task_folder,
)
from pixverse_dagster_tests.harness.factories import make_task

ROWS = ["kite", "a b/ü", "..", ".", "~", "%2F", "a%b", "1.mp4", "clips", "-t1", "x" * 50]
DIGEST = "0123456789abcdef" * 4


@pytest.mark.parametrize("row", ROWS)
def test_every_key_of_a_clip_can_be_taken_apart(row: str):
    """Manifest, video files and posters, whatever the row is called."""
    folder = clip_folder("films", row, DIGEST, 3)
    assert parse(folder.manifest) == ClipKey(folder, "manifest")
    assert parse(folder.output(2, "webm")) == ClipKey(folder, "output", 2, "webm")
    assert parse(folder.poster(4)) == ClipKey(folder, "poster", 4)
    assert parse(folder.tombstone) == ClipKey(folder, "tombstone")


# Half a surrogate pair is refused by the table's reader.
NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
NUMBERS = st.integers(1, 10**9 - 1)
FOLDERS = st.builds(ClipFolder, NAMES, NAMES, st.from_regex("[0-9a-f]{12}", fullmatch=True), NUMBERS, NUMBERS)
PARTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/"), min_size=1)
PATHS = st.lists(PARTS.filter(lambda part: part.strip(".")), min_size=1, max_size=4).map("/".join)
ENDINGS = st.one_of(st.just(""), st.sampled_from(["png", "jpg", "jpeg", "webp"]))
KEYS: st.SearchStrategy[Key] = st.one_of(
    st.builds(ClipKey, FOLDERS, st.just("output"), st.integers(1, 4), st.sampled_from(["mp4", "webm", "mov"])),
    st.builds(ClipKey, FOLDERS, st.just("poster"), st.integers(1, 4)),
    st.builds(ClipKey, FOLDERS, st.sampled_from(["manifest", "tombstone"])),
    st.just(MarkerKey()),
    st.builds(LedgerKey, NAMES),
    st.builds(ImageKey, NAMES, st.from_regex("[0-9a-f]{64}", fullmatch=True), ENDINGS),
    st.builds(NamesKey, NAMES, NUMBERS),
    st.builds(GalleryKey, NAMES, PATHS),
)


@given(KEYS)
def test_every_key_that_is_built_comes_back(key: Key):
    """Of any name that text can be, for every kind of key; so no two of them are the same place."""
    assert parse(str(key)) == key


@given(st.one_of(st.text(), KEYS.map(lambda key: str(key).upper()), KEYS.map(lambda key: f"{key}/x")))
def test_what_comes_back_is_the_key(text: str):
    """Any other text is a key of this layout exactly, or none of its own."""
    found = parse(text)
    assert found is None or str(found) == text


@given(FOLDERS)
def test_a_folder_comes_back_from_its_text(folder: ClipFolder):
    """As the ledger keeps it with a task."""
    assert parse_folder(str(folder)) == folder
    assert parse_folder(f"{folder}/") is None


def test_attempts_never_share_a_folder():
    """The first one has the plain name, every later one its number; the folder that a task was given is kept."""
    first, second = make_task(attempt=1), make_task(attempt=2)
    assert str(task_folder(second)) == f"{task_folder(first)}-a2"
    given_one = make_task(row="renamed", attempt=3, folder=str(task_folder(second)))
    assert task_folder(given_one) == task_folder(second)


KNOWN: dict[str, Key] = {
    "pixverse-store.json": MarkerKey(),
    "ledgers/0a1b.json": LedgerKey("0a1b"),
    f"films/images/{DIGEST}.png": ImageKey("films", DIGEST, "png"),
    f"films/images/{DIGEST}-thumb.jpg": ImageKey("films", DIGEST),
    "films/names/2.json": NamesKey("films", 2),
    "films/gallery/index.html": GalleryKey("films", "index.html"),
    "a%20b/gallery/posters/1.jpg": GalleryKey("a b", "posters/1.jpg"),
    "films/clips/kite/0123456789ab-t1-a2/tombstone.json": ClipKey(
        ClipFolder("films", "kite", "0123456789ab", 1, 2), "tombstone"
    ),
    "ledgers/clips/kite/0123456789ab-t1/1.mp4": ClipKey(
        ClipFolder("ledgers", "kite", "0123456789ab", 1), "output", 1, "mp4"
    ),
}


@pytest.mark.parametrize("key", KNOWN)
def test_each_key_of_the_layout_is_known(key: str):
    """As it is written down in the layout."""
    assert parse(key) == KNOWN[key]


STRANGE = [
    "",
    "manifest.json",
    "films/clips/kite/0123456789ab-t1/",
    "films/clips/kite/0123456789ab-t1/5.mp4",
    "films/clips/kite/0123456789ab-t1/1.txt",
    "films/clips/kite/0123456789ab-t0/1.mp4",
    "films/clips/kite/0123456789ab-t01/1.mp4",
    "films/clips/kite/0123456789ab-t1-a1/1.mp4",
    "films/clips/kite/0123456789ab-t1-a02/1.mp4",
    "films/clips/kite/0123456789ab-t\u0661/1.mp4",
    f"films/clips/kite/0123456789ab-t{'9' * 5000}/1.mp4",
    "films/clips/kite/0123456789ab-t1/1.mp4\n",
    "pixverse-store.json/",
    "films/pixverse-store.json",
    "ledgers/a/b.json",
    "ledgers/.json",
    "ledgers/a~b.json",
    "films/ledgers/0a1b.json",
    f"films/images/{DIGEST.upper()}.png",
    f"films/images/{DIGEST}",
    f"films/images/{DIGEST}.png/x",
    "films/names/0.json",
    "films/names/01.json",
    "films/gallery/",
    "films/gallery/../clips/x",
    "films/gallery//x",
    "films/notes.txt",
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
