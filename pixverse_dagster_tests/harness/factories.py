"""Factories that several test modules share: rows, and sessions against a simulator."""

import json
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any, TypeVar

from pixverse_dagster.core.lifecycle import TaskState
from pixverse_dagster.core.manifest import InputImage, World
from pixverse_dagster.core.outcomes import Accepted
from pixverse_dagster.core.request import Request
from pixverse_dagster.core.row import RawRow, Row
from pixverse_dagster.core.task import Applied, MoveRefused, Task
from pixverse_dagster.ledger.engine import open_engine
from pixverse_dagster.ledger.ledger import Ledger
from pixverse_dagster.policy.budget import NO_LIMIT, Budget
from pixverse_dagster.policy.quality import CheckRules
from pixverse_dagster.policy.retry import NO_RETRIES, RetryPolicy
from pixverse_dagster.policy.timing import Pace
from pixverse_dagster.providers.base import Provider
from pixverse_dagster.providers.highway.protocol import Highway
from pixverse_dagster.providers.pixwith import Pixwith
from pixverse_dagster.providers.runware.protocol import Runware
from pixverse_dagster.stages.collect import Collected
from pixverse_dagster.stages.generate import GenerateRun
from pixverse_dagster.stages.options import PipelineOptions
from pixverse_dagster.stages.poll import PollReport, poll_due
from pixverse_dagster.stages.resolve import resolve_rows
from pixverse_dagster.stages.session import Pipeline, Session
from pixverse_dagster.stages.submission import Submission
from pixverse_dagster.stages.submit import submit_rows
from pixverse_dagster.storage.base import ClipStore
from pixverse_dagster.tables.parse import Draft, TableRules, parse_row
from pixverse_dagster.transport.client import Outgoing, ProviderClient
from pixverse_dagster.transport.download import Downloader, DownloadRules
from pixverse_dagster.transport.sender import HttpSender, Limits
from pixverse_dagster_tests.harness.ledgers import ledger_in

T = TypeVar("T")
J = TypeVar("J")

NAME = "films"
RUN = "run-1"
NOW = 1_700_000_000.0
IMAGE = "https://assets.example.org/kite.png"
LABELS = ("campaign", "language")
HIGHWAY, RUNWARE, PIXWITH = "highway/pixverse-v6-i2v", "runware/pixverse-v4.5", "pixwith/pixverse-v5"

# The cheapest clip of each model: the simulator renders it in a tenth of a second, once.
CELLS: Mapping[str, Mapping[str, Any]] = {
    "highway/pixverse-v4.5-i2v": {"prompt": "a kite", "image": IMAGE, "resolution": "360p"},
    HIGHWAY: {"prompt": "a kite", "image": IMAGE, "resolution": "360p", "duration_seconds": 1},
    "highway/pixverse-c1-reference-to-video": {
        "prompt": "@hero walks",
        "references": [{"type": "subject", "name": "hero", "image": IMAGE}],
        "resolution": "360p",
        "duration_seconds": 1,
    },
    RUNWARE: {"prompt": "a kite", "resolution": "360p"},
    PIXWITH: {"prompt": "a kite", "resolution": "360p"},
}

QUICK = Pace(
    first_poll_seconds=0.05,
    max_poll_seconds=0.1,
    claim_lease_seconds=60,
    replay_window_seconds=120,
    collect_retry_seconds=0.05,
    collect_after_seconds=0,
)
PROVIDERS: tuple[type[Provider], ...] = (Highway, Runware, Pixwith)


class Clock:
    """A clock that a test sets by hand. It goes on with real time from there."""

    def __init__(self, ahead_seconds: float = 0) -> None:
        self.ahead_seconds = ahead_seconds

    def __call__(self) -> float:
        return time.time() + self.ahead_seconds


@dataclass(frozen=True)
class Setup:
    """How a session differs from the ordinary one. Plain values, so that it goes to another process."""

    key: str = "simulator"
    account: str = ""
    world: World | None = None
    account_budget: Budget = NO_LIMIT
    pace: Pace = QUICK
    limits: Limits = field(default_factory=lambda: Limits(backoff_seconds=0.02, max_concurrency=4))
    download: DownloadRules = field(
        default_factory=lambda: DownloadRules(allow_private_network=True, backoff_seconds=0.02)
    )
    run_id: str = RUN
    read_image_urls: bool = False
    retry: RetryPolicy = NO_RETRIES
    budget: Budget = NO_LIMIT
    max_open_tasks: int | None = None
    checks: CheckRules = field(default_factory=CheckRules)


class NoTable:
    """A prompt table that is never read: rows are given to the ledger directly."""

    def describe(self) -> str:
        return "no table"

    def read(self) -> Iterator[RawRow]:
        return iter(())


def make_row(row_id: str = "kite", model: str = RUNWARE, **cells: Any) -> Row:
    """A valid row, as the product's own parser makes it; images behind URLs are taken unread."""
    drafted = parse_row(RawRow(2, {"id": row_id, "model": model, **CELLS[model], **cells}), TableRules(labels=LABELS))
    assert isinstance(drafted, Draft), drafted
    return drafted.complete({one: InputImage(source=one, digest=f"url:{one}") for one in drafted.request.images()})


