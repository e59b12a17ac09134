"""What a ledger knows of itself and of the other ledgers of its stores: ids, the salt, the epoch."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Literal, cast

import sqlalchemy as sa

from pixverse_dagster.ledger.engine import one_at_a_time, reading
from pixverse_dagster.ledger.schema import meta

_ID, _SALT, _EPOCH, _UNREAD, _OTHER = "ledger_id", "salt", "epoch", "unread", "ledger:"
Fate = Literal["lost", "beside"]
"""What a person said of another ledger: it is lost, or it is in use beside this one."""


class Ledgers:
    """Reads and writes what the ledger knows of ledgers. Every method is one transaction; safe to use from threads.

    The epoch is a number that only grows: it is raised before and after a run pays, in the ledger and then in the
    store, so that a ledger that was restored from a copy finds a higher one there.
    """

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    @property
    def id(self) -> str:
        """The id of this ledger: random, or taken over from one that was lost."""
        return self._read()[_ID]

    @property
    def salt(self) -> str:
        """What fingerprints of keys are salted with. It stays the same when the id changes."""
        found = self._read()
        return found.get(_SALT, found[_ID])

    @property
    def epoch(self) -> int:
        """How often a run began to pay or ended; 0 in a new ledger."""
        return int(self._read().get(_EPOCH, "0"))

    @property
    def acknowledged(self) -> Mapping[str, Fate]:
        """The ids of the other ledgers that a person has said something of, and what."""
        return {k.removeprefix(_OTHER): cast("Fate", v) for k, v in self._read().items() if k.startswith(_OTHER)}

    @property
    def unread(self) -> frozenset[str]:
        """The pipelines of a ledger that was taken over whose clips are not taken in yet: nothing is paid for them."""
        return frozenset(json.loads(self._read().get(_UNREAD, "[]")))

    def raise_epoch(self) -> int:
        """A run begins to pay, or ends; the epoch from now on."""
        with self._engine.begin() as connection:
            one_at_a_time(connection)
            epoch = int(_read(connection).get(_EPOCH, "0")) + 1
            _write(connection, {_EPOCH: str(epoch)})
        return epoch

    def acknowledge(self, ledger_id: str, fate: Fate) -> None:
        """A person said what has become of another ledger. Repeatable; the last word counts."""
        with self._engine.begin() as connection:
            one_at_a_time(connection)
            _write(connection, {f"{_OTHER}{ledger_id}": fate})

    def take_over(self, ledger_id: str, epoch: int, pipeline: str, others: Collection[str] = ()) -> None:
        """Go on as the ledger with this id, which is lost: at its epoch at least, and with the salt of this one.

        The references that its submits had can be derived again, and what it wrote in a store is this ledger's own. The
        id that this one had counts as lost; it is the same where a ledger was restored from a copy. `pipeline` is what
        was taken in; the `others` that the lost ledger kept are `unread` until they are. Repeatable.
        """
        with self._engine.begin() as connection:
            one_at_a_time(connection)
            found = _read(connection)
            behind = found[_ID] != ledger_id or epoch > int(found.get(_EPOCH, "0"))
            unread: set[str] = {*json.loads(found.get(_UNREAD, "[]")), *(others if behind else ())}
            values = {
                _ID: ledger_id,
                _SALT: found.get(_SALT, found[_ID]),
                _EPOCH: str(max(epoch, int(found.get(_EPOCH, "0")))),
                _UNREAD: json.dumps(sorted(unread - {pipeline})),
            }
            if found[_ID] != ledger_id:
                values |= {f"{_OTHER}{one}": "lost" for one in (ledger_id, found[_ID])}
            _write(connection, values)

    def _read(self) -> dict[str, str]:
        with reading(self._engine) as connection:
            return _read(connection)


def _read(connection: sa.Connection) -> dict[str, str]:
    return {record.key: record.value for record in connection.execute(sa.select(meta))}


def _write(connection: sa.Connection, values: Mapping[str, str]) -> None:
    for key, value in values.items():
        changed = connection.execute(sa.update(meta).where(meta.c.key == key).values(value=value))
        if not changed.rowcount:
            connection.execute(sa.insert(meta).values(key=key, value=value))
