"""A discrepancy, its kind, and what a comparison has found."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Repair(StrEnum):
    """What `verify --repair` does about a discrepancy: it costs nothing and loses nothing."""

    COLLECT = "make a poster or a manifest again from the clip's own files"
    KEEP_DIGEST = "keep the sha256 of a manifest with which all else agrees"
    TAKE_IN = "take a stored clip, or a tombstone, into the ledger"
    REPORT_CLIP = "report the row's clips to Dagster again"
    REPORT_TASK = "report the row's task to Dagster again"
    ADD_PARTITION = "add the partition"
    CHECK = "make the clip's check again, for the ledger and for Dagster"


class Side(StrEnum):
    """Which record is likely right."""

    LEDGER = "the ledger"
    STORE = "the store"
    NOBODY = "neither by itself"


@dataclass(frozen=True)
class Kind:
    """A kind of discrepancy.

    `compares` is what is looked at, `right` whose word is likely right, `money` what the discrepancy may cost, and
    `remedy` what a person does where there is no `repair`; in it, {name} stands for a command of `remedies`. `deep`
    says that it is seen by `--deep` only.
    """

    name: str
    compares: str
    right: Side
    money: str
    repair: Repair | None = None
    remedy: str = ""
    deep: bool = False


@dataclass(frozen=True)
class Discrepancy:
    """One thing on which two records differ. `row` is empty where only the store, or Dagster, knows of it.

    `task` is the ledger's id of the task, `key` the store's key, where there is one.
    """

    row: str
    where: str
    message: str
    kind: Kind
    task: str = ""
    key: str = ""

    @property
    def repair(self) -> Repair | None:
        """What `verify --repair` does about it, if it can do anything."""
        return self.kind.repair


@dataclass(frozen=True)
class Verification:
    """What was compared, and what differs."""

    clips: int
    files: int
    disagreements: tuple[Discrepancy, ...]
    deep: bool = False
    with_dagster: bool = False
    bytes_read: int = 0
