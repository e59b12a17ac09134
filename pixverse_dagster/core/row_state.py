"""How a row stands, in the words of whoever watches a pipeline."""

from __future__ import annotations

from enum import StrEnum


class RowState(StrEnum):
    """How a row stands: of its present request, what the newest task that answers for it has come to.

    In the order in which they are shown. A row is in one state only.
    """

    NEW = "new"
    """Nobody asked for it yet, or somebody withdrew it."""
    WAITING = "waiting"
    """Somebody asked for it, and its turn has not come."""
    RENDERING = "rendering"
    """It is being sent, or the provider has it."""
    READY = "ready"
    """The provider has made the clip, and it is not stored yet."""
    STALLED = "stalled"
    """Paid for, and it does not come on: a person is to look."""
    STORED = "stored"
    WITHHELD = "withheld"
    """Stored, and kept from what is downstream by a blocking check."""
    FAILED = "failed"
    UNKNOWN = "unknown"
    """Perhaps paid for: nobody knows."""
    REFUSED = "refused"
    """The provider did not take it, and it is in no queue: nothing was paid."""
    ABANDONED = "abandoned"
    FORGOTTEN = "forgotten"


UNDER_WAY = frozenset({RowState.WAITING, RowState.RENDERING, RowState.READY})
"""The row comes on by itself, without a person."""
NEEDS_A_PERSON = frozenset({RowState.STALLED, RowState.WITHHELD, RowState.FAILED, RowState.UNKNOWN, RowState.REFUSED})
"""Nothing more comes of the row unless a person does something; some of these a retry policy may answer."""
