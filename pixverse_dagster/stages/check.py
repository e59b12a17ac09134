"""Judging a clip as it stands in the store."""

from __future__ import annotations

import tempfile
from pathlib import Path

from pixverse_dagster.core.manifest import ClipManifest
from pixverse_dagster.core.redaction import redact_text
from pixverse_dagster.core.request import Request
from pixverse_dagster.media.inspect import inspect_clip
from pixverse_dagster.policy.quality import CheckRules, Finding, Measurements, judge_clip
from pixverse_dagster.storage.base import ClipStore
from pixverse_dagster.storage.reading import copy_to_file


def check_clip(store: ClipStore, manifest: ClipManifest, request: Request, rules: CheckRules) -> tuple[Finding, ...]:
    """Judge a clip as it stands in the store: nothing, where the rules are not enabled. Never raises.

    The bytes are read back rather than judged on their way in: so the digest is that of what a reader will get, and a
    clip that an earlier run stored is judged in the same way as one that has just come. That is one more read per clip,
    of the fastest party to the whole exchange.
    """
    if not rules.enabled:
        return ()
    measured = {output.n: _measure(store, output.key, rules) for output in manifest.outputs}
    return judge_clip(request, manifest.outputs, measured, rules)


def _measure(store: ClipStore, key: str, rules: CheckRules) -> Measurements:
    try:
        with tempfile.TemporaryDirectory(dir=store.scratch(), prefix="pixverse-") as scratch:
            path = Path(scratch) / "clip"
            return inspect_clip(path, rules, copy_to_file(store, key, path).sha256)
    except Exception as error:  # noqa: BLE001 - a store's own errors have no common base; the clip is stored, so this is a finding
        return Measurements(problem=f"{type(error).__name__}: {redact_text(str(error))}"[:300])
