"""Answers of hostile providers, and the bounds within which they must be read."""

import copy
import json
import resource
from collections.abc import Generator
from contextlib import contextmanager
from itertools import count
from threading import Event, Thread
from typing import Any

import httpx
from hypothesis import strategies as st

from pixverse_dagster_tests.harness.answers import ATOMS, HIGHWAY_POLLS, PIXWITH_POLLS, RUNWARE_POLLS, SUBMITS, UUID
from pixverse_dagster_tests.harness.hostile import RAW_JSON, TEXTS, json_values

MB = 1024 * 1024
GENUINE: list[Any] = [
    *(body for _, _, body, _ in SUBMITS if not isinstance(body, bytes)),
    *(case[-2] for case in (*HIGHWAY_POLLS, *RUNWARE_POLLS, *PIXWITH_POLLS)),
]


WRONG: st.SearchStrategy[Any] = st.sampled_from(ATOMS) | st.sampled_from(TEXTS) | json_values


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """A genuine answer with up to four places changed, dropped, repeated or nested, or bytes that are none."""
    body = copy.deepcopy(draw(st.sampled_from(GENUINE)))
    for _ in range(draw(st.integers(0, 4))):
        body = damage(draw, body)
    text = json.dumps(body).encode()
    match draw(st.integers(0, 9)):
        case 0:
            return text[: draw(st.integers(0, len(text)))]
        case 1:
            return text.replace(b'"' + UUID.encode() + b'"', draw(st.sampled_from(RAW_JSON)).encode())
        case 2:
            return draw(st.binary(max_size=40))
        case _:
            return text


def damage(draw: st.DrawFn, value: Any) -> Any:
    if not isinstance(value, dict | list) or not value or draw(st.integers(0, 3)) == 0:
        return draw(WRONG)
    places: list[Any] = list(value) if isinstance(value, dict) else list(range(len(value)))  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    at = draw(st.sampled_from(places))
    match draw(st.integers(0, 5)):
        case 0:
            del value[at]
        case 1:
            value[at] = [value[at]] * draw(st.integers(0, 6))
        case 2:
            value[at] = str(value[at])  # pyright: ignore[reportUnknownArgumentType]
        case _:
            value[at] = damage(draw, value[at])
    return value  # pyright: ignore[reportUnknownVariableType]


def answer(status: int, content: bytes) -> httpx.Response:
    return httpx.Response(status, content=content)


def keepable(text: str) -> bool:
    return 0 < len(text) <= 255 and text.isprintable() and bool(text.encode())


MOST_SECONDS = 2.5
"""Of one call: the 0.3 s that it has, and what it does itself. A busy machine may add its own."""
MOST_KB = 250 * 1024
_TICK_SECONDS = 0.02


@contextmanager
def bounded(most_seconds: float = MOST_SECONDS) -> Generator[None]:
    """What is done in the block ends in time and takes no more memory than it may.

    Time is counted in short waits beside it, which a busy machine makes longer as well.
    """
    before, over, ticks = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, Event(), count()

    def tick() -> None:
        while not over.wait(_TICK_SECONDS):
            next(ticks)

    clock = Thread(target=tick)
    clock.start()
    try:
        yield
    finally:
        over.set()
        clock.join()
    assert next(ticks) * _TICK_SECONDS < most_seconds
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MOST_KB
