"""Where a process can be killed, by the name of the product's own function, and how it is: from outside.

Nothing in the product knows of this. `arm` wraps the functions of one process by the environment:

| variable | meaning |
|---|---|
| `PIXVERSE_TEST_KILL` | the point's name in `POINTS`; without it nothing is wrapped |
| `PIXVERSE_TEST_KILL_MODEL` | only where the work is about a row of this model |
| `PIXVERSE_TEST_KILL_NTH` | the how-many-th time, 1 by default |
| `PIXVERSE_TEST_KILL_MARKER` | a file that is made by whoever dies, so that only one does; says who and where |
"""

import functools
import itertools
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from importlib import import_module
from typing import Any, BinaryIO, Literal

import sqlalchemy as sa
from sqlalchemy import event

When = Literal["before", "after", "commit", "headers", "sent", "half"]
_PRODUCT = "pixverse_dagster."
# What httpcore says at the instant when all before it has left and nothing after it has.
_TRACED = {"headers": "http11.send_request_body.started", "sent": "http11.receive_response_headers.started"}


class Left(Enum):
    """What a kill leaves of its row: the ledger's state, charges, what is in the store, and whether Dagster knows."""

    NOTHING = (None, 0, "none", False)
    CLAIMED = ("claimed", 0, "none", False)
    CHARGED = ("claimed", 1, "none", False)
    SUBMITTED = ("submitted", 1, "none", False)
    SUCCEEDED = ("succeeded", 1, "none", False)
    CLIP = ("succeeded", 1, "clip", False)
    FIRST = ("succeeded", 1, "first", False)
    BYTES = ("succeeded", 1, "bytes", False)
    MANIFEST = ("succeeded", 1, "all", False)
    EVENT = ("succeeded", 1, "all", True)
    STORED = ("stored", 1, "all", True)


@dataclass(frozen=True)
class Point:
    """An instant in the product: `where` names the function that is told the row, `inside` one that it calls.

    `commit` is just before the function's transaction is committed, `headers` and `sent` are in its HTTP request,
    `half` is when half of the first chunk of its file is written.
    """

    where: str
    when: When
    left: Left
    inside: str = ""

    @property
    def step(self) -> Literal["submit", "poll", "collect"]:
        """What a process is doing when it comes by here."""
        if self.where.endswith(".succeed"):
            return "poll"
        return "submit" if self.left in {Left.NOTHING, Left.CLAIMED, Left.CHARGED, Left.SUBMITTED} else "collect"


_SEND, _SUBMIT = "httpx:Client.send", "pixverse_dagster.stages.submitter:AccountSubmitter._send"
_LEDGER, _COLLECT = "pixverse_dagster.ledger.ledger:Ledger", "pixverse_dagster.stages.collect"
_LANDING, _SAVE = "pixverse_dagster.stages.landing", "pixverse_dagster.transport.download:_save"

POINTS: Mapping[str, Point] = {
    "before-claim": Point(f"{_LEDGER}.claim", "before", Left.NOTHING),
    "claim-uncommitted": Point(f"{_LEDGER}.claim", "commit", Left.NOTHING),
    "after-claim": Point(f"{_LEDGER}.claim", "after", Left.CLAIMED),
    "post-headers-out": Point(_SUBMIT, "headers", Left.CLAIMED, _SEND),
    "post-in-flight": Point(_SUBMIT, "sent", Left.CHARGED, _SEND),
    "answer-unrecorded": Point(f"{_LEDGER}.accept", "before", Left.CHARGED),
    "answer-uncommitted": Point(f"{_LEDGER}.accept", "commit", Left.CHARGED),
    "answer-recorded": Point(f"{_LEDGER}.accept", "after", Left.SUBMITTED),
    "result-uncommitted": Point(f"{_LEDGER}.succeed", "commit", Left.SUBMITTED),
    "result-recorded": Point(f"{_LEDGER}.succeed", "after", Left.SUCCEEDED),
    "collect-leased": Point("pixverse_dagster.ledger.collecting:Collecting.lease", "after", Left.SUCCEEDED),
    "mid-download": Point(
        f"{_LANDING}:fetch_output", "half", Left.SUCCEEDED, "pixverse_dagster.transport.download:_save"
    ),
    "downloaded": Point(f"{_LANDING}:fetch_output", "after", Left.SUCCEEDED),
    "file-recorded": Point("pixverse_dagster.ledger.files:Files.record", "after", Left.SUCCEEDED),
    "file-landed": Point(f"{_LANDING}:_store_poster", "before", Left.CLIP),
    "before-poster": Point(f"{_LANDING}:store_output", "before", Left.CLIP, f"{_LANDING}:put_bytes"),
    # Where a model has one output only, this is after that one.
    "between-outputs": Point(f"{_LANDING}:store_output", "after", Left.FIRST),
    "before-manifest": Point("pixverse_dagster.core.provenance:build_manifest", "before", Left.BYTES),
    "after-manifest": Point(f"{_COLLECT}:collect", "after", Left.MANIFEST),
    "before-event": Point("pixverse_dagster.orchestration.events.clips:clip_event", "after", Left.MANIFEST),
    "after-event": Point(f"{_LEDGER}.store", "before", Left.EVENT),
    "stored-uncommitted": Point(f"{_LEDGER}.store", "commit", Left.EVENT),
    "stored": Point(f"{_LEDGER}.store", "after", Left.STORED),
}

