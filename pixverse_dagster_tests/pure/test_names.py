"""What a store says of renamed rows and pipelines: whose a folder is, and what it was ever called."""

from pixverse_dagster.core.layout import ClipFolder
from pixverse_dagster.storage.names import Names, NamesDocument, RowName

AT = "2026-01-01T00:00:00.000+00:00"
OLD = ClipFolder("films", "a", "0123456789ab", 1)
BESIDE = ClipFolder("films", "a", "0123456789ab", 1, 2)
LEFT = ClipFolder("films", "gone", "0123456789ab", 1)


def names(*documents: dict[str, tuple[str, str]], pipeline: str = "films") -> Names:
    made = (
        NamesDocument(pipeline=pipeline, at=AT, folders={f: RowName(pipeline=p, row=r) for f, (p, r) in one.items()})
        for one in documents
    )
    return Names(pipeline, dict(enumerate(made, start=1)))


def test_without_a_document_a_folder_is_its_rows():
    """Nothing was renamed."""
    found = names()
    assert found.has("a", OLD)
    assert not found.has("b", OLD)
    assert (found.elsewhere("a"), found.called(OLD)) == ([], {("films", "a")})


def test_the_newest_document_says_whose_a_folder_is_and_all_say_what_it_was_called():
    """Renamed from a to b to c: it is c's, and its manifest may say any of the three."""
    found = names({str(OLD): ("films", "b")}, {str(OLD): ("films", "c")})
    assert [row for row in "abc" if found.has(row, OLD)] == ["c"]
    assert [found.elsewhere(row) for row in "abc"] == [[], [], [OLD]]
    assert found.called(OLD) == {("films", "a"), ("films", "b"), ("films", "c")}


def test_a_new_row_of_an_old_name_has_its_own_folders():
    """Whole folders were renamed, and not the name."""
    found = names({str(OLD): ("films", "b")})
    assert found.has("a", BESIDE)
    assert not found.has("a", OLD)


def test_a_folder_that_left_the_pipeline_is_nobodys_there_and_found_from_the_other_one():
    """Both pipelines' documents say so."""
    moved = {str(LEFT): ("reels", "gone")}
    assert not names(moved).has("gone", LEFT)
    assert names(moved, pipeline="reels").elsewhere("gone") == [LEFT]
    assert names(moved, pipeline="reels").has("gone", LEFT)


def test_a_document_may_name_what_is_no_folder():
    """Of a later release: passed over."""
    assert names({"films/other/1": ("films", "a")}).elsewhere("a") == []
