"""Which rows a command is about: by state, kind of failure, label, provider and age."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import wraps
from typing import Any

import click

from pixverse_dagster.core.ages import SINCE_WORDS, read_since
from pixverse_dagster.core.lifecycle import FailureKind, TaskState
from pixverse_dagster.core.row_state import RowState
from pixverse_dagster.core.values import iso
from pixverse_dagster.orchestration.resources import RESOURCES

INVALID = "invalid"
TROUBLE = "trouble"
WORDS = (*dict.fromkeys([*map(str, RowState), *map(str, TaskState)]), INVALID, TROUBLE)
"""What `--state` takes: how a row stands, what a task's state is, or `trouble`: whatever needs a person."""


@dataclass(frozen=True)
class Selection:
    """Rows by what they have in common; what is empty leaves none out."""

    states: frozenset[str] = frozenset()
    kinds: frozenset[FailureKind] = frozenset()
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    providers: frozenset[str] = frozenset()
    since: float | None = None

    def __bool__(self) -> bool:
        return bool(self.states or self.kinds or self.labels or self.providers or self.since is not None)

    def as_options(self) -> list[str]:
        """The selection as options of a command."""
        given = [
            *(("--state", word) for word in sorted(self.states)),
            *(("--kind", str(kind)) for kind in sorted(self.kinds)),
            *(("--label", f"{key}={value}") for key, value in self.labels.items()),
            *(("--provider", name) for name in sorted(self.providers)),
            *([] if self.since is None else [("--since", iso(self.since))]),
        ]
        return [word for pair in given for word in pair]


def _read_labels(ctx: click.Context, param: click.Parameter, given: tuple[str, ...]) -> dict[str, str]:
    """Labels as they are given: each KEY=VALUE. A value may be empty: then the row must not have the label."""
    found: dict[str, str] = {}
    for text in given:
        key, separator, value = text.partition("=")
        if not (key and separator):
            raise click.BadParameter(f"{text!r} is not KEY=VALUE", ctx, param)
        if found.setdefault(key, value) != value:
            raise click.BadParameter(f"{key!r} cannot be both {found[key]!r} and {value!r}", ctx, param)
    return found


def _read_moment(ctx: click.Context, param: click.Parameter, given: str | None) -> float | None:
    try:
        return None if given is None else read_since(given, time.time())
    except (ValueError, OverflowError) as error:
        raise click.BadParameter(str(error), ctx, param) from None


since_option = click.option(
    "--since", metavar="WHEN", callback=_read_moment, help=f"Only what was claimed since then: {SINCE_WORDS}."
)


def selection_options(command: Callable[..., None]) -> Callable[..., None]:
    """The options that select rows; they reach the command as one `selection`."""

    @wraps(command)
    def with_selection(
        *words: Any,
        state: tuple[str, ...],
        kind: tuple[str, ...],
        label: dict[str, str],
        provider: tuple[str, ...],
        since: float | None,
        **options: Any,
    ) -> None:
        kinds = frozenset(map(FailureKind, kind))
        selection = Selection(frozenset(state), kinds, label, frozenset(provider), since)
        command(*words, selection=selection, **options)

    kinds, names = [kind.value for kind in FailureKind], list(RESOURCES)
    for option in (
        since_option,
        click.option("--provider", type=click.Choice(names), multiple=True, help="Only of these providers."),
        click.option(
            "--label", metavar="KEY=VALUE", multiple=True, callback=_read_labels, help="Only with these labels."
        ),
        click.option("--kind", type=click.Choice(kinds), multiple=True, help="Only what failed in one of these ways."),
        click.option(
            "--state",
            type=click.Choice(WORDS, case_sensitive=False),
            metavar="STATE",
            multiple=True,
            help=f"Only in these states: {', '.join(WORDS)} (whatever needs a person). May be given again.",
        ),
    ):
        with_selection = option(with_selection)
    return with_selection
