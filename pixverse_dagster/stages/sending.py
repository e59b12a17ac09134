"""One submit: its claim in the ledger, made with the permit in hand, and renewed before every further sending."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from pixverse_dagster.core.errors import InvalidRow
from pixverse_dagster.core.manifest import InputImage
from pixverse_dagster.core.row import Row
from pixverse_dagster.core.submit_body import cut_body, fill_body, new_mark
from pixverse_dagster.core.task import MoveRefused, Place, Task, latest
from pixverse_dagster.ledger.claims import ClaimTerms
from pixverse_dagster.policy.prices import estimate_usd
from pixverse_dagster.policy.staging import Way
from pixverse_dagster.stages.session import Session
from pixverse_dagster.stages.staging import forget_staged, send_image
from pixverse_dagster.transport.client import Outgoing, ProviderClient
from pixverse_dagster.transport.logs import get_logger

_log = get_logger()
_MARGIN_SECONDS = 2
"""For what lies between the claim and the call."""


class NotNow(Exception):
    """Nothing is sent (any more): the request has its `answer`, the row `waits`, or the run is over."""

    def __init__(self, why: str, *, waits: bool = False, answer: Task | None = None) -> None:
        super().__init__(why)
        self.waits = waits
        self.answer = answer


def lease_seconds(session: Session, client: ProviderClient) -> float:
    """How long one sending may take, its record included: nobody may take the claim for dead before."""
    limits, pace = client.sender.limits, session.options.pace
    longest = limits.connect_timeout_seconds + limits.submit_timeout_seconds + pace.record_seconds + _MARGIN_SECONDS
    return max(pace.claim_lease_seconds, longest)


class Sending:
    """The submit of one row. `task` is its claim; None until it has one.

    Its images are where the provider can take them. Raises InvalidRow if one is not what it was, ImageUnread if it
    cannot be brought there for now, NotSent or Refused for trouble with the account, and InvalidRow if another version
    kept the request.
    """

    def __init__(self, session: Session, client: ProviderClient, row: Row, check_open: Callable[[], None]) -> None:
        self.task: Task | None = None
        self._session = session
        self._client = client
        self._row = row
        self._reused: set[str] = set()
        self._check_open = check_open
        self._inline: dict[str, str] = {}
        self._marks: dict[str, str] = {}
        self._sent: dict[str, InputImage] = {}
        if why := row.request.unsendable():
            raise InvalidRow(f"{why}. Nothing was sent")
        self._body = row.request.body(self._as_sent)
        images = {name: self._sent.get(name, image) for name, image in row.images.items()}
        self._row = replace(row, images=images)
        self._kept: str | None = None

    def begin(self) -> Outgoing:
        """What is sent now. Claims the request, or takes the lease of the claim again; called with a permit.

        Raises NotNow, RowChanged, Paused, NoSlot or OverBudget, and then nothing may be sent.
        """
        self._check_open()
        session, ledger = self._session, self._session.ledger
        if self.task is None:
            task, mine = ledger.claim(session.pipeline.name, self._row, self._terms())
            if not mine:
                raise NotNow("it has a task", answer=task)
            self.task = task
        else:
            until = session.clock() + lease_seconds(session, self._client)
            move = ledger.renew(self.task, until)
            if isinstance(move, MoveRefused):
                raise NotNow("the claim was taken for dead before it was sent again", answer=move.current)
            self.task = move.task
        content = fill_body(self._kept_body(self.task.client_reference), self._inline.__getitem__)
        return Outgoing(self._row.request, content, self.task.client_reference)

    def give_back(self, reason: str, place: Place | None = None) -> Task | None:
        """Record that the submit was certainly not accepted; None if nothing was claimed. The claim is no attempt.

        With a place, the row is back in the queue with the same transaction.
        """
        if self.task is None:
            return None
        move = self._session.ledger.refuse(self.task, reason, late=not self._client.provider.REPLAYABLE, place=place)
        if isinstance(move, MoveRefused):
            _log.warning("row %r: its refused submit is recorded as %s meanwhile", self.task.row, move.current.state)
        return latest(move)

    def doubt(self, reason: str, next_poll_at: float | None) -> Task:
        """Record that nobody knows whether the submit was accepted."""
        return latest(self._session.ledger.mark_unknown(self.claimed, reason, next_poll_at))

    def forget_reused(self) -> bool:
        """Rely no longer on images that were brought to the account for earlier requests; whether there were any.

        After a refusal: the provider may have them no longer, and they are brought anew.
        """
        for digest in self._reused:
            forget_staged(self._session, self._client, digest)
        reused, self._reused = bool(self._reused), set()
        return reused

    @property
    def claimed(self) -> Task:
        """The claim; there is one whenever something was sent."""
        if self.task is None:
            raise AssertionError("a submit was sent without a claim")
        return self.task

    def _terms(self) -> ClaimTerms:
        session, client = self._session, self._client
        options = session.options
        return ClaimTerms(
            run_id=session.run_id,
            now=session.clock(),
            lease_seconds=lease_seconds(session, client),
            estimate_usd=estimate_usd(self._row.request, options.prices),
            budget=options.budget,
            account_budget=client.budget,
            retry=options.retry,
            account=client.account,
            world=client.world,
            key=client.provider.fingerprint(session.ledger.salt),
            max_open_tasks=client.max_open_tasks,
            asked=True,
            body=self._kept_body if client.provider.REPLAYABLE else None,
        )

    def _kept_body(self, reference: str) -> str:
        """The body as the ledger keeps it. A claim has one reference, so that it is put together once."""
        if self._kept is None:
            envelope = self._client.provider.envelope(self._row.request, self._body, reference)
            self._kept = cut_body(envelope, self._marks)
        return self._kept

    def _as_sent(self, reference: str) -> Any:
        image = self._row.images[reference]
        sent = send_image(self._session, self._client, self._row, reference)
        if sent.how == "staged":
            self._sent[reference] = image.model_copy(update={"sent_as": "staged", "sent_digest": sent.digest})
        elif image.sent_as == "staged":
            # As it was for an earlier request, of another account or with another store.
            self._sent[reference] = image.model_copy(update={"sent_as": sent.how})
        if sent.is_reused:
            self._reused.add(sent.digest)
        if sent.way is not Way.INLINE:
            return sent.value
        mark = new_mark()
        self._marks[mark], self._inline[reference] = reference, sent.value
        return mark
