"""Every error that a person may meet has a place in the trouble page, which has its words, and what to do."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from importlib import import_module
from inspect import isclass
from pathlib import Path
from pkgutil import walk_packages
from typing import Any

import dagster as dg
import httpx
import pytest

import pixverse_dagster
from pixverse_dagster.core import errors
from pixverse_dagster.core.errors import PixverseError
from pixverse_dagster.core.layout import task_folder
from pixverse_dagster.core.lifecycle import FailureKind, TaskState
from pixverse_dagster.core.manifest import InputImage
from pixverse_dagster.core.outcomes import Accepted, Failed
from pixverse_dagster.core.request import ImageRules
from pixverse_dagster.core.row import RawRow
from pixverse_dagster.core.row_state import RowState
from pixverse_dagster.ledger.claims import ClaimTerms
from pixverse_dagster.ledger.engine import open_engine
from pixverse_dagster.ledger.ledger import Ledger
from pixverse_dagster.ledger.pauses import Pause
from pixverse_dagster.media.decode import check_image
from pixverse_dagster.media.probe import probe
from pixverse_dagster.media.reading import ImageReader
from pixverse_dagster.orchestration.io_managers.local import LocalClipIOManager
from pixverse_dagster.orchestration.resources import LedgerResource
from pixverse_dagster.policy.budget import Budget
from pixverse_dagster.policy.endings import WAITS
from pixverse_dagster.policy.plan import Verdict
from pixverse_dagster.providers.base import Provider
from pixverse_dagster.providers.pixwith import Pixwith
from pixverse_dagster.providers.runware.protocol import Runware
from pixverse_dagster.stages.adopt import adopt
from pixverse_dagster.stages.attempts import check_folder
from pixverse_dagster.stages.image_store import ImageStore
from pixverse_dagster.stages.session import Session
from pixverse_dagster.stages.staging import check_way
from pixverse_dagster.stages.waiting import RunStopped
from pixverse_dagster.storage.local import LocalStore
from pixverse_dagster.storage.marker import parse_entry, read_entries
from pixverse_dagster.tables import FileTable
from pixverse_dagster.tables.parse import TableRules, parse_row
from pixverse_dagster.testing.running import still_words
from pixverse_dagster.transport.download import Downloader, DownloadRules
from pixverse_dagster.transport.sender import HttpSender, Limits
from pixverse_dagster_tests.harness.factories import HIGHWAY, NAME, NOW, RUN, make_row, make_session, record_rows
from pixverse_dagster_tests.harness.ledgers import ledger_in
from pixverse_dagster_tests.harness.raw_http import Server, say, silence

PAGE = (Path(__file__).parents[2] / "docs" / "trouble.md").read_text()
SAMPLE = Path(pixverse_dagster.__file__).parent / "samples" / "images" / "coffee.png"
CLOSED = "http://127.0.0.1:9"
ACCOUNT = "runware/simulator"
TERMS = ClaimTerms(RUN, NOW, 180, estimate_usd=0.15, account=ACCOUNT, world="simulator")
KEPT_INSIDE = {
    "NotChanged": "a signal between two readings of one file",
    "_Unreadable": "becomes InvalidTable, with the line",
    "_Unusable": "how the command line prints the others",
    "NotNow": "a row that another run has",
    "NoAddress": "becomes NotSent or ReadFailed, with the name",
    "PrivateAddress": "becomes NotSent or ReadFailed, with the name",
}
"""Exceptions that no person meets by their own name, and why."""


def every_class() -> set[str]:
    """The exceptions of the package; the simulator's are its own."""
    found: set[str] = set()
    for module in walk_packages(pixverse_dagster.__path__, "pixverse_dagster."):
        if re.search(r"\.(simulator|migrations|__main__)", module.name):
            continue
        for name, one in vars(import_module(module.name)).items():
            if isclass(one) and issubclass(one, BaseException) and one.__module__.startswith("pixverse_dagster"):
                found.add(name)
    return found


def section(name: str) -> str:
    """What the page has below the heading of this error."""
    found = re.search(rf"^### `{name}`.*?\n(.*?)(?=^##|\Z)", PAGE, re.DOTALL | re.MULTILINE)
    assert found, f"docs/trouble.md has no heading ### `{name}`"
    return found.group(1)


def test_the_page_has_a_heading_for_every_error_and_for_no_other():
    """What happened, what it means for the money, and what to do are in each."""
    headings = set(re.findall(r"^### `(\w+)`", PAGE, re.MULTILINE))
    assert headings == every_class() - KEPT_INSIDE.keys()
    for name in headings:
        text = section(name)
        assert "**Money:**" in text, name
        assert "**Do:**" in text, name


WORDS = {"rows": RowState, "tasks": TaskState, "kinds": FailureKind, "verdicts": Verdict, "waits": WAITS}