def make_rows(count: int, model: str = RUNWARE, **cells: Any) -> list[Row]:
    return [make_row(f"r{number:03}", model, **cells) for number in range(count)]


def make_task(**values: Any) -> Task:
    """A task as the ledger would have it, claimed at NOW."""
    row = make_row()
    fields: dict[str, Any] = {
        "id": "1",
        "pipeline": NAME,
        "row": row.id,
        "digest": row.digest,
        "claim": 1,
        "attempt": 1,
        "take": row.take,
        "request": row.request,
        "images": row.images,
        "labels": row.labels,
        "client_reference": "ref",
        "state": TaskState.CLAIMED,
        "run_id": RUN,
        "claimed_at": NOW,
    }
    return Task(**fields | values)


def make_session(
    ledger: Ledger,
    url: str,
    setup: Setup | None = None,
    clock: Callable[[], float] = time.time,
    stopped: Callable[[], bool] = bool,
) -> Session:
    """A session whose accounts are at the simulator at `url`. Close it after use."""
    setup = setup or Setup()
    return Session(
        pipeline=Pipeline(
            NAME,
            NoTable(),
            PipelineOptions(
                pace=setup.pace,
                read_image_urls=setup.read_image_urls,
                retry=setup.retry,
                budget=setup.budget,
                checks=setup.checks,
            ),
        ),
        ledger=ledger,
        clients={
            one.NAME: ProviderClient(
                one(setup.key, f"{url}/{one.NAME}"),
                HttpSender(setup.limits),
                setup.max_open_tasks,
                setup.account,
                setup.account_budget,
                setup.world,
            )
            for one in PROVIDERS
        },
        downloader=Downloader(setup.download),
        run_id=setup.run_id,
        clock=clock,
        stopped=stopped,
    )


@contextmanager
def session_in(
    folder: Path, url: str, setup: Setup | None = None, clock: Callable[[], float] = time.time
) -> Generator[Session]:
    """A session whose ledger is a SQLite file in this folder."""
    engine = open_engine(ledger_in(folder))
    try:
        with make_session(Ledger(engine), url, setup, clock) as session:
            yield session
    finally:
        engine.dispose()


def moved(move: Applied | MoveRefused) -> Task:
    """The task after a move that the ledger made."""
    assert isinstance(move, Applied), move
    return move.task


def put_row(ledger: Ledger, row: Row, pipeline: str = NAME) -> Row:
    """Make this a current row of the pipeline, and leave its others as they are."""
    others = [other for other in ledger.rows.find(pipeline).values() if other.id != row.id]
    ledger.rows.record(pipeline, [*others, row], [], RUN, NOW)
    return row


def send_submit(client: ProviderClient, request: Request, body: Any, reference: str) -> Accepted:
    """Submit without a ledger: the call alone, as often as the client repeats it."""
    content = json.dumps(client.provider.envelope(request, body, reference)).encode()
    return client.submit(lambda: Outgoing(request, content, reference))


def record_rows(ledger: Ledger, rows: Sequence[Row]) -> list[str]:
    """Make these the pipeline's current rows; their ids."""
    ledger.rows.record(NAME, rows, [], RUN, time.time())
    return [row.id for row in rows]


def submit_all(session: Session, rows: Sequence[Row]) -> dict[str, Submission]:
    """Record these rows and submit them."""
    return {one.row: one for one in submit_rows(session, record_rows(session.ledger, rows))}


def poll_and_resolve(session: Session, seconds: float = 10) -> PollReport:
    """What the poll sensor does, and the run that it asks for: submits of unknown outcome are replayed there."""
    report = poll_due(session, seconds)
    list(resolve_rows(session, [task.row for task in report.replayable]))
    return report


def poll_until(session: Session, done: Callable[[list[Task]], bool], seconds: float = 120) -> list[Task]:
    """Poll until the pipeline's tasks satisfy `done`, and return them."""
    deadline, pause = time.monotonic() + seconds, Event()
    while not done(found := session.ledger.tasks.find(NAME)):
        assert time.monotonic() < deadline, [(task.row, task.state, task.note, task.reason) for task in found]
        poll_and_resolve(session)
        pause.wait(0.02)
    return found


def succeeded_tasks(session: Session, rows: Sequence[Row]) -> list[Task]:
    """Submit these rows and poll until the provider has finished all of them."""
    submit_all(session, rows)
    return poll_until(session, lambda tasks: all(task.state is TaskState.SUCCEEDED for task in tasks))


def deliver(
    session: Session, store: ClipStore, keys: Sequence[str], deadline_seconds: float
) -> tuple[list[Collected], list[str]]:
    """See rows through: what was reported on the way, and what is wrong in the end."""
    delivery = GenerateRun(session, store, lambda rows: submit_rows(session, rows))
    return list(delivery.run(keys, deadline_seconds)), list(delivery.problems.values())
