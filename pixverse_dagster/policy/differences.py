"""What is not sent as it was asked for, in words: of one row, for a plan. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pixverse_dagster.core.manifest import Difference
from pixverse_dagster.core.text import normal_text, shorten

_SHOWN = 40
"""Longest value that is shown, in characters."""


def seen(differences: Iterable[Difference]) -> Iterator[Difference]:
    """Those that mean anything to a person: text in another form has the same words."""
    for one in differences:
        if one.sent is None or normal_text(str(one.asked)) != normal_text(str(one.sent)):
            yield one


def describe_differences(differences: Iterable[Difference]) -> str:
    """What is left out, and what is sent as something else; empty if everything goes as it was asked for."""
    found = list(seen(differences))
    left = ", ".join(one.field for one in found if one.sent is None)
    changed = ", ".join(
        f"{one.field} {shorten(str(one.asked), _SHOWN)} as {shorten(str(one.sent), _SHOWN)}"
        for one in found
        if one.sent is not None
    )
    return "; ".join([f"left out: {left}"] * bool(left) + [f"sent otherwise: {changed}"] * bool(changed))