DAEMON_POINTS: Mapping[str, Point] = {
    "tick-result-recorded": POINTS["result-recorded"],
    "tick-collect-leased": POINTS["collect-leased"],
    "run-unlaunched": Point("dagster:DagsterInstance.submit_run", "before", Left.SUCCEEDED),
}
"""In the tick of the code server, twice, and in the daemon itself."""

ALL_POINTS: Mapping[str, Point] = {**POINTS, **DAEMON_POINTS}


class PointMissing(Exception):
    """The code has no such function any more: the point has to follow it."""


def resolve(where: str) -> tuple[Any, str, Callable[..., Any]]:
    """What holds a function named `module:path`, its name there, and the function."""
    module, _, path = where.partition(":")
    *owners, name = path.split(".")
    try:
        owner = functools.reduce(getattr, owners, import_module(module))
        return owner, name, getattr(owner, name)
    except (ImportError, AttributeError):
        raise PointMissing(f"{where} is not in the code") from None


def arm(environ: Mapping[str, str] = os.environ) -> None:
    """Wrap this process's functions for the point that the environment names, if any."""
    if name := environ.get("PIXVERSE_TEST_KILL"):
        point = ALL_POINTS[name]
        marker, nth = environ["PIXVERSE_TEST_KILL_MARKER"], int(environ.get("PIXVERSE_TEST_KILL_NTH", "1"))
        _Killer(name, point, environ.get("PIXVERSE_TEST_KILL_MODEL", ""), nth, marker).wrap()


@dataclass
class _Killer:
    name: str
    point: Point
    model: str
    nth: int
    marker: str

    def __post_init__(self) -> None:
        self._turn = itertools.count(1)
        self._here = threading.local()

    def wrap(self) -> None:
        point = self.point
        if point.when == "commit":
            event.listen(sa.Engine, "commit", self._commits)
        if point.inside:
            _replace(point.inside, self._inner)
        _replace(point.where, self._outer)

    def _outer(self, original: Callable[..., Any]) -> Callable[..., Any]:
        direct = "" if self.point.inside else self.point.when

        @functools.wraps(original)
        def outer(*args: Any, **kwargs: Any) -> Any:
            self._here.request = next(self._requests(args), None)
            try:
                if direct == "before":
                    self._reached()
                result = original(*args, **kwargs)
                if direct == "after":
                    self._reached()
                return result
            finally:
                self._here.request = None

        return outer

    def _inner(self, original: Callable[..., Any]) -> Callable[..., Any]:
        when = self.point.when

        @functools.wraps(original)
        def inner(*args: Any, **kwargs: Any) -> Any:
            if self._request() is None:
                return original(*args, **kwargs)
            if when == "before":
                self._reached()
            elif when in _TRACED:
                args[1].extensions["trace"] = self._traced
            elif when == "half":
                response, target, *rest = args
                args = (response, _Half(target, self._reached), *rest)
            return original(*args, **kwargs)

        return inner

    def _requests(self, values: Any) -> Iterator[Any]:
        """Every request that these arguments are about: a row's, a task's, a batch's."""
        for value in values:
            about = getattr(value, "task", value)
            request = about if hasattr(about, "MODEL") else getattr(about, "request", None)
            model = getattr(request, "MODEL", None)
            if model and model == (self.model or model):
                yield request
            elif isinstance(value, list | tuple):
                yield from self._requests(value)

    def _commits(self, _: sa.Connection) -> None:
        self._reached()

    def _traced(self, name: str, _: Mapping[str, Any]) -> None:
        if name == _TRACED[self.point.when]:
            self._reached()

    def _request(self) -> Any:
        return getattr(self._here, "request", None)

    def _reached(self) -> None:
        request = self._request()
        told = request is not None or self.point.where.startswith("dagster:")
        if told and next(self._turn) == self.nth:
            self._die(getattr(request, "MODEL", ""), getattr(request, "prompt", ""))

    def _die(self, model: str, prompt: str) -> None:
        try:
            with open(self.marker, "x") as file:  # noqa: PTH123 - as early and as little as can be
                json.dump({"point": self.name, "pid": os.getpid(), "model": model, "prompt": prompt}, file)
        except FileExistsError:
            return
        os.kill(os.getpid(), signal.SIGKILL)
        threading.Event().wait()  # this thread does nothing more while the signal is on its way


@dataclass(frozen=True)
class _Half:
    """A file that is given half of what is written to it, and then no more."""

    target: BinaryIO
    reached: Callable[[], None]

    def write(self, data: bytes) -> int:
        self.target.write(data[: len(data) // 2])
        self.target.flush()
        self.reached()
        return len(data)

    def flush(self) -> None:
        self.target.flush()


def _replace(where: str, wrapper: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    """Put a wrapper in a function's place, also where other modules of the product have imported it by name."""
    owner, name, original = resolve(where)
    wrapped = wrapper(original)
    setattr(owner, name, wrapped)
    for module in [module for key, module in sys.modules.items() if key.startswith(_PRODUCT)]:
        for other in [key for key, value in vars(module).items() if value is original]:
            setattr(module, other, wrapped)
