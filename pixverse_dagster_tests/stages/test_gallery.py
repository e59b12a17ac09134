"""What a gallery says of clips and rows, and that it is written anew only where something changed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pixverse_dagster.core.layout import task_folder
from pixverse_dagster.core.lifecycle import FailureKind
from pixverse_dagster.core.outcomes import Accepted, Failed
from pixverse_dagster.core.row import Problem, Row, retake
from pixverse_dagster.core.secrets import remember_secret
from pixverse_dagster.core.task import Task
from pixverse_dagster.ledger.claims import ClaimTerms
from pixverse_dagster.ledger.engine import open_engine
from pixverse_dagster.ledger.ledger import Ledger
from pixverse_dagster.ledger.renaming import Renaming
from pixverse_dagster.policy.quality import Finding
from pixverse_dagster.recovery.forget import forget_row, plan_forget
from pixverse_dagster.reports.gallery.writer import GalleryOptions, WrittenGallery, write_gallery
from pixverse_dagster.reports.verify import verify
from pixverse_dagster.stages.find import read_folders
from pixverse_dagster.storage.local import LocalStore
from pixverse_dagster.storage.local_pages import LocalPages
from pixverse_dagster_tests.harness.clips import ClipBytes, store_row
from pixverse_dagster_tests.harness.factories import HIGHWAY, NAME, NOW, RUN, make_row, make_rows, put_row
from pixverse_dagster_tests.harness.galleries import cards_of, details_of, documents_of, files_of, index_of
from pixverse_dagster_tests.harness.ledgers import ledger_in
from pixverse_dagster_tests.harness.stored import read

SMALL = GalleryOptions(cards_in_chunk=3)


class Home:
    """A ledger and a store of the test's own."""

    def __init__(self, ledger: Ledger, store: LocalStore) -> None:
        self.ledger = ledger
        self.store = store
        self.pages = store.pages(NAME)
        self._now = NOW

    def add(self, *rows: Row, **how: Any) -> None:
        """Store clips of these rows, one after the other."""
        for row in rows:
            self._now += 10
            store_row(self.ledger, self.store, row, now=self._now, **how)

    def write(self, options: GalleryOptions = SMALL, **how: Any) -> WrittenGallery:
        return write_gallery(self.ledger, self.store, NAME, options, **how)

    def rows(self) -> list[str]:
        return [card["row"] for card in cards_of(self.pages)]


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    engine = open_engine(ledger_in(tmp_path))
    yield Home(Ledger(engine), LocalStore(tmp_path / "store"))
    engine.dispose()


def test_a_gallery_has_a_card_for_every_clip_and_every_row_without_one(home: Home):
    """The clips, the oldest first; and a row without one is there with its state."""
    home.add(*make_rows(3))
    put_row(home.ledger, make_row("kite"))
    done = home.write()
    assert (done.clips, done.rows_without_clip, done.unchanged) == (3, 1, False)
    states = [(card["row"], card["state"]) for card in cards_of(home.pages)]
    assert states == [("r000", "stored"), ("r001", "stored"), ("r002", "stored"), ("kite", "new")]
    assert Path(done.uri).read_bytes().startswith(b"<!doctype html>")


def test_a_card_says_what_helps_to_choose(home: Home):
    """Prompt, model, take, length, size, cost, labels; its clip's address follows from its id, its picture is there."""
    row = make_row("a/b", prompt="a kite", campaign="spring")
    home.add(row, clips=[ClipBytes(facts={"audio": True})])
    home.write()
    (card,) = cards_of(home.pages)
    (task,) = home.ledger.tasks.find(NAME)
    folder = str(task_folder(task))
    assert f"{NAME}/clips/{card['id']}" == f"{folder}/1"
    assert home.store.size_bytes(f"{NAME}/clips/{card['id']}.{card['ending']}")
    thumb = files_of(home.pages)[f"thumbs/{card['thumb']}.jpg"]
    assert thumb == read(home.store, f"{folder}/1.jpg")
    assert {name: value for name, value in card.items() if name not in {"id", "group", "thumb"}} == {
        "row": "a/b", "state": "stored", "model": row.request.MODEL, "prompt": "a kite", "take": 1, "ending": "mp4",
        "seconds": 5.0, "width": 640, "height": 360, "fps": 24.0, "audio": True, "cost": 0.1,
        "labels": [["campaign", "spring"]], "at": int(NOW + 14),
    }  # fmt: skip


