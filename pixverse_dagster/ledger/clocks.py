"""Times that another machine wrote, perhaps under a wrong clock."""

from __future__ import annotations

import sqlalchemy as sa

from pixverse_dagster.policy.timing import SKEW_SECONDS


def is_over(column: sa.Column[float], now: float, longest_seconds: float) -> sa.ColumnElement[bool]:
    """The condition that a wait has ended: as `policy.timing.is_over`."""
    return sa.or_(column <= now, column > now + longest_seconds + SKEW_SECONDS)
