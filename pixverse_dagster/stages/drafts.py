"""What a table would be read as, before its images are looked at: no ledger, no store, no provider."""

from __future__ import annotations

from dataclasses import dataclass

from pixverse_dagster.core.row import Problem
from pixverse_dagster.tables import PromptTable, read_noted
from pixverse_dagster.tables.columns import Arranged, arrange
from pixverse_dagster.tables.expand import expand_row
from pixverse_dagster.tables.ids import settle_ids
from pixverse_dagster.tables.notes import Notes
from pixverse_dagster.tables.parse import Draft, double_problem, duplicate_problems, parse_row
from pixverse_dagster.tables.rules import TableRules


@dataclass(frozen=True)
class ReadDrafts:
    """The rows of a table whose requests are valid, what is wrong with the others, and how the table was read."""

    drafts: list[Draft]
    problems: list[Problem]
    arranged: Arranged
    notes: Notes

    @property
    def remarks(self) -> list[str]:
        """What is odd about the table and stops nothing."""
        return [*self.notes.cautions, *self.arranged.cautions]


def read_drafts(table: PromptTable, rules: TableRules) -> ReadDrafts:
    """Read and check a whole table, but for its images: the one way from a table to requests.

    Raises InvalidTable, with nothing taken, if the table as a whole cannot be read.
    """
    rules.check()
    notes = Notes()
    arranged = arrange(table.describe(), read_noted(table, notes), rules, notes)
    settled = settle_ids(arranged.rows)
    drafts: list[Draft] = []
    problems: list[Problem] = []
    for raw in settled.rows:
        double = raw.line in settled.doubles
        if double:
            problems.append(double_problem(raw, settled.doubles[raw.line]))
        for one in [raw] if double else expand_row(raw, arranged.rules):
            parsed = parse_row(one, arranged.rules)
            if isinstance(parsed, list):
                problems += parsed
            elif not double:
                drafts.append(parsed)
    found = duplicate_problems(drafts)
    without = {problem.place for problem in found}
    return ReadDrafts([draft for draft in drafts if draft.place not in without], [*problems, *found], arranged, notes)
