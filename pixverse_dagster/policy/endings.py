"""How everything ends that a task, a row, a slot, a wait or a hold can be in: by itself, or by what a person does.

A newly made state gets its place here, in `docs/architecture.md`, and in the test that walks all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pixverse_dagster.core.lifecycle import MAY_STALL, TaskState
from pixverse_dagster.core.task import HoldCause, Task
from pixverse_dagster.policy.deadlines import MISSING_NOTE
from pixverse_dagster.policy.identity import ASIDE_NOTE
from pixverse_dagster.policy.plan import Verdict


@dataclass(frozen=True)
class Ending:
    """What ends a condition: `by_itself` without anybody, `by_person` a command or an act. One may be empty.

    Of an end, such as a stored clip, it says what may follow; nothing waits for that.
    """

    by_itself: str = ""
    by_person: str = ""


_NOTED = {ASIDE_NOTE: "of another key", MISSING_NOTE: "not shown"}
_RETRY = "`tasks retry ROW`: one more paid attempt"
_TAKE = "`tasks retry ROW --take`: another clip beside it"
_POLICY = "the retry policy, where it answers failures of this kind"
_SUBMITTED = "its turn: the sensor that goes on, or any run that submits the row"
_GIVE_UP = "`tasks abandon ROW`"

TASKS: Mapping[str, Ending] = {
    "claimed": Ending("the answer to the submit, or the end of the lease: then its outcome is unknown"),
    "unknown, asked about": Ending(
        "a replay under its own id, or an answer that shows an end; past the window or the deadline a person is asked"
    ),
    "unknown, presumed": Ending(
        "an answer that shows an end; past the deadline a person is asked",
        "`tasks resolve ROW`, or `ledger rebuild --nothing-pending`",
    ),
    "unknown": Ending(by_person="`tasks resolve ROW`"),
    "submitted": Ending("an answer that shows its end; past the deadline it is lost", _GIVE_UP),
    "submitted, not shown": Ending("a poll that shows it; after two hours it is lost", _GIVE_UP),
    "submitted, of another key": Ending(
        "that key, or an answer that shows that the account is the same", "`accounts confirm NAME`"
    ),
    "submitted, unread": Ending("a poll that can be read; past the deadline a person is asked", _GIVE_UP),
    "submitted, stalled": Ending(
        "a poll that can be read: every 15 minutes", "`tasks retry ROW` or `tasks abandon ROW`"
    ),
    "succeeded": Ending("a collect run: stored; or expired, where fresh links are refused past their time", _GIVE_UP),
    "succeeded, stalled": Ending(
        "a collect run that reaches the clips: every 15 minutes",
        "`tasks resolve ROW`, `tasks retry ROW` or `tasks abandon ROW`",
    ),
    "stored": Ending(by_person=_TAKE),
    "refused": Ending(_SUBMITTED),
    "failed (moderated)": Ending(_POLICY, _RETRY),
    "failed (provider_error)": Ending(_POLICY, _RETRY),
    "failed (expired)": Ending(_POLICY, f"{_RETRY}; `tasks resolve ROW --adopt ID`"),
    "failed (lost)": Ending(_POLICY, f"{_RETRY}; `tasks resolve ROW --adopt ID`"),
    "abandoned": Ending(by_person=f"{_RETRY}; `tasks resolve ROW --adopt ID`"),
    "forgotten": Ending(by_person=_TAKE),
}
"""A task's state, with what else is known of it."""

