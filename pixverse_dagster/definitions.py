"""This project's own code location: one pipeline, configured by the environment.

Without any configuration it runs the sample table against the simulator on this machine, and no key is read.
`PIXVERSE_MODE=live` is the decision to spend money: then the providers whose keys are set are used.

| variable | meaning | default |
|---|---|---|
| `PIXVERSE_MODE` | `simulator` or `live` | `simulator` |
| `PIXVERSE_SIMULATOR_URL` | where the simulator is | `http://127.0.0.1:8765` |
| `HIGHWAY_API_KEY`, `RUNWARE_API_KEY`, `PIXWITH_API_KEY` | the accounts, in live mode | |
| `PIXVERSE_NAME` | the pipeline's name | `demo` |
| `PIXVERSE_PROMPTS` | the prompt table: a path or URL | the sample table |
| `PIXVERSE_ROWS` | only the first so many rows | all |
| `PIXVERSE_MODEL` | the default model | |
| `PIXVERSE_LABELS` | label columns, separated by commas | `campaign,language` |
| `PIXVERSE_IMAGE_BASE` | folder or URL of relative images | the simulator's samples, or the table's folder when live |
| `PIXVERSE_CLIPS_DIR` | where clips are stored | `clips` in the Dagster home |
| `PIXVERSE_S3_BUCKET`, `PIXVERSE_S3_PREFIX` | store in S3 instead | |
| `AWS_ENDPOINT_URL_S3`, `AWS_REGION` and AWS's other own variables | which S3 | |
| `PIXVERSE_LEDGER_URL` | PostgreSQL for the ledger | SQLite in the Dagster home |
| `PIXVERSE_BUDGET` | JSON: `per_run_usd`, `per_day_usd`, `total_usd` | no limit |
| `PIXVERSE_PRICES` | JSON list of price-book lines: `model`, `usd`, `per`, `resolution` … | the published prices |
| `PIXVERSE_RETRY` | JSON: further paid attempts by kind of failure, `provider_error`, `moderated` … | none |
| `PIXVERSE_CHECKS` | JSON with fields of `CheckRules`: `blocking`, tolerances … | warnings |
| `PIXVERSE_ACCOUNTS` | JSON by provider: `max_open_tasks`, `max_concurrency`, `submits_per_minute` … | |
| `PIXVERSE_PACE` | JSON with fields of `Pace`, to make waiting shorter | |
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import TypeAdapter

from pixverse_dagster.core.errors import InvalidTable
from pixverse_dagster.core.price import Price
from pixverse_dagster.orchestration.factory import build_clips_definitions
from pixverse_dagster.orchestration.io_managers.base import ClipIOManager
from pixverse_dagster.orchestration.io_managers.local import LocalClipIOManager
from pixverse_dagster.orchestration.resources import RESOURCES, LedgerResource, ProviderResource, key_variable
from pixverse_dagster.policy.budget import Budget
from pixverse_dagster.policy.quality import CheckRules
from pixverse_dagster.policy.retry import RetryPolicy
from pixverse_dagster.policy.timing import Pace
from pixverse_dagster.stages.options import PipelineOptions
from pixverse_dagster.tables import FileTable
from pixverse_dagster.transport.download import DownloadRules

SAMPLE_TABLE = Path(__file__).parent / "samples" / "prompts.csv"


def _setting(name: str, default: str = "") -> str:
    return os.environ.get(f"PIXVERSE_{name}", "").strip() or default


def _providers(simulator: str, *, live: bool) -> Sequence[ProviderResource]:
    accounts = TypeAdapter(dict[str, dict[str, Any]]).validate_json(_setting("ACCOUNTS", "{}"))
    if unknown := accounts.keys() - RESOURCES.keys():
        raise InvalidTable(f"PIXVERSE_ACCOUNTS names {min(unknown)!r}, which is no provider. Nothing was sent")
    if not live:
        chosen: list[ProviderResource] = []
        for name, resource in RESOURCES.items():
            settings: dict[str, Any] = {"api_key": "simulator", "base_url": f"{simulator}/{name}", "max_concurrency": 4}
            chosen.append(resource(**{**settings, **accounts.get(name, {})}))
        return chosen
    variables = {name: key_variable(name) for name in RESOURCES}
    chosen = [
        resource(api_key=dg.EnvVar(variables[name]), **accounts.get(name, {}))
        for name, resource in RESOURCES.items()
        if os.environ.get(variables[name])
    ]
    if not chosen:
        needed = ", ".join(variables.values())
        raise InvalidTable(f"PIXVERSE_MODE=live needs at least one of {needed}. Nothing was sent")
    return chosen


def _clips() -> ClipIOManager:
    url = dg.EnvVar("PIXVERSE_LEDGER_URL") if _setting("LEDGER_URL") else None
    ledger = LedgerResource(url=url)
    if bucket := _setting("S3_BUCKET"):
        from dagster_aws.s3 import S3Resource  # noqa: PLC0415 - 2 s and 50 MB that a local store need not pay

        from pixverse_dagster.orchestration.io_managers.s3 import S3ClipIOManager  # noqa: PLC0415 - as above

        s3 = S3Resource(
            region_name=os.environ.get("AWS_REGION"),
            endpoint_url=os.environ.get("AWS_ENDPOINT_URL_S3"),
        )
        return S3ClipIOManager(s3=s3, bucket=bucket, prefix=_setting("S3_PREFIX"), ledger=ledger)
    home = os.environ.get("DAGSTER_HOME", ".")
    return LocalClipIOManager(base_dir=_setting("CLIPS_DIR", str(Path(home) / "clips")), ledger=ledger)


def build() -> dg.Definitions:
    """The definitions for the environment as it is now."""
    mode = _setting("MODE", "simulator")
    if mode not in {"simulator", "live"}:
        raise InvalidTable(f"PIXVERSE_MODE is {mode!r}: use simulator or live. Nothing was sent")
    live = mode == "live"
    simulator = _setting("SIMULATOR_URL", "http://127.0.0.1:8765").rstrip("/")
    model = _setting("MODEL")
    options = PipelineOptions(
        defaults={"model": model} if model else {},
        labels=[label.strip() for label in _setting("LABELS", "campaign,language").split(",") if label.strip()],
        image_base=_setting("IMAGE_BASE") or (None if live else f"{simulator}/samples/"),
        download=DownloadRules(allow_private_network=not live),
        budget=Budget.model_validate_json(_setting("BUDGET", "{}")),
        prices=TypeAdapter(tuple[Price, ...]).validate_json(_setting("PRICES", "[]")),
        retry=RetryPolicy.model_validate_json(_setting("RETRY", "{}")),
        checks=CheckRules.model_validate_json(_setting("CHECKS", "{}")),
        pace=Pace.model_validate_json(_setting("PACE", "{}")),
    )
    pipeline = build_clips_definitions(
        _setting("NAME", "demo"),
        FileTable(_setting("PROMPTS", str(SAMPLE_TABLE)), int(_setting("ROWS", "0")) or None, rules=options.download),
        providers=_providers(simulator, live=live),
        clips=_clips(),
        options=options,
    )
    # One run has one step here: a second process per run would only cost time.
    return dg.Definitions.merge(pipeline, dg.Definitions(executor=dg.in_process_executor))


defs = build()
