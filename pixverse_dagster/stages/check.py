"""Judging a clip as it stands in the store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pixverse_dagster.core.errors import ReadFailed
from pixverse_dagster.core.manifest import ClipManifest
from pixverse_dagster.core.redaction import redact_text
from pixverse_dagster.core.request import Request
from pixverse_dagster.core.text import shorten
from pixverse_dagster.media.inspect import inspect_clip
from pixverse_dagster.policy.quality import CheckRules, Finding, Measurements, judge_clip
from pixverse_dagster.stages.repeat import repeat
from pixverse_dagster.storage.base import ClipStore
from pixverse_dagster.storage.documents import scratch_folder
from pixverse_dagster.storage.reading import copy_to_file

PAUSES_SECONDS = (0.1, 0.5)
"""Between the tries to read an output back. The stores' own clients repeat as well, and wait longer."""
_NOT_THERE = (FileNotFoundError, IsADirectoryError, NotADirectoryError)


@dataclass(frozen=True)
class Checked:
    """What the checks of a clip found.

    `not_made` says why some checks could not be made: the store could not be read. That says nothing about the clip,
    so that it is no failed check; the check is made again.
    """

    findings: tuple[Finding, ...] = ()
    not_made: str = ""

    @property
    def failed(self) -> tuple[Finding, ...]:
        """The findings that did not pass."""
        return tuple(finding for finding in self.findings if not finding.passed)

    @property
    def undecided(self) -> bool:
        """Whether nothing is wrong as far as could be seen, but not everything could be."""
        return bool(self.not_made) and not self.failed


def check_clip(
    store: ClipStore,
    manifest: ClipManifest,
    request: Request,
    rules: CheckRules,
    urls: Sequence[str] = (),
    *,
    pauses_seconds: Sequence[float] = PAUSES_SECONDS,
) -> Checked:
    """Judge a clip as it stands in the store: nothing, where the rules are not enabled. Never raises.

    The bytes are read back rather than judged on their way in: so the digest is that of what a reader will get, and a
    clip that an earlier run stored is judged in the same way as one that has just come. That is one more read per clip,
    of the fastest party to the whole exchange. An object that is missing or has other bytes is a failed check; a store
    that cannot be read, after a try and one more after each pause, leaves the check unmade.
    """
    if not rules.enabled:
        return Checked()
    measured: dict[int, Measurements] = {}
    not_made = ""
    for output in manifest.outputs:
        try:
            measured[output.n] = _measure(store, output.key, rules, pauses_seconds)
        except ReadFailed as error:
            not_made = not_made or f"output {output.n} could not be read back: {error}"
    return Checked(judge_clip(request, manifest.outputs, measured, rules, urls), not_made)


def _measure(store: ClipStore, key: str, rules: CheckRules, pauses_seconds: Sequence[float]) -> Measurements:
    """Read an output back and decode it. Raises ReadFailed if the store cannot be read."""

    def read() -> Measurements:
        try:
            with scratch_folder(store) as scratch:
                path = scratch / "clip"
                return inspect_clip(path, rules, copy_to_file(store, key, path).sha256)
        except _NOT_THERE as error:
            return Measurements(problem=describe_read_error(error))

    try:
        return repeat(read, pauses_seconds, (Exception,))
    except Exception as error:  # noqa: BLE001 - a store's own errors have no common base
        raise ReadFailed(describe_read_error(error)) from None


def describe_read_error(error: Exception) -> str:
    """A store's error, in words that may be shown."""
    return shorten(f"{type(error).__name__}: {redact_text(str(error))}", 300)