def test_clips_of_the_same_words_are_a_group_whatever_their_model(home: Home):
    """The words and the input images; another prompt, or another image, is another group."""
    home.add(make_row("one"), make_row("two", seed=7), make_row("three", prompt="a boat"), make_row("four", HIGHWAY))
    home.write()
    one, two, three, four = (card["group"] for card in cards_of(home.pages))
    assert one == two
    assert len({one, three, four}) == 3


def test_a_task_with_several_clips_has_a_card_for_each_with_its_share_of_the_cost(home: Home):
    """The sum over all cards is what was paid."""
    home.add(make_row("kite", outputs=2), clips=[ClipBytes(), ClipBytes(b"another")], cost_usd=0.3)
    home.write()
    assert [(card["id"][-2:], card["cost"]) for card in cards_of(home.pages)] == [("/1", 0.15), ("/2", 0.15)]


def test_the_details_tell_how_a_clip_came_to_be(home: Home):
    """Parameters, account, ids, digests, and each step with its time and cost."""
    home.add(make_row("kite", seed=7))
    home.write()
    (details,) = details_of(home.pages).values()
    (task,) = home.ledger.tasks.find(NAME)
    assert details["digest"] == task.digest
    assert (details["account"], details["task_id"], details["seed"]) == ("account", task.task_id, 1)
    assert ["seed", "7"] in details["parameters"]
    assert [step["what"] for step in details["steps"]] == ["attempt 1 sent", "attempt 1 accepted", "finished", "stored"]
    assert details["dagster"] == {"run_id": RUN, "asset": "films/clips", "partition": "kite"}


def test_a_failed_attempt_before_it_is_one_of_its_steps(home: Home):
    """With the reason, and what it cost."""
    row = put_row(home.ledger, make_row("kite"))
    task, _ = home.ledger.claim(NAME, row, ClaimTerms(RUN, NOW, 60, account="account", world="simulator"))
    task = home.ledger.accept(task, Accepted("first"), NOW, NOW).task
    home.ledger.fail(task, Failed(FailureKind.MODERATED, "not allowed: https://host/x?secret=1"), NOW)
    home.ledger.release(home.ledger.tasks.find(NAME)[0], "by hand")
    home.add(row)
    home.write()
    (details,) = details_of(home.pages).values()
    assert details["steps"][2]["what"] == "attempt 1 failed (moderated)"
    assert "not allowed" in details["steps"][2]["text"]
    assert "secret=1" not in json.dumps(documents_of(home.pages))


def rendering(ledger: Ledger, task: Task) -> None:
    """It is under way."""


def failed(ledger: Ledger, task: Task) -> None:
    ledger.fail(task, Failed(FailureKind.PROVIDER_ERROR, "broken"), NOW)


def abandoned(ledger: Ledger, task: Task) -> None:
    ledger.abandon(task, "no longer wanted", "by hand")


@pytest.mark.parametrize(("end", "reason"), [(rendering, ""), (failed, "broken"), (abandoned, "no longer wanted")])
def test_a_row_without_a_clip_says_where_it_stands_and_why(
    home: Home, end: Callable[[Ledger, Task], None], reason: str
):
    """In words; of a task that was paid for, what it cost, or may have."""
    row = put_row(home.ledger, make_row("kite", campaign="spring"))
    task, _ = home.ledger.claim(NAME, row, ClaimTerms(RUN, NOW, 60, account="account", world="simulator"))
    end(home.ledger, home.ledger.accept(task, Accepted("first"), NOW, NOW).task)
    home.write()
    (card,) = cards_of(home.pages)
    assert (card["id"], card["state"], card["labels"]) == ("kite", end.__name__, [["campaign", "spring"]])
    assert reason in card.get("reason", "")
    assert "ending" not in card
    assert details_of(home.pages)["kite"]["task_id"] == "first"


