"""The tombstone: what stays of a clip that was deleted on demand, so that it is neither shown nor paid for again.

It holds no words: what was asked for is in it only as its digest.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Self

from pydantic import ValidationError

from pixverse_dagster.core.errors import StoreConflict
from pixverse_dagster.core.lifecycle import TaskState
from pixverse_dagster.core.manifest import Cost, InputImage, World
from pixverse_dagster.core.provenance import Found
from pixverse_dagster.core.request import Request
from pixverse_dagster.core.task import Task, task_cost
from pixverse_dagster.core.values import StoredModel, from_iso, iso


class Tombstone(StoredModel):
    """What a folder of the store held before a person had it deleted. Times are UTC, ISO 8601."""

    pipeline: str
    row: str
    model: str
    request_digest: str
    digest_version: int
    address_digest: str = ""
    take: int
    claim: int
    attempt: int
    account: str
    world: World
    task_id: str
    client_reference: str
    ledger_id: str
    """The ledger that paid for it."""
    cost: Cost
    claimed_at: str
    submitted_at: str
    finished_at: str
    stored_at: str
    when: str
    """When it was forgotten."""
    decision: str

    @classmethod
    def read(cls, text: bytes, where: str) -> Self:
        """The tombstone with this text. Raises StoreConflict, which says `where`, if it is none."""
        try:
            return cls.model_validate_json(text)
        except ValidationError:
            raise StoreConflict(
                f"{where} does not say what was deleted there; nothing was overwritten, and nothing is paid for. Put "
                "the file back as it was"
            ) from None


def bury_task(task: Task, ledger_id: str, decision: str, now: float) -> Tombstone:
    """The tombstone of a stored task."""
    moments = {
        name: iso(getattr(task, name) or task.claimed_at)
        for name in ("claimed_at", "submitted_at", "finished_at", "stored_at")
    }
    return Tombstone(
        pipeline=task.pipeline,
        row=task.row,
        model=task.request.MODEL,
        request_digest=task.digest,
        digest_version=task.digest_version,
        address_digest=task.address_digest,
        take=task.take,
        claim=task.claim,
        attempt=task.attempt or 1,
        account=task.account,
        world=task.world,
        task_id=task.task_id or "",
        client_reference=task.client_reference,
        ledger_id=task.paid_by or ledger_id,
        cost=task_cost(task),
        when=iso(now),
        decision=decision,
        **moments,
    )


def forgotten_task(tombstone: Tombstone, request: Request, images: Mapping[str, InputImage], found: Found) -> Task:
    """The forgotten task that a tombstone tells of, as a ledger has it that never saw it.

    `request` and `images` are those of the row where it still asks for this; else a request without words.
    """
    cost = tombstone.cost
    return Task(
        id=uuid.uuid4().hex,
        pipeline=found.pipeline or tombstone.pipeline,
        row=found.row or tombstone.row,
        digest=tombstone.request_digest,
        digest_version=tombstone.digest_version,
        address_digest=tombstone.address_digest,
        claim=tombstone.claim,
        attempt=tombstone.attempt,
        take=tombstone.take,
        request=request,
        images=images,
        labels={},
        client_reference=tombstone.client_reference,
        account=tombstone.account,
        world=tombstone.world,
        state=TaskState.FORGOTTEN,
        run_id="",
        task_id=tombstone.task_id or None,
        folder=found.folder,
        cost_usd=cost.usd if cost.source == "provider" else None,
        estimate_usd=cost.usd,
        claimed_at=from_iso(tombstone.claimed_at),
        submitted_at=from_iso(tombstone.submitted_at),
        finished_at=from_iso(tombstone.finished_at),
        stored_at=from_iso(tombstone.stored_at),
        decision=tombstone.decision,
        found_at=found.at,
        paid_by=tombstone.ledger_id if tombstone.ledger_id != found.ledger_id else None,
    )
