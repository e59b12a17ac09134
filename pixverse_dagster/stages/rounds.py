"""Asking several accounts at once: each in a lane of its own, so that one that is sick delays no other.

Nothing here touches the ledger. A call has a thread of its own and ends at the deadline; one that does not end then,
because a name is being looked up, is left behind: nobody waits for it, and its answer is not wanted any more.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue

from pixverse_dagster.core.errors import NoAnswer, NotSent, ReadFailed
from pixverse_dagster.core.outcomes import PollFact
from pixverse_dagster.core.redaction import redact_text
from pixverse_dagster.core.task import Task
from pixverse_dagster.core.values import chunked
from pixverse_dagster.providers.base import TaskRef
from pixverse_dagster.transport.client import ProviderClient

_UNREAD_IN_A_ROW = 8
"""After so many answers in a row that cannot be read, the account is not asked further."""
_RECORD_SECONDS = 3.0
"""How long answers are recorded that came in time; asking again is free."""


@dataclass(frozen=True)
class Question:
    """A task, and the ids under which its provider is asked about it."""

    task: Task
    refs: tuple[TaskRef, ...]


@dataclass(frozen=True, eq=False)
class Batch:
    """What one call asks."""

    questions: tuple[Question, ...]
    doubtful: bool = False


@dataclass(frozen=True)
class Answer:
    """What came of one call: the facts by id, or why there are none."""

    batch: Batch
    facts: dict[str, PollFact] | None
    error: str = ""
    heard: bool = True
    """Whether anything was heard of the provider at all."""


@dataclass
class Lane:
    """The questions to one account in one round: in batches, those that were read last time before the doubtful ones.

    `fresh` are batches as they are. `doubtful` are groups of questions that may make an answer unreadable: asked one by
    one at first, then two by two, and so on, for as long as that goes well. `stopped` says why no more is asked.
    """

    client: ProviderClient
    fresh: deque[Batch]
    doubtful: list[deque[Question]]
    stopped: str = ""
    under_way: list[Batch] = field(default_factory=list[Batch])
    _halves: deque[Batch] = field(default_factory=deque[Batch])
    _size: int = 1
    _unread: int = 0

    def next_batch(self) -> Batch | None:
        """What is asked next; None if there is nothing, or no more at the same time."""
        if self.stopped or len(self.under_way) >= self.client.sender.limits.max_concurrency:
            return None
        batch = self._take()
        self.under_way += [batch] if batch else []
        return batch

    def _take(self) -> Batch | None:
        if self.fresh:
            return self.fresh.popleft()
        if self._halves:
            return self._halves.popleft()
        group = next(filter(None, self.doubtful), None)
        if not group:
            return None
        return Batch(tuple(group.popleft() for _ in range(min(self._size, len(group)))), doubtful=True)

    def take_answer(self, answer: Answer) -> bool:
        """Go on after an answer; whether it is to be recorded, or its questions are asked again in halves."""
        batch = answer.batch
        self.under_way.remove(batch)
        if batch.doubtful:
            self._size = 1 if answer.facts is None else min(self._size * 2, self.client.provider.POLL_BATCH)
        if answer.facts is not None:
            self._unread = 0
            return True
        self._unread += 1
        if not answer.heard or self._unread >= _UNREAD_IN_A_ROW:
            self.stopped = self.stopped or answer.error
        if len(batch.questions) == 1 or not answer.heard:
            return True
        middle = (len(batch.questions) + 1) // 2
        self._halves += [Batch(batch.questions[:middle]), Batch(batch.questions[middle:])]
        return False

    def unread(self) -> list[Question]:
        """The questions that were asked, and that no answer came for that could be read."""
        return [question for batch in (*self.under_way, *self._halves) for question in batch.questions]

    def is_spent(self) -> bool:
        """Whether the provider did not come up with what it was asked: then the rest waits for another round."""
        return bool(self.stopped or self.under_way or self._halves)


def ask_lanes(lanes: Sequence[Lane], deadline: float) -> Iterator[Answer]:
    """Ask what is in the lanes, yielding the answers as they come; ends at the deadline (of `time.monotonic()`).

    An answer without facts is about a single task, or about a provider that nothing was heard of. Afterwards the lanes
    have what is left.
    """
    answers: SimpleQueue[tuple[Lane, Answer]] = SimpleQueue()
    for lane in lanes:
        _start(lane, answers, deadline)
    while any(lane.under_way for lane in lanes) and time.monotonic() < deadline + _RECORD_SECONDS:
        try:
            lane, answer = answers.get(timeout=max(deadline - time.monotonic(), 0))
        except Empty:
            return
        whole = lane.take_answer(answer)
        # First the next calls: the providers work on them while this answer is recorded.
        _start(lane, answers, deadline)
        if whole:
            yield answer


def _start(lane: Lane, answers: SimpleQueue[tuple[Lane, Answer]], deadline: float) -> None:
    while time.monotonic() < deadline and (batch := lane.next_batch()):
        threading.Thread(target=_ask, args=(lane, batch, answers, deadline), daemon=True).start()


def _ask(lane: Lane, batch: Batch, answers: SimpleQueue[tuple[Lane, Answer]], deadline: float) -> None:
    client, facts = lane.client, dict[str, PollFact]()
    refs = [ref for question in batch.questions for ref in question.refs]
    try:
        for asked in chunked(refs, client.provider.POLL_BATCH):
            facts |= client.poll(asked, deadline)
        answer = Answer(batch, facts)
    except (NoAnswer, NotSent) as error:
        answer = Answer(batch, None, str(error), heard=False)
    except ReadFailed as error:
        answer = Answer(batch, None, str(error))
    except Exception as error:  # noqa: BLE001 - an answer of no known form is one that cannot be read, whatever it breaks
        words = redact_text(f"{type(error).__name__}: {error}")
        answer = Answer(batch, None, f"the answer cannot be read ({words})")
    answers.put((lane, answer))