def test_a_line_that_is_no_row_is_there_with_what_is_wrong(home: Home):
    """Also two of the same name, and one without any; folders of this machine are not named."""
    problems = [Problem(3, "kite", "prompt", "is empty"), Problem(4, "kite", "", "twice"), Problem(5, "", "", "no id")]
    problems.append(Problem(6, "boat", "image", "'a.png' cannot be read below /home/somebody/films: no such file"))
    home.ledger.rows.record(NAME, [], problems, RUN, NOW)
    home.write()
    found = cards_of(home.pages)
    assert [(card["id"], card["state"]) for card in found] == [
        ("kite", "invalid"), ("kite~4", "invalid"), ("~5", "invalid"), ("boat", "invalid"),
    ]  # fmt: skip
    assert "somebody" not in json.dumps(documents_of(home.pages))


def test_what_nobody_may_see_is_nowhere(home: Home):
    """Keys and signed links, in every text that a person or a provider wrote; and no address of an input image."""
    remember_secret("canary-key-0123456789")
    link = "https://bucket.example.org/kite.png?X-Amz-Signature=canary"
    said = f"canary-key-0123456789 {link}"
    home.add(make_row("kite", HIGHWAY, prompt=said, image=link, campaign=said, language=link))
    put_row(home.ledger, make_row("boat", HIGHWAY, prompt=said, image=link, campaign=said))
    home.ledger.rows.record(NAME, list(home.ledger.rows.find(NAME).values()), [Problem(1, said, said, said)], RUN, NOW)
    home.write()
    everything = b"".join(data for path, data in files_of(home.pages).items() if path.startswith("data/"))
    for word in (b"canary", b"X-Amz-Signature=", b'bucket.example.org/kite.png"'):
        assert word not in everything, word


def test_nothing_is_written_where_nothing_changed(home: Home):
    """Not even the time of a file."""
    home.add(*make_rows(4))
    first = home.write()
    before = {path: (Path(first.uri).parent / path).stat().st_mtime_ns for path in files_of(home.pages)}
    again = home.write()
    assert (again.unchanged, again.revision, again.clips) == (True, first.revision, 4)
    assert {path: (Path(first.uri).parent / path).stat().st_mtime_ns for path in files_of(home.pages)} == before
    assert home.write(full=True).unchanged


def test_a_new_clip_rewrites_four_files_and_its_picture_and_moves_no_other(home: Home):
    """The chunk that is not full, the details of it, the index; other chunks keep their names."""
    home.add(*make_rows(4))
    home.write()
    sealed = index_of(home.pages).chunks[0]
    home.add(make_row("new"))
    done = home.write()
    assert index_of(home.pages).chunks[0] == sealed
    assert len([path for path in done.written if path.startswith("thumbs/")]) == 1
    assert len(done.written) == 4
    assert home.rows() == ["r000", "r001", "r002", "r003", "new"]


def test_a_clip_that_comes_late_moves_no_other(home: Home):
    """It was made long ago, and found only now: it stands behind those that are there, also when all is made anew."""
    home.add(*make_rows(4))
    home.write()
    before = index_of(home.pages).chunks
    store_row(home.ledger, home.store, make_row("late"), now=NOW - 1000)
    home.write()
    after = index_of(home.pages).chunks
    assert after[0] == before[0]
    assert home.rows()[-1] == "late"
    assert home.write(full=True).unchanged
    assert index_of(home.pages).chunks == after


def test_writing_step_by_step_gives_what_writing_at_once_gives(home: Home, tmp_path: Path):
    """After each clip, or once: the same cards in the same files."""
    for row in make_rows(8):
        home.add(row)
        home.write()
    elsewhere = LocalPages(tmp_path / "elsewhere", None)
    home.write(pages=elsewhere)
    assert index_of(elsewhere).chunks == index_of(home.pages).chunks
    assert index_of(elsewhere).revision == index_of(home.pages).revision


