"""Reading a prompt table into the ledger: every row becomes a row that can be generated, or a problem that is named."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from pixverse_dagster.core.row import Problem, Row
from pixverse_dagster.ledger.rows import SnapshotChange
from pixverse_dagster.stages.changed_images import keep_paid_images
from pixverse_dagster.stages.drafts import read_drafts
from pixverse_dagster.stages.folders import shared_folders
from pixverse_dagster.stages.looks import KnownRow, KnownRows, known_rows, look_at_images, open_cache
from pixverse_dagster.stages.session import Session
from pixverse_dagster.tables import PromptTable
from pixverse_dagster.tables.parse import Draft


@dataclass(frozen=True)
class TableReading:
    """One reading of a table: the rows that can be generated, in table order, and what is wrong with the others."""

    rows: tuple[Row, ...]
    problems: tuple[Problem, ...]
    cautions: tuple[Problem, ...]
    remarks: tuple[str, ...] = ()
    """What is odd about the table as a whole, and stops nothing."""
    facts: Mapping[str, str] = field(default_factory=dict[str, str])
    """How its file was read: separator, encoding, sheet."""

    @property
    def ids(self) -> frozenset[str]:
        """The ids of all rows, also of those that have problems."""
        return frozenset({row.id for row in self.rows} | {problem.row for problem in self.problems if problem.row})


def read_table(session: Session, table: PromptTable | None = None, *, known: KnownRows | None = None) -> TableReading:
    """Read and check the whole table, images included. Sends nothing to a provider; raises InvalidTable.

    `table` takes the place of the pipeline's own, where its rows are the value of an asset. `known` are those that a
    row with an image that is gone, or cannot be read for now, is compared with; the ledger's, if not given.
    """
    read = read_drafts(table or session.pipeline.source, session.pipeline.rules)
    found = shared_folders(session, read.drafts)
    problems = [*read.problems, *found]
    without = {problem.place for problem in found}
    drafts = [draft for draft in read.drafts if draft.place not in without]
    asked = session.ledger.rows.takes(session.pipeline.name)
    drafts = [replace(draft, take=max(draft.take, asked.get(draft.id, 1))) for draft in drafts]
    cautions = [d.problem("", caution) for d in drafts for caution in d.request.cautions()]
    rows, unusable, kept = _find_rows(session, drafts, known or partial(known_rows, session))
    problems += unusable
    cautions += kept
    if not session.options.pay_for_changed_images:
        rows, changed = keep_paid_images(session, rows)
        cautions += changed
    problems, cautions = (sorted(found, key=lambda problem: problem.line) for found in (problems, cautions))
    return TableReading(tuple(rows), tuple(problems), tuple(cautions), tuple(read.remarks), read.notes.facts)


def _find_rows(
    session: Session, drafts: Sequence[Draft], known: KnownRows
) -> tuple[list[Row], list[Problem], list[Problem]]:
    """The rows whose images are sound, or that are what they were; the problems of the others; and what was kept."""
    cache = open_cache(session, drafts)
    looks = look_at_images(session, cache, drafts)
    absent = [look.draft.id for look in looks if look.absent]
    before = known(absent) if absent else dict[str, KnownRow]()
    rows: list[Row] = []
    problems: list[Problem] = []
    kept: list[Problem] = []
    for look in looks:
        row = look.row(cache, before.get(look.draft.id))
        if row is None:
            problems += look.problems
        else:
            rows.append(row)
            kept += look.kept()
    return rows, problems, kept


def record_table(session: Session, reading: TableReading) -> SnapshotChange:
    """Make a reading the pipeline's current rows. Repeatable; rows and queue change in one transaction."""
    name, ledger = session.pipeline.name, session.ledger
    ledger.worlds.set(name, session.worlds)
    return ledger.rows.record(name, reading.rows, reading.problems, session.run_id, now=session.clock())
