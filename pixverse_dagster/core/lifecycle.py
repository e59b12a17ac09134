"""The life cycle of a task as a table: its states, and the events that change them.

The ledger makes only the transitions of this table, and `docs/architecture.md` shows it. New ones are added here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class TaskState(StrEnum):
    """Where a task is. `claimed → submitted → succeeded → stored`; the others are ends."""

    CLAIMED = "claimed"
    SUBMITTED = "submitted"
    SUCCEEDED = "succeeded"
    STORED = "stored"
    REFUSED = "refused"
    FAILED = "failed"
    UNKNOWN = "unknown"
    ABANDONED = "abandoned"
    FORGOTTEN = "forgotten"


class FailureKind(StrEnum):
    """Why an accepted task produced no clip."""

    MODERATED = "moderated"
    PROVIDER_ERROR = "provider_error"
    EXPIRED = "expired"
    LOST = "lost"


class Event(StrEnum):
    """What can happen to a task. Each is one public method of the ledger."""

    CLAIM = "claim"
    RENEW = "renew"
    ACCEPT = "accept"
    REFUSE = "refuse"
    REFUSE_LATE = "refuse late"
    MARK_UNKNOWN = "mark unknown"
    KEEP_POLLING = "keep polling"
    DISPUTE = "dispute"
    SUCCEED = "succeed"
    FAIL = "fail"
    EXPIRE = "expire"
    RETRY_COLLECT = "retry collect"
    STORE = "store"
    ADOPT = "adopt"
    NOT_ACCEPTED = "not accepted"
    ABANDON = "abandon"
    RELEASE = "release"
    WITHDRAW = "withdraw"
    RELOCATE = "relocate"
    DESCRIBE = "describe"
    RESTORE = "restore"
    FIND = "find"
    FORGET = "forget"


class Guard(StrEnum):
    """What must hold besides the state. The ledger checks it in the transaction that makes the transition."""

    OWN_LEASE = "the sender still has the lease that it knows, or, of an unknown task, nobody has one"
    STALE_LEASE = "a claim's lease is still the one that the caller knows, and no person is asked to look"
    POLLED = "a time for the next poll is set: no person is asked to look"
    NOBODY_SENDS = "no poll is due by itself and no send is under way"
    NEWEST = "no newer claim of the same request exists"
    SAME_FOLDER = "the folder of its clips is still the one that the caller knows"
    SAME_MANIFEST = "the digest of its manifest is still the one that the caller knows"


@dataclass(frozen=True)
class Transition:
    """What an event does to a task. `who` and `money` are for the documents only."""

    leaves: tuple[TaskState, ...]
    """The states in which the event is allowed; empty if it creates a task."""
    to: TaskState | None
    """The state afterwards; None if the state does not change."""
    who: str
    """Who causes the event."""
    money: str
    """What has been paid for the task when it happens."""
    guard: Guard | None = None
    kinds: tuple[FailureKind, ...] = tuple(FailureKind)
    """Of failed tasks, the kinds of failure that the event leaves."""


_S = TaskState

TRANSITIONS: Mapping[Event, Transition] = {
    Event.CLAIM: Transition((), _S.CLAIMED, "a run that submits, with its permit to send", "reserved"),
    Event.RENEW: Transition(
        (_S.CLAIMED, _S.UNKNOWN), None, "whoever is about to send again under the claim", "as before", Guard.OWN_LEASE
    ),
    Event.ACCEPT: Transition(
        (_S.CLAIMED, _S.UNKNOWN), _S.SUBMITTED, "the run that claimed it, however late; a replay", "paid"
    ),
    Event.REFUSE: Transition((_S.CLAIMED,), _S.REFUSED, "the run that claimed it", "nothing"),
    Event.REFUSE_LATE: Transition(
        (_S.CLAIMED, _S.UNKNOWN), _S.REFUSED, "the run that claimed it, if no replay is possible", "nothing"
    ),
    Event.MARK_UNKNOWN: Transition(
        (_S.CLAIMED, _S.UNKNOWN),
        _S.UNKNOWN,
        "the run that claimed it, without an answer; the poller, after the lease",
        "perhaps paid",
        Guard.STALE_LEASE,
    ),
    Event.KEEP_POLLING: Transition(
        (_S.CLAIMED, _S.SUBMITTED, _S.UNKNOWN), None, "the poller", "as before", Guard.POLLED
    ),
    Event.DISPUTE: Transition(
        (_S.SUBMITTED, _S.SUCCEEDED), _S.UNKNOWN, "another submit that got the same task id", "perhaps paid"
    ),
    Event.SUCCEED: Transition(
        (_S.SUBMITTED, _S.SUCCEEDED, _S.FAILED),
        _S.SUCCEEDED,
        "the poller, also late; the collector, for fresh links",
        "paid",
    ),
    Event.FAIL: Transition((_S.SUBMITTED,), _S.FAILED, "the poller", "perhaps paid"),
    Event.EXPIRE: Transition((_S.SUCCEEDED,), _S.FAILED, "the collector, past the result's lifetime", "paid"),
    Event.RETRY_COLLECT: Transition((_S.SUCCEEDED,), None, "the collector", "paid"),
    Event.STORE: Transition(
        (_S.SUCCEEDED, _S.FAILED, _S.ABANDONED), _S.STORED, "the collector, after manifest and event", "paid"
    ),
    Event.ADOPT: Transition(
        (_S.CLAIMED, _S.UNKNOWN, _S.REFUSED, _S.FAILED, _S.ABANDONED),
        _S.SUBMITTED,
        "a person who found the task at the provider",
        "paid",
        kinds=(FailureKind.LOST, FailureKind.EXPIRED),
    ),
    Event.NOT_ACCEPTED: Transition(
        (_S.UNKNOWN,), _S.REFUSED, "a person who found no such task at the provider", "nothing", Guard.NOBODY_SENDS
    ),
    Event.ABANDON: Transition((_S.UNKNOWN, _S.SUBMITTED, _S.SUCCEEDED), _S.ABANDONED, "a person", "paid, or perhaps"),
    Event.RELEASE: Transition((_S.FAILED, _S.ABANDONED), None, "a person", "one more payment is allowed", Guard.NEWEST),
    Event.WITHDRAW: Transition(
        (_S.FAILED, _S.ABANDONED), None, "a person", "the further payment is not allowed any more"
    ),
    Event.RELOCATE: Transition(
        (_S.SUCCEEDED,),
        None,
        "the collector, where another task's clip stands in the folder",
        "paid",
        Guard.SAME_FOLDER,
    ),
    Event.DESCRIBE: Transition(
        (_S.STORED,),
        None,
        "the collector, where all files are in the store and their manifest is gone",
        "paid",
        Guard.SAME_MANIFEST,
    ),
    Event.RESTORE: Transition((), None, "a run or a person that found the request in the store", "paid earlier"),
    Event.FIND: Transition(
        (_S.CLAIMED, _S.SUBMITTED, _S.SUCCEEDED, _S.REFUSED, _S.FAILED, _S.UNKNOWN, _S.ABANDONED),
        _S.STORED,
        "a run or a person that found the task's own manifest in the store",
        "paid",
    ),
    Event.FORGET: Transition((_S.STORED,), _S.FORGOTTEN, "a person, whose wish it is that the clip is deleted", "paid"),
}

# Sets of states that several modules use.
UNDER_WAY = frozenset({_S.CLAIMED, _S.SUBMITTED, _S.SUCCEEDED})
"""The task may still produce a clip without a person doing anything."""
OCCUPIES_SLOT = frozenset({_S.CLAIMED, _S.SUBMITTED})
"""The task counts as one of the account's open tasks at the provider."""
MAY_STALL = frozenset({_S.SUBMITTED, _S.SUCCEEDED})
"""The task is paid for and comes on by itself, unless its provider cannot be read or its clips cannot be stored."""
OPEN_SUBMIT = frozenset({_S.CLAIMED, _S.UNKNOWN})
"""It is not recorded yet whether the provider accepted the task."""
HAS_RESULT = frozenset({_S.SUCCEEDED, _S.STORED})
"""The provider has made the clips."""
ANSWERS_REQUEST = frozenset({*UNDER_WAY, _S.STORED, _S.UNKNOWN, _S.FORGOTTEN})
"""The row needs no submit: it has its clip, will have it, may have been paid for, or is to be forgotten."""
MAY_HAVE_FILES = frozenset({_S.SUBMITTED, _S.SUCCEEDED})
"""The clip is not complete, but some of its files may be in the store."""
MAY_HAVE_LEFT_FILES = frozenset({_S.FAILED, _S.UNKNOWN, _S.ABANDONED})
"""The clip was not completed before the task came to this end; some of its files may be in the store for good."""
POLLED = frozenset(TRANSITIONS[Event.KEEP_POLLING].leaves)
"""The poller asks the provider about the task."""
MAY_BE_RELEASED = frozenset(TRANSITIONS[Event.RELEASE].leaves)
"""A person may allow one more paid attempt after the task."""