def test_a_row_that_gets_its_clip_is_no_row_without_one_any_more(home: Home):
    """One card for each request: and another take that is asked for is one more."""
    row = put_row(home.ledger, make_row("kite"))
    home.write()
    home.add(row)
    home.write()
    assert [(card["row"], card["state"]) for card in cards_of(home.pages)] == [("kite", "stored")]
    home.ledger.rows.raise_take(NAME, "kite")
    home.write()
    assert [(card["take"], card["state"]) for card in cards_of(home.pages)] == [(1, "stored"), (2, "new")]
    home.add(retake(row, 2))
    home.write()
    assert [(card["take"], card["state"]) for card in cards_of(home.pages)] == [(1, "stored"), (2, "stored")]


def test_a_renamed_row_has_its_new_name_and_its_clip_where_it_is(home: Home):
    """The id is that of the folder, so that its clip still plays."""
    home.add(*make_rows(2))
    home.write()
    ids = [card["id"] for card in cards_of(home.pages)]
    home.ledger.names.make(Renaming(NAME, "hero", "r000"), NOW + 1000)
    home.write()
    assert [(card["row"], card["id"]) for card in cards_of(home.pages)] == [("hero", ids[0]), ("r001", ids[1])]


def test_a_renamed_pipeline_has_a_gallery_whose_clips_are_where_they_are(home: Home):
    """In the folder of its new name, with the way to the folder of the old one."""
    home.add(*make_rows(2))
    home.write()
    home.ledger.names.make(Renaming(NAME, "movies"), NOW + 1000)
    done = write_gallery(home.ledger, home.store, "movies", SMALL)
    cards = cards_of(home.store.pages("movies"))
    assert [(card["tree"], card["row"]) for card in cards] == [(NAME, "r000"), (NAME, "r001")]
    assert home.store.size_bytes(f"{NAME}/clips/{cards[0]['id']}.mp4")
    assert write_gallery(home.ledger, home.store, "movies", SMALL, full=True).unchanged
    assert done.uri.endswith("movies/gallery/index.html")


def test_a_simulators_clips_are_not_among_those_that_were_paid_for(home: Home):
    """Once the pipeline works with the real provider."""
    home.add(*make_rows(2))
    home.write()
    home.ledger.worlds.set(NAME, {"runware": "live"})
    home.write()
    assert [card["state"] for card in cards_of(home.pages)] == ["new", "new"]


def test_a_clip_whose_manifest_is_gone_is_said_to_be_so_until_it_is_there(home: Home):
    """It is paid for: it does not vanish from the page."""
    home.add(*make_rows(2))
    (task, _) = home.ledger.tasks.find(NAME)
    key = task_folder(task).manifest
    path = Path(home.store.uri(key))
    text = path.read_bytes()
    path.unlink()
    home.write()
    lost = cards_of(home.pages)[0]
    assert (lost["state"], lost["reason"]) == ("stored", "its manifest is not in the store")
    path.write_bytes(text)
    home.ledger.describe(task, "0" * 64)
    home.write()
    assert cards_of(home.pages)[0]["ending"] == "mp4"


def test_another_ledger_makes_all_cards_anew(home: Home, tmp_path: Path):
    """Its history says nothing of what the gallery has: a rebuilt ledger, or an older copy of this one."""
    home.add(*make_rows(2))
    home.write()
    engine = open_engine(ledger_in(tmp_path / "other"))
    other = Ledger(engine)
    store_row(other, LocalStore(tmp_path / "elsewhere"), make_row("kite"))
    done = write_gallery(other, LocalStore(tmp_path / "elsewhere"), NAME, SMALL, pages=home.pages)
    engine.dispose()
    assert (home.rows(), done.clips) == (["kite"], 1)


