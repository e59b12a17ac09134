"""Tasks that their provider has finished, made by the ledger's own moves, and servers that have their clips."""

import tempfile
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from pixverse_dagster.core.outcomes import Accepted, Succeeded
from pixverse_dagster.core.row import Row
from pixverse_dagster.core.task import Task
from pixverse_dagster.ledger.claims import ClaimTerms
from pixverse_dagster.stages.session import Session
from pixverse_dagster.stages.standing import present_holder
from pixverse_dagster_tests.harness.factories import NAME, NOW, RUN, make_row, moved, record_rows
from pixverse_dagster_tests.harness.films import Film, film
from pixverse_dagster_tests.harness.raw_http import Server, say

ROW = make_row("kite")


class Clips:
    """Serves clips, each at an address of its own, and says how often each was asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._servers: list[tuple[str, Server]] = []

    def __call__(self, picture: str) -> str:
        """The address of a clip with this picture; of none, if it is `gone`."""
        path = self.path(picture)
        answer = say(404, b"") if picture == "gone" else say(200, path.read_bytes())
        server = Server(answer)
        self._servers.append((picture, server))
        return f"http://127.0.0.1:{server.port}/1.mp4"

    def path(self, picture: str) -> Path:
        """The clip as a local file."""
        path = self._folder / f"{picture}.mp4"
        if picture != "gone" and not path.exists():
            path.write_bytes(_encoded(picture))
        return path

    def downloads(self) -> dict[str, int]:
        """How often the clips of each picture were asked for, where they were at all."""
        counts: dict[str, int] = {}
        for picture, server in self._servers:
            counts[picture] = counts.get(picture, 0) + len(server.requests)
        return {picture: count for picture, count in counts.items() if count}

    def close(self) -> None:
        for _, server in self._servers:
            server.close()


@cache
def _encoded(picture: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        return film(Path(folder) / "clip.mp4", Film(picture)).read_bytes()


Serve = Callable[[str], str]


@contextmanager
def serving(folder: Path) -> Generator[Clips]:
    """Servers of clips; they are closed at the end."""
    clips = Clips(folder)
    try:
        yield clips
    finally:
        clips.close()


def claimed(session: Session, row: Row = ROW) -> Task:
    """A claim under the present key of the row's account."""
    holder = present_holder(session, session.clients[row.request.provider()])
    terms = ClaimTerms(RUN, NOW, 60, account=holder.account, world=holder.world, key=holder.key)
    task, mine = session.ledger.claim(NAME, row, terms)
    assert mine
    return task


def succeeded(session: Session, task_id: str, *urls: str, row: Row = ROW) -> Task:
    """A task that its provider has finished: claimed, accepted and succeeded by the ledger's own moves."""
    ledger = session.ledger
    record_rows(ledger, [row])
    task = ledger.accept(claimed(session, row), Accepted(task_id), NOW, NOW).task
    return moved(ledger.succeed(task, Succeeded(urls, cost_usd=0.1), NOW))


def linked(session: Session, task: Task, *urls: str) -> Task:
    """The task with other links, as its provider's next answer has them."""
    return moved(session.ledger.succeed(task, Succeeded(urls, cost_usd=0.1), NOW))