@pytest.mark.parametrize("words", WORDS.values(), ids=WORDS)
def test_the_page_has_every_word_that_a_list_may_say(words: Any):
    """States, kinds of failure, verdicts of the plan, and what a row waits for."""
    absent = [str(one) for one in words if f"`{one}`" not in PAGE]
    assert absent == []


# --- real situations


class Situations:
    """Brings each error about, with the package's own means."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "dagster.yaml").touch()
        self.engine = open_engine(ledger_in(folder))
        self.ledger = Ledger(self.engine)
        self.row = make_row()
        record_rows(self.ledger, [self.row])
        self.session: Session = make_session(self.ledger, CLOSED)
        self.store = LocalStore(folder / "clips")
        self.open = ExitStack()

    def close(self) -> None:
        self.open.close()
        self.session.close()
        self.engine.dispose()

    def claim(self, **terms: Any) -> Any:
        return self.ledger.claim(NAME, self.row, replace(TERMS, **terms))

    def fetch(self, script: Any, seconds: float = 5, size: int = 100) -> None:
        server = Server(script)
        self.open.callback(server.close)
        rules = DownloadRules(allow_private_network=True, max_attempts=1, timeout_seconds=seconds)
        self.download(rules).fetch(f"http://127.0.0.1:{server.port}/clip.mp4", io.BytesIO(), size)

    def download(self, rules: DownloadRules) -> Downloader:
        made = Downloader(rules)
        self.open.callback(made.close)
        return made

    # nothing sent

    def invalid_table(self) -> None:
        list(FileTable(self.folder / "prompts.csv").read())

    def invalid_row(self) -> None:
        raise ProblemOfRow(parse_row(RawRow(2, {"id": "kite", "model": "runware/none"}), TableRules()))

    def over_budget(self) -> None:
        self.claim(budget=Budget(total_usd=0.04))

    def no_slot(self) -> None:
        self.claim()
        self.row = make_row("fox")
        record_rows(self.ledger, [make_row(), self.row])
        self.claim(max_open_tasks=1)

    def paused(self) -> None:
        self.ledger.pauses.add(Pause("account", ACCOUNT, "a look at the bill", NOW))
        self.claim()

    def row_changed(self) -> None:
        record_rows(self.ledger, [make_row(prompt="corrected")])
        self.claim()

    def not_sent(self) -> None:
        sender = HttpSender(Limits(max_attempts=1))
        self.open.callback(sender.close)
        sender.submit(httpx.Request("POST", CLOSED))

    def rule_broken(self) -> None:
        check_image(SAMPLE.read_bytes(), RULES)

    def image_gone(self) -> None:
        ImageReader(str(self.folder), self.download(DownloadRules())).read("kite.png", 100)

    def image_unread(self) -> None:
        (self.folder / "clips").write_text("a file where the folder should be")
        ImageStore(NAME, lambda: self.store).put("0" * 64, ".png", b"x")

    def no_way(self) -> None:
        row = make_row(model=HIGHWAY)
        image = InputImage(source="kite.png", digest="sha256:0")
        check_way(replace(self.session, open_store=lambda: self.store), row.request, "kite.png", image)

    # declined

    def answer(self, status: int, body: Any, provider: Provider | None = None) -> None:
        (provider or Pixwith("k")).read_submit(httpx.Response(status, json=body), "reference")

    def refused(self) -> None:
        self.answer(200, {"code": 0, "message": "Sensitive words"})

    def rate_limited(self) -> None:
        self.answer(429, {"code": 0, "message": "Too many requests"})

    def unauthorized(self) -> None:
        self.answer(401, {"code": 0, "message": "Invalid API key"})

    def out_of_credit(self) -> None:
        self.answer(402, {"code": 0, "message": "Insufficient credits"})

    def outcome_unknown(self) -> None:
        self.answer(502, {"message": "Bad gateway"})

    # reads

    def read_failed(self) -> None:
        Runware("k").read_poll(httpx.Response(500, text="oops"), [])

    def no_answer(self) -> None:
        self.fetch(silence, seconds=0.05)

    def result_expired(self) -> None:
        self.fetch(say(410, b"Request has expired"))

    def not_the_file(self) -> None:
        self.fetch(say(403, b"<!DOCTYPE html><html><title>Not here</title></html>"))

    def too_large(self) -> None:
        self.fetch(say(200, bytes(200)))

    def not_fetched(self) -> None:
        self.download(DownloadRules()).fetch("ftp://example.org/clip.mp4", io.BytesIO())

    def clip_invalid(self) -> None:
        (self.folder / "1.mp4").write_text("no clip")
        probe(self.folder / "1.mp4")

    # the store

    def store_conflict(self) -> None:
        parse_entry(b"{}", "clips/ledgers/a.json")

    def folder_taken(self) -> None:
        task, _ = self.claim()
        folder = task_folder(replace(task, attempt=1))
        check_folder(self.store, folder, [f"{folder}/1.mp4"], [])

    def ledgers_unreadable(self) -> None:
        (self.folder / "clips" / "ledgers").mkdir(parents=True)
        entry = self.folder / "clips" / "ledgers" / f"{'a' * 32}.json"
        entry.symlink_to(entry)
        read_entries(self.store)

    # downstream

    def load(self) -> None:
        clips = LocalClipIOManager(base_dir=str(self.folder / "clips"), ledger=LedgerResource(url=str(self.engine.url)))
        # Entered, so that Dagster closes what the context holds; it would else be closed within whatever comes later.
        with (
            dg.DagsterInstance.from_config(str(self.folder)) as instance,
            dg.build_input_context(
                asset_key=dg.AssetKey([NAME, "clips"]),
                partition_key=self.row.id,
                asset_partition_key_range=dg.PartitionKeyRange(self.row.id, self.row.id),
                asset_partitions_def=dg.StaticPartitionsDefinition([self.row.id]),
                instance=instance,
                dagster_type=dg.PythonObjectDagsterType(object),
            ) as context,
        ):
            clips.load_input(context)

    def not_ready(self) -> None:
        self.load()

    def task_failed(self) -> None:
        task, _ = self.claim()
        task = self.ledger.accept(task, Accepted("t-1"), NOW, NOW).task
        self.ledger.fail(task, Failed(FailureKind.MODERATED, "sensitive words"), NOW)
        self.load()

    # a person's decision

    def adoption_refused(self) -> None:
        task, _ = self.claim()
        self.ledger.accept(task, Accepted("t-1"), NOW, NOW)
        other = make_row("fox")
        record_rows(self.ledger, [self.row, other])
        adopt(self.session, self.ledger.claim(NAME, other, TERMS)[0], "t-1", "by hand")

    def adoption_unanswered(self) -> None:
        task, _ = self.claim()
        adopt(self.session, task, "t-2", "by hand")


class ProblemOfRow(Exception):
    """What the parser of rows says, which gives it and does not raise it."""

    def __init__(self, problem: Any) -> None:
        super().__init__("; ".join(map(str, problem if isinstance(problem, list) else [problem])))  # pyright: ignore[reportUnknownArgumentType]


@pytest.fixture
def situations(tmp_path: Path) -> Iterator[Situations]:
    made = Situations(tmp_path)
    yield made
    made.close()


RULES = ImageRules(frozenset({"png"}), 1, None, None, 100, inline=True, source="")
MONEY = re.compile(r"[Nn]ot charged|[Nn]othing (was |further |is )?(sent|spent|paid)|charged|paid for|budget")
OF_MONEY = {
    "InvalidTable", "OverBudget", "NoSlot", "Paused", "RowChanged", "NotSent", "Refused", "RateLimited", "Unauthorized",
    "OutOfCredit", "OutcomeUnknown", "TaskFailed", "StoreConflict",
}  # fmt: skip
"""Those that a submit, or what decides on one, ends with: their own words say what it means for the money."""
IN_PLAY = {"PixverseError", "RunStopped", "StillMoving"}
"""What has tests of its own, in which much more happens first."""
BROUGHT = sorted(every_class() - KEPT_INSIDE.keys() - IN_PLAY)


@pytest.mark.parametrize("name", BROUGHT)
def test_an_error_says_what_the_page_has_and_its_verdict_first(name: str, situations: Situations):
    """The words on the page, in which … stands for what differs, are those of the real thing."""
    with pytest.raises(Exception, match=r".") as brought:
        getattr(situations, re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower())()
    error = brought.value
    if isinstance(error, dg.DagsterError):
        raise error
    assert type(error).__name__ == {"InvalidRow": "ProblemOfRow"}.get(name, name)
    check_words(name, str(error))


def check_words(name: str, said: str) -> None:
    """The page has these words, and the verdict comes before what to do."""
    found = re.search(r"^> (.*)$", section(name), re.MULTILINE)
    assert found, f"{name}: the page has no words of it"
    words = ".*".join(re.escape(part) for part in found.group(1).split("…"))
    assert re.fullmatch(words if words.endswith(".*") else words + ".*", said, re.DOTALL), f"{name}: {said}"
    money = MONEY.search(said)
    if name in OF_MONEY:
        assert money, f"{name}: {said}"
    command = said.find("pixverse-dagster")
    assert command < 0 or (money is not None and money.start() < command), f"{name}: {said}"


def test_an_error_that_is_raised_without_words_says_what_its_class_does():
    """Nothing of a message is empty; and an error of each kind says what it means for the money or the reading."""
    for name, one in vars(errors).items():
        if isclass(one) and issubclass(one, PixverseError) and one is not PixverseError:
            said = str(one())
            assert said, name
            assert MONEY.search(said) or re.search(r"lost|free|says nothing|overwritten|fresh|playable", said), said


def test_what_cannot_be_brought_about_here_has_the_words_of_its_own(situations: Situations):
    """A run that a person stopped, and a test that would never end."""
    check_words("RunStopped", str(RunStopped.__doc__))
    check_words("StillMoving", still_words(["films/kite waits: no slot"], 1, []))