@pytest.mark.parametrize("name", ["data/index.js", "index.html"])
def test_a_file_that_was_lost_is_there_again(home: Home, name: str):
    """The index and the page; with `--full`, any other."""
    home.add(*make_rows(4))
    home.write()
    path = Path(home.pages.uri(name))
    path.unlink()
    home.write(full=name != "data/index.js")
    assert path.exists()
    assert len(cards_of(home.pages)) == 4


def test_every_lost_or_broken_file_is_there_again_after_a_full_writing(home: Home):
    """Pictures, chunks, details, the page and its script."""
    home.add(*make_rows(4))
    home.write()
    whole = files_of(home.pages)
    for path in whole:
        Path(home.pages.uri(path)).unlink()
        home.write(full=True)
        assert files_of(home.pages).keys() == whole.keys(), path
    Path(home.pages.uri("data/index.js")).write_bytes(b"gallery('index','{}')\n")
    home.write()
    assert len(cards_of(home.pages)) == 4


def test_what_is_out_of_use_stays_for_a_day_and_then_goes(home: Home):
    """Pages that are open ask for it."""
    home.add(*make_rows(1))
    home.write(clock=lambda: NOW)
    old = set(files_of(home.pages)) - {"index.html", "data/index.js"}
    home.add(make_row("new"))
    home.write(clock=lambda: NOW + 100)
    assert old <= set(files_of(home.pages))
    home.add(make_row("newer"))
    home.write(clock=lambda: NOW + 200_000)
    left = {path for path in old if path.startswith("data/")} & set(files_of(home.pages))
    assert left == set()
    assert len(cards_of(home.pages)) == 3


def test_other_peoples_text_ends_no_string_and_no_tag(home: Home):
    """Quotes, tags, line separators, half a surrogate pair, the name of a prototype: each comes back as it was."""
    said = "'); alert(1) // </script><!-- \\' \u2028\u2029 `${x}` __proto__ \u202e"
    home.add(make_row("kite", prompt=said, campaign="__proto__"))
    home.write()
    assert cards_of(home.pages)[0]["prompt"] == said
    text = Path(home.pages.uri(f"data/{index_of(home.pages).chunks[0].cards}.js")).read_bytes()
    assert b"<" not in text
    assert text.count(b"\n") == 1


def test_a_gallery_elsewhere_has_its_own_pictures_and_the_way_back(home: Home, tmp_path: Path):
    """A copy that may be sent on: changing its pictures changes nothing in the store."""
    home.add(make_row("kite"))
    elsewhere = LocalPages(tmp_path / "elsewhere", None)
    home.write(replace(SMALL, base="../store/films/"), pages=elsewhere)
    (path,) = (path for path in files_of(elsewhere) if path.startswith("thumbs/"))
    assert Path(elsewhere.uri(path)).stat().st_nlink == 1
    assert index_of(elsewhere).base == "../store/films/"


def test_verify_and_rebuild_pass_the_gallery_by(home: Home):
    """Its files are no clip's: nothing is said of them, and no row is made of them."""
    home.add(*make_rows(2))
    home.write()
    assert verify(home.ledger, home.store, NAME).disagreements == ()
    assert sorted(reading.row for reading in read_folders(home.store, NAME)) == ["r000", "r001"]


def test_a_forgotten_clip_is_in_no_file_of_the_gallery(home: Home):
    """`clips forget`: neither its card, its details and its picture, nor an earlier state of the page."""
    home.add(make_row("secret", prompt="the secret kite"), make_row("other"))
    home.write()
    home.add(make_row("third"))
    put_row(home.ledger, make_row("waits"))
    home.write()
    plan = plan_forget(home.ledger, home.store, NAME, "secret")
    done = forget_row(home.ledger, home.store, plan, "by hand", NOW)
    assert done.failed == {}
    assert home.rows() == ["other", "third", "waits"]
    everything = files_of(home.pages)
    assert b"secret" not in b"".join(data for path, data in everything.items() if not path.startswith("app"))
    assert len([path for path in everything if path.startswith("thumbs/")]) == 2
    assert forget_row(home.ledger, home.store, plan_forget(home.ledger, home.store, NAME, "secret"), "again", NOW)
    home.write()
    assert home.rows() == ["other", "third", "waits"]