ROWS: Mapping[Verdict, Ending] = {
    Verdict.NEW: Ending(_SUBMITTED),
    Verdict.CHANGED: Ending(_SUBMITTED),
    Verdict.AGAIN: Ending(_SUBMITTED),
    Verdict.RETRY: Ending(_SUBMITTED),
    Verdict.IN_FLIGHT: Ending("its task, as above", _GIVE_UP),
    Verdict.STORED: Ending(by_person=_TAKE),
    Verdict.FAILED: Ending(_POLICY, _RETRY),
    Verdict.UNKNOWN: Ending("its task, as above", "`tasks resolve ROW`"),
    Verdict.ABANDONED: Ending(by_person=_RETRY),
    Verdict.FORGOTTEN: Ending(by_person=_TAKE),
    Verdict.INVALID: Ending(by_person="the table, put right and read again"),
    Verdict.OVER_BUDGET: Ending("the next day, where the budget is a day's", "a higher budget, or a price"),
    Verdict.IN_STORE: Ending(_SUBMITTED),
    Verdict.WITHHELD: Ending(by_person="`ledger rebuild`, with `--beside` where the other ledger is in use"),
}
"""What a submission would do with a row."""


WAITS: Mapping[str, Ending] = {
    "NotSent": Ending("the end of the account's rest: then one row goes ahead"),
    "RateLimited": Ending("the end of the account's rest: then one row goes ahead"),
    "Unauthorized": Ending("a rest that ends after a key that the provider takes", "the right key"),
    "OutOfCredit": Ending("a rest that ends after the account was topped up", "money for the account"),
    "Refused": Ending("the third answer of the same words: then the row is out, and named", _GIVE_UP),
    "NoSlot": Ending("a task of the account that ends, or that a person is asked to look at", _GIVE_UP),
    "Paused": Ending(by_person="`resume`"),
    "OverBudget": Ending("the next day, where the budget is a day's", "a higher budget, or a price"),
    "StoreConflict": Ending("a store that can be asked and written to again", "what the message says of the store"),
}
"""Why a row that was asked for is not sent yet, by the error that says so: it keeps its place in the queue."""

SLOTS: Mapping[TaskState, Ending] = {
    TaskState.CLAIMED: Ending("the answer to the submit, or the end of the lease"),
    TaskState.SUBMITTED: Ending("the end of the task; past its deadline also where it cannot be read", _GIVE_UP),
    TaskState.UNKNOWN: Ending("ten minutes"),
}
"""Which tasks occupy a place at the account, and what frees it."""

HOLDS: Mapping[HoldCause, Ending] = {
    HoldCause.PACE: Ending("its end: a quarter of an hour at most; then one row goes ahead"),
    HoldCause.KEY: Ending("its end, or another key at once; then one row goes ahead", "the right key"),
    HoldCause.BALANCE: Ending("its end; then one row goes ahead", "money for the account"),
    HoldCause.UNREACHABLE: Ending("its end; then one row goes ahead"),
}
"""Why an account is left alone, by every process."""

MOMENTS: Mapping[str, str] = {
    "pixverse_tasks.lease_until": "the process that sends is taken for dead",
    "pixverse_tasks.next_poll_at": "the task is asked about",
    "pixverse_tasks.next_collect_at": "the task is collected",
    "pixverse_waiting.next_submit_at": "the row is submitted",
    "pixverse_accounts.held_until": "the account is tried again",
    "pixverse_staged_images.expires_at": "the image is uploaded again",
}
"""The later times that a machine writes. One that lies further ahead than it may be written counts as come."""


def condition(task: Task) -> str:
    """The task's state with what else is known of it: a key of TASKS."""
    if task.state is TaskState.FAILED:
        return f"failed ({task.kind})"
    more = _more(task)
    return f"{task.state}, {more}" if more else str(task.state)


def _more(task: Task) -> str:
    if task.state is TaskState.UNKNOWN and task.resolves_itself:
        return "presumed" if task.is_presumed else "asked about"
    if task.state in MAY_STALL and task.stalled_at is not None:
        return "stalled"
    if task.state is TaskState.SUBMITTED:
        return _NOTED.get(task.note) or ("unread" if task.unread_since is not None else "")
    return ""


def describe_ending(ending: Ending) -> str:
    """What ends it, in one sentence."""
    ways = [f"by itself with {ending.by_itself}" if ending.by_itself else ""]
    ways += [f"by a person with {ending.by_person}" if ending.by_person else ""]
    return f"What comes next: {'; or '.join(way for way in ways if way)}."
