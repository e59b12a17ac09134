"""Asking the providers about tasks that are due, for a bounded time, and recording what they say."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pixverse_dagster.core.errors import ReadFailed
from pixverse_dagster.core.lifecycle import TaskState
from pixverse_dagster.core.outcomes import Missing, PollFact, Running, Succeeded
from pixverse_dagster.core.task import MoveRefused, Task, latest
from pixverse_dagster.core.text import shorten
from pixverse_dagster.core.values import chunked
from pixverse_dagster.ledger.polling import Heard, Left, Waits
from pixverse_dagster.policy.deadlines import MISSING_NOTE, judge_answer
from pixverse_dagster.policy.identity import Standing
from pixverse_dagster.providers.base import TaskRef
from pixverse_dagster.stages.resolve import judge_open, may_replay, open_refs, settle_lease
from pixverse_dagster.stages.retries import queue_retries
from pixverse_dagster.stages.rounds import Batch, Lane, Question, ask_lanes
from pixverse_dagster.stages.session import Session
from pixverse_dagster.stages.standing import ASIDE_NOTE, find_standing, look_at_keys, split_by_standing
from pixverse_dagster.transport.client import ProviderClient
from pixverse_dagster.transport.logs import get_logger

DUE_LIMIT = 2000
"""How many tasks of one provider are looked at in a round."""
_SETTLE_SHARE = 0.2
"""The part of a round that may go into open submits before anybody is asked; each is a write of its own."""
_KEEP_AT_ONCE = 50
_log = get_logger()


@dataclass(frozen=True)
class PollReport:
    """What one round of polling saw. No answer could be read about the `unread` tasks, which says nothing of them."""

    asked: int
    running: int
    succeeded: int
    ended: tuple[Task, ...]
    unread: int
    last_error: str = ""
    replayable: tuple[Task, ...] = ()
    """Submits of unknown outcome that a run may send again (`stages.resolve.resolve_rows`). No poll does."""
    stalled: tuple[Task, ...] = ()
    """Tasks that a person is to look at from now on: unread, and past their deadline. They are asked about slowly."""
    recovered: int = 0
    """How many tasks could be read that a person was to look at."""
    aside: str = ""
    """Which tasks are of another account, or of a key that is not known to be of the same one; empty if none are."""

    def __str__(self) -> str:
        text = (
            f"{self.asked} due: {self.running} running, {self.succeeded} ready, {len(self.ended)} ended without a clip"
        )
        text += f", {self.unread} could not be read ({self.last_error})" if self.unread else ""
        return f"{text}. {self.aside}".removesuffix(".") if self.aside else text


def poll_due(session: Session, within_seconds: float) -> PollReport:
    """Poll the tasks that are due, the longest overdue first; within this time, whatever a provider does.

    Every account is asked in a lane of its own, at the same time as the others. One that does not answer, or whose
    answers cannot be read, is not asked further in this round. Repeatable, and free: nothing is submitted. A submit of
    unknown outcome that may be sent again is reported.
    """
    began = time.monotonic()
    round_ = _Round(session, look_at_keys(session))
    round_.leave_removed()
    settle_by = began + within_seconds * _SETTLE_SHARE
    lanes = {name: round_.open_lane(client, settle_by) for name, client in session.clients.items()}
    for answer in ask_lanes(list(lanes.values()), began + within_seconds):
        for question in answer.batch.questions:
            round_.hear(question, answer.facts, answer.error)
    for provider, lane in lanes.items():
        round_.close_lane(provider, lane)
    round_.keep()
    queue_retries(session)
    return round_.report()


class _Round:
    """One round of polling: what was heard is recorded as it comes."""

    def __init__(self, session: Session, aside: str) -> None:
        self._session = session
        self._aside = aside
        self._tally: Counter[TaskState] = Counter()
        self._ended: list[Task] = []
        self._replayable: list[Task] = []
        self._stalled: list[str] = []
        self._recovered = 0
        self._unread = 0
        self._error = ""
        self._heard: list[Heard] = []

    def leave_removed(self) -> None:
        """Leave the tasks of providers that have no client: nobody can ask about them.

        A lease ends all the same: those whose outcome nobody can tell now, a person has to look at.
        """
        session = self._session
        left = self._leave(list(session.clients), "no resource for its provider", besides=True)
        gone = sorted({model.partition("/")[0] for model in left.models})
        self._note_error(f"no resource for provider {', '.join(map(repr, gone))}", left.number)
        # What is left of them now are open submits.
        name, here, tasks = session.pipeline.name, session.clients, session.ledger.tasks
        longest = session.options.pace.longest_poll_wait
        for task in tasks.due(name, session.clock(), DUE_LIMIT, session.worlds, longest, besides=here):
            self._see(settle_lease(session, task))

    def open_lane(self, client: ProviderClient, settle_by: float) -> Lane:
        """What an account is asked in this round."""
        session, provider = self._session, client.provider.NAME
        if client.unusable:
            left = self._leave([provider], shorten(f"last poll failed: {client.unusable}", 300))
            self._note_error(client.unusable, left.number)
        now = session.clock()
        longest = session.options.pace.longest_poll_wait
        due = session.ledger.tasks.due(session.pipeline.name, now, DUE_LIMIT, session.worlds, longest, provider)
        lane = Lane(client, deque(), [], stopped=client.unusable)
        # By themselves: what is said of another account's task is not to spoil the answer about one's own.
        for standing, of_one in split_by_standing(session, due).items():
            submitted = [task for task in of_one if task.state is TaskState.SUBMITTED]
            if standing is Standing.FOREIGN:
                self._set_aside(submitted)
            else:
                fresh = [_question(task) for task in submitted if task.unread_since is None]
                lane.fresh += [Batch(tuple(some)) for some in chunked(fresh, client.provider.POLL_BATCH)]
                lane.doubtful.append(deque(_question(task) for task in submitted if task.unread_since is not None))
            lane.doubtful.append(self._settle([task for task in of_one if task not in submitted], standing, settle_by))
        return lane

    def _settle(self, tasks: Iterable[Task], standing: Standing, settle_by: float) -> deque[Question]:
        """The open submits that their provider is asked about; the others are judged as they are."""
        session, asked = self._session, deque[Question]()
        for task in tasks:
            if time.monotonic() >= settle_by:
                break
            known = settle_lease(session, task)
            open_ = known.state is TaskState.UNKNOWN and known.resolves_itself
            if open_ and standing is not Standing.FOREIGN:
                asked.append(Question(known, tuple(open_refs(session, known))))
            else:
                self._see(judge_open(session, known, None) if open_ else known)
        return asked

    def hear(self, question: Question, facts: dict[str, PollFact] | None, error: str = "") -> None:
        """Record what was answered about a task; no facts if that could not be read."""
        session, task = self._session, question.task
        if facts is None or not any(ref.task_id in facts for ref in question.refs):
            self._hear_nothing(task, error or "the answer does not tell of it")
        elif task.state is not TaskState.SUBMITTED:
            self._see(judge_open(session, task, facts))
        else:
            self._recovered += task.stalled_at is not None
            self._record(task, facts[question.refs[0].task_id])

    def _hear_nothing(self, task: Task, error: str) -> None:
        session, pace = self._session, self._session.options.pace
        self._note_error(error, 1)
        if task.state is not TaskState.SUBMITTED:
            self._see(judge_open(session, task, None, error))
        elif find_standing(session, task) is not Standing.OWN:
            self._set_aside([task])
        else:
            now = session.clock()
            since = now if task.unread_since is None else task.unread_since
            overdue = now - (task.submitted_at or task.claimed_at) > pace.task_deadline_seconds
            stalled_at = task.stalled_at if task.stalled_at is not None or not overdue else now
            self._stalled += [task.id] if stalled_at is not None and task.stalled_at is None else []
            wait = pace.unread_wait(now - since, stalled=stalled_at is not None)
            note = shorten(f"last poll failed: {error}", 300)
            self._keep(Heard(task.id, note, now + wait, since, stalled_at))

    def close_lane(self, provider: str, lane: Lane) -> None:
        """After the round: what no answer came for is unread; what was not asked then waits as well, but less."""
        session, pace, now = self._session, self._session.options.pace, self._session.clock()
        unread = lane.unread()
        for question in unread:
            self.hear(question, None, lane.stopped or "no answer came in time")
        self.keep()
        if lane.is_spent():
            since = min((q.task.unread_since for q in unread if q.task.unread_since is not None), default=now)
            until, longest = now + pace.unread_wait(now - since) / 2, pace.longest_poll_wait
            session.ledger.polling.put_off(session.pipeline.name, provider, now, until, longest)

    def keep(self) -> None:
        """Write what was heard that decides nothing."""
        self._session.ledger.polling.keep(self._heard)
        self._heard.clear()

    def report(self) -> PollReport:
        """What the round saw."""
        return PollReport(
            asked=self._tally.total(),
            running=self._tally[TaskState.SUBMITTED] + self._tally[TaskState.CLAIMED],
            succeeded=self._tally[TaskState.SUCCEEDED],
            ended=tuple(self._ended),
            unread=self._unread,
            last_error=self._error,
            replayable=tuple(self._replayable),
            stalled=tuple(self._session.ledger.tasks.by_id(self._stalled)),
            recovered=self._recovered,
            aside=self._aside,
        )

    def _record(self, task: Task, fact: PollFact) -> None:
        session, now = self._session, self._session.clock()
        if find_standing(session, task, fact) is not Standing.OWN:
            self._set_aside([task])
            return
        fact = judge_answer(task, fact, now, session.options.pace)
        if isinstance(fact, Running | Missing):
            note = fact.note if isinstance(fact, Running) else MISSING_NOTE
            self._keep(Heard(task.id, note, now + session.options.pace.poll_wait(task.polls)))
            self._see(task)
            return
        move = (
            session.ledger.succeed(task, fact, now)
            if isinstance(fact, Succeeded)
            else session.ledger.fail(task, fact, now)
        )
        if isinstance(move, MoveRefused):
            # Another process was faster: what it recorded stands, and is what this poll reports.
            _log.info("row %r: a poll that was overtaken (%s) changes nothing", task.row, move.event)
        self._see(latest(move))

    def _set_aside(self, tasks: Sequence[Task]) -> None:
        """Leave tasks as they are, to be asked about later: no answer under the present key ends them.

        Past its deadline such a task holds no slot of the account any more, and a person is to look.
        """
        pace, now = self._session.options.pace, self._session.clock()
        for task in tasks:
            age_seconds = now - task.claimed_at
            stalled_at = (
                now if task.stalled_at is None and age_seconds > pace.task_deadline_seconds else task.stalled_at
            )
            self._stalled += [task.id] if stalled_at != task.stalled_at else []
            self._keep(Heard(task.id, ASIDE_NOTE, now + pace.aside_wait(age_seconds), task.unread_since, stalled_at))
            self._see(task)

    def _leave(self, providers: Sequence[str], note: str, *, besides: bool = False) -> Left:
        pace, now = self._session.options.pace, self._session.clock()
        waits = Waits(
            now,
            pace.longest_poll_wait,
            now + pace.unread_wait(pace.task_deadline_seconds),
            now - pace.task_deadline_seconds,
            now + pace.unread_wait(pace.task_deadline_seconds, stalled=True),
        )
        polling, name = self._session.ledger.polling, self._session.pipeline.name
        left = polling.leave_unreadable(name, providers, note, waits, besides=besides)
        self._stalled += left.stalled
        return left

    def _keep(self, heard: Heard) -> None:
        self._heard.append(heard)
        if len(self._heard) >= _KEEP_AT_ONCE:
            self.keep()

    def _see(self, task: Task) -> None:
        self._tally[task.state] += 1
        if task.state is TaskState.FAILED or (task.state is TaskState.UNKNOWN and not task.resolves_itself):
            self._ended.append(task)
        elif may_replay(self._session, task):
            self._replayable.append(task)

    def _note_error(self, error: str, count: int) -> None:
        self._unread += count
        self._error = error if count else self._error


def _question(task: Task) -> Question:
    return Question(task, (TaskRef(task.task_id or "", task.request.outputs_asked()),))


def refresh(session: Session, task: Task) -> Task:
    """Ask once about one task and record the answer, new result URLs included. Raises ReadFailed or NotSent."""
    client = session.clients.get(task.provider)
    if client is None or task.task_id is None:
        raise ReadFailed(f"no resource for provider {task.provider!r}: the task cannot be asked about")
    if find_standing(session, task) is Standing.FOREIGN:
        raise ReadFailed(f"it is of account {task.account}, which is not the present one")
    fact = client.poll([TaskRef(task.task_id, task.request.outputs_asked())])[task.task_id]
    if isinstance(fact, Succeeded) and find_standing(session, task, fact) is Standing.OWN:
        if len(fact.urls) < len(task.urls):
            raise ReadFailed(f"it shows {len(fact.urls)} of {len(task.urls)} outputs that were there")
        return latest(session.ledger.succeed(task, fact, session.clock()))
    return task
