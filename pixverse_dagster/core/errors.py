"""The error tree, grouped by what the caller must do.

    PixverseError
    ├── InvalidTable       nothing sent: fix the prompt table or its configuration
    ├── InvalidRow         nothing sent: fix this row
    ├── OverBudget         nothing sent: raise the budget, or leave the row
    ├── NoSlot             nothing sent: the account is busy; the row is queued and submitted later
    ├── Paused             nothing sent: a person stopped the spending; the row is queued until it is resumed
    ├── RowChanged         nothing sent: the row asks for something else now; its new words are a request of their own
    ├── NotSent            nothing sent: the provider was not reached; the row keeps its place
    ├── Refused            sent and declined, not charged: fix the cause, run again
    │   ├── RateLimited    slow down; the row keeps its place
    │   ├── Unauthorized   fix the API key; the row keeps its place
    │   └── OutOfCredit    top up the account; the row keeps its place
    ├── OutcomeUnknown     sent, no answer: perhaps charged; never send again blindly
    ├── TaskFailed         accepted, and ended without a clip: perhaps charged
    ├── NotReady           still being generated: wait; the task stays adoptable
    ├── ReadFailed         a poll or download failed: nothing changed; read again
    │   ├── NoAnswer       nothing came in time: whoever does not answer is not asked further for now
    │   └── ResultExpired  the result URL no longer answers: poll for a fresh one
    ├── ClipInvalid        the bytes are not a clip that can be played: read again
    └── StoreConflict      the store holds something else under this key: a person must look

An error takes only positional arguments, so that it can be pickled, as between Dagster's processes.
The docstring of an error class is its default message. What a message says was redacted before anybody saw it.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from pixverse_dagster.core.redaction import redact_error, redact_text
from pixverse_dagster.core.secrets import redact_known


class PixverseError(Exception):
    """Something went wrong between a prompt table and its clips."""

    def __init__(self, message: str = "", *rest: object) -> None:
        super().__init__(redact_text(message) or (type(self).__doc__ or "").strip(), *rest)

    def __str__(self) -> str:
        return redact_known(str(self.args[0]))


class InvalidTable(PixverseError):
    """The prompt table cannot be read. Nothing was sent and nothing was spent."""


class InvalidRow(PixverseError):
    """This row cannot be generated as written. Nothing was sent and nothing was spent."""


class OverBudget(PixverseError):
    """The row does not fit into what is left of the budget. Nothing was sent and nothing was spent."""


class NoSlot(PixverseError):
    """The provider account takes no more tasks at the moment. Nothing was sent and nothing was spent; the row waits."""


class Paused(PixverseError):
    """A person stopped the spending. Nothing was sent and nothing was spent; the row waits."""


class RowChanged(PixverseError):
    """The row changed or left the table while it waited. Nothing was sent and nothing was spent."""


class NotSent(PixverseError):
    """The provider could not be reached, so the request never left. Nothing was spent; run again."""


class Refused(PixverseError):
    """The provider declined the request. Nothing was spent."""

    def __init__(self, message: str = "", is_final: bool = False) -> None:  # noqa: FBT001, FBT002 - to be pickled
        super().__init__(message, is_final)

    @property
    def is_final(self) -> bool:
        """Whether the provider said by a code that this very request is not acceptable.

        A page of a firewall, or words alone, may be about anything: then the row may be tried again.
        """
        return self.args[1] is True


class RateLimited(Refused):
    """The provider asks to slow down. Nothing was spent."""

    def __init__(self, message: str = "", retry_after_seconds: float | None = None) -> None:
        PixverseError.__init__(self, message, retry_after_seconds)

    @property
    def retry_after_seconds(self) -> float | None:
        """The provider's `Retry-After`, or None if it sent none."""
        value = self.args[1]
        return value if isinstance(value, float | int) else None


class Unauthorized(Refused):
    """The provider does not accept the API key. Nothing was spent; check the key and run again."""


class OutOfCredit(Refused):
    """The provider account has no credit left. Nothing was spent; top it up and run again."""


class OutcomeUnknown(PixverseError):
    """The request left and no clear answer came: the provider may have charged for it. It is not sent again."""


class TaskFailed(PixverseError):
    """The provider accepted the task and ended it without a clip. It may have been charged."""


class NotReady(PixverseError):
    """The clip is still being generated. Nothing is lost: the task stays adoptable."""


class ReadFailed(PixverseError):
    """A poll or a download failed. That says nothing about the task, and reading again is free."""


class NoAnswer(ReadFailed):
    """No answer came in time. That says nothing about any task, and whoever does not answer need not be asked more."""


class ResultExpired(ReadFailed):
    """The result URL no longer answers. A poll may hand out a fresh one."""


class ClipInvalid(PixverseError):
    """The bytes are not a playable clip."""


class StoreConflict(PixverseError):
    """The store holds other bytes under this key. Nothing was overwritten; a person must look."""


@contextmanager
def redacted_errors() -> Generator[None]:
    """Redact every error that leaves the block, with all that it was caused by, before Dagster or a terminal has it."""
    try:
        yield
    except Exception as error:
        raise_if_unsafe(error)
        raise


def raise_if_unsafe(error: BaseException) -> None:
    """Redact an error with all that it was caused by; raises another in its place if its words cannot be changed."""
    if redact_error(error):
        return
    other = PixverseError(f"{type(error).__name__}: {error}")
    try:
        raise other from None
    finally:
        other.__context__ = None  # it has nothing of the first one about it