def test_forgetting_writes_no_gallery_where_there_is_none(home: Home):
    """Nor one that says nothing of the clip."""
    home.add(make_row("secret"), make_row("other"))
    forget_row(home.ledger, home.store, plan_forget(home.ledger, home.store, NAME, "secret"), "by hand", NOW)
    assert files_of(home.pages) == {}
    first = home.write()
    plan = plan_forget(home.ledger, home.store, NAME, "secret")
    before = files_of(home.pages)
    forget_row(home.ledger, home.store, plan, "by hand", NOW)
    assert files_of(home.pages) == before
    assert home.write().revision == first.revision


def test_a_clip_that_failed_a_check_is_named_until_it_passes(home: Home):
    """By its id, with what was asked and what came. What passed is silent; the clips stay in their files."""
    home.add(make_row("kite", outputs=2), make_row("boat"), clips=[ClipBytes(), ClipBytes(b"another")])
    home.write()
    chunks = index_of(home.pages).chunks
    (task, *_) = home.ledger.tasks.find(NAME, keys=["kite"])
    frozen = Finding("not_frozen", passed=False, asked="a picture that moves", came="none", output=2)
    home.ledger.checks.record(task, [Finding("intact", passed=True, asked="", came="", output=1), frozen], NOW)
    home.write()
    index = index_of(home.pages)
    assert index.chunks == chunks
    assert index.checks is not None
    (found,) = documents_of(home.pages)[index.checks]
    kite = [card["id"] for card in cards_of(home.pages) if card["row"] == "kite"]
    assert found == [kite[1], ["not_frozen of output 2: asked a picture that moves, came none"]]
    home.ledger.checks.record(task, [replace(frozen, passed=True)], NOW)
    home.write()
    assert index_of(home.pages).checks is None


def test_a_gallery_elsewhere_leaves_out_what_was_forgotten_when_it_is_written_again(home: Home, tmp_path: Path):
    """With its picture, and with every file that may still name it."""
    elsewhere = LocalPages(tmp_path / "elsewhere", None)
    home.add(make_row("secret", prompt="the secret kite"), make_row("other"))
    home.write(pages=elsewhere)
    home.add(make_row("third"))
    home.write(pages=elsewhere)
    forget_row(home.ledger, home.store, plan_forget(home.ledger, home.store, NAME, "secret"), "by hand", NOW)
    home.write(pages=elsewhere)
    assert [card["row"] for card in cards_of(elsewhere)] == ["other", "third"]
    everything = files_of(elsewhere)
    assert b"secret" not in b"".join(data for path, data in everything.items() if not path.startswith("app"))
    assert len([path for path in everything if path.startswith("thumbs/")]) == 2


@pytest.mark.parametrize(("count", "left"), [(400, 400), (600, 60)])
def test_a_pipeline_at_work_all_day_keeps_its_index_small(home: Home, count: int, left: int):
    """Of many files that went out of use within a day, one each minute, those older than an hour go; few stay."""
    home.add(make_row("kite"))
    home.write(clock=lambda: NOW)
    retired = tuple((f"data/d-{number:016x}.js", int(NOW) - 60 * number) for number in range(1, count + 1))
    for path, _ in retired:
        Path(home.pages.uri(path)).write_bytes(b"")
    index = index_of(home.pages)
    state = index.writer.model_copy(update={"retired": retired})
    home.pages.write("data/index.js", index.model_copy(update={"writer": state}).encode())
    home.write(GalleryOptions(dagster_url="http://host"), clock=lambda: NOW)
    assert len(index_of(home.pages).writer.retired) == left
    assert sum(path.startswith("data/d-0000") for path in files_of(home.pages)) == left
    assert len(cards_of(home.pages)) == 1
