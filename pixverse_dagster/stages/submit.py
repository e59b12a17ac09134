"""Submitting rows, once each: permit, claim, call, and the record of the answer before anything else."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import suppress

from pixverse_dagster.core.row import Row
from pixverse_dagster.policy.plan import PlanLine, Verdict
from pixverse_dagster.stages.ask import end_paying
from pixverse_dagster.stages.places import BUDGET_SECONDS, Places
from pixverse_dagster.stages.retries import find_retries
from pixverse_dagster.stages.session import Session
from pixverse_dagster.stages.submission import KEPT, Submission, ask_store_first, not_sent
from pixverse_dagster.stages.submitter import STOPPED, AccountSubmitter
from pixverse_dagster.stages.waiting import RunStopped, as_they_end, call_aside

_LAST_WORD_SECONDS = 2


def submit_rows(session: Session, keys: Sequence[str]) -> Generator[Submission]:
    """Submit these rows, yielding each as soon as its outcome is known.

    Billed at most once per request, whatever is repeated: also where this ledger does not know of it, for the store is
    asked first, and what is there is taken in. Where nobody can tell, nothing is paid, and the row keeps its place in
    the queue if it has one.

    A row with a task already keeps it. One row's failure is that row's; an account whose key is refused, that has no
    credit left or that cannot be reached is not asked again in this call. Whatever was asked for and is not sent keeps
    its place in the queue, with the reason, unless its request itself was refused. Raises StoreConflict, before
    anything is paid for, where the store is of an earlier or a later form. Close the iterator to stop: what has left is
    waited for and recorded, nothing further leaves.
    """
    name, ledger = session.pipeline.name, session.ledger
    ledger.worlds.set(name, session.worlds)
    find_retries(session)
    rows = {row.id: row for row in sorted(ledger.rows.find(name, keys).values(), key=lambda row: row.line)}
    yield from _unknown_rows(session, [key for key in keys if key not in rows])
    places = Places(session, rows.values())
    try:
        # What the store has is taken in, and nothing is paid for that it could not keep or that others may have paid
        # for.
        lines = yield from ask_store_first(session, rows, places)
        yield from _submit_lines(session, rows, lines, places)
    finally:
        places.close(withdrawn=session.stopped())


def _submit_lines(
    session: Session, rows: Mapping[str, Row], lines: Sequence[PlanLine], places: Places
) -> Generator[Submission]:
    by_provider: dict[str, list[PlanLine]] = {}
    for line in lines:
        if line.verdict is Verdict.OVER_BUDGET:
            places.keep(rows[line.row], line.note, BUDGET_SECONDS)
            yield Submission(line.row, None, problem=f"row {line.row!r} {line.note}. Nothing was sent{KEPT}")
        elif line.verdict is Verdict.INVALID:
            places.leave(line.row)
            yield Submission(line.row, line.task, problem=f"row {line.row!r} is invalid: {line.note}. Nothing was sent")
        else:
            by_provider.setdefault(rows[line.row].request.provider(), []).append(line)
    submitters = [AccountSubmitter(session, provider, places) for provider in by_provider]
    finished = sent = False
    try:
        for submitter in submitters:
            submitter.start([(rows[line.row], line) for line in by_provider[submitter.provider]])
        for submission in _as_they_end(session, submitters, places):
            sent = sent or submission.sent
            yield submission
        finished = True
    finally:
        # Nothing further is sent; what has left is waited for and recorded.
        for submitter in submitters:
            submitter.close(stop=not finished)
        for submitter in submitters:
            submitter.finish()
        if sent:
            _end_paying(session)


def _end_paying(session: Session) -> None:
    """As `end_paying`; but a run that was cancelled does not wait long for a store that hangs."""
    until = time.monotonic() + _LAST_WORD_SECONDS
    with suppress(RunStopped):
        call_aside(lambda: end_paying(session), lambda: time.monotonic() > until and session.stopped())


def _as_they_end(session: Session, submitters: Sequence[AccountSubmitter], places: Places) -> Iterator[Submission]:
    """What becomes of the rows, as it is known. From a person's wish on, only what has left is waited for.

    Meanwhile the lease of the rows is renewed, however long the slowest provider takes.
    """
    rows = {future: row for submitter in submitters for row, future in submitter.rows.items()}

    def look() -> bool:
        places.renew()
        return session.stopped()

    try:
        for done in as_they_end(list(rows), look):
            del rows[done]
            yield done.result()
            places.renew()
    except RunStopped:
        for submitter in submitters:
            submitter.close(stop=True)
        for submitter in submitters:
            submitter.finish()
        for future, row in rows.items():
            ended = future.done() and not future.cancelled()
            yield future.result() if ended else Submission(row, None, problem=not_sent(row, STOPPED, kept=False))


def _unknown_rows(session: Session, keys: Sequence[str]) -> Iterator[Submission]:
    problems = {p.row: p for p in session.ledger.rows.problems(session.pipeline.name)} if keys else {}
    for key in keys:
        why = f"is invalid: {problems[key]}" if key in problems else "is not in the prompt table as it was last read"
        yield Submission(key, None, problem=f"row {key!r} {why}. Nothing was sent")
