"""A pipeline with real accounts: it spends money when `tasks` or `clips` is materialised, and only then.

Every secret is an EnvVar: read when something runs, never when the definitions load, and shown nowhere.
"""

from pathlib import Path

import dagster as dg
from dagster_aws.s3 import S3Resource

from pixverse_dagster import (
    Budget,
    HighwayResource,
    LedgerResource,
    PipelineOptions,
    PixwithResource,
    RunwareResource,
    S3ClipIOManager,
    build_clips_definitions,
)

defs = build_clips_definitions(
    "trailers",
    Path(__file__).parent / "prompts.csv",
    # A run needs the key of every provider named here: delete those that you have no account with.
    providers=[
        RunwareResource(api_key=dg.EnvVar("RUNWARE_API_KEY"), max_open_tasks=20),
        HighwayResource(api_key=dg.EnvVar("HIGHWAY_API_KEY"), max_open_tasks=5, submits_per_minute=30),
        PixwithResource(api_key=dg.EnvVar("PIXWITH_API_KEY"), max_open_tasks=5),
    ],
    clips=S3ClipIOManager(
        s3=S3Resource(region_name=dg.EnvVar("AWS_REGION")),
        bucket=dg.EnvVar("CLIPS_BUCKET"),
        prefix="pixverse",
        ledger=LedgerResource(url=dg.EnvVar("LEDGER_URL")),
    ),
    options=PipelineOptions(
        defaults={"model": "runware/pixverse-v4.5", "resolution": "540p"},
        labels=["campaign"],
        budget=Budget(per_run_usd=5, per_day_usd=20, total_usd=100),
        # With a budget, a row of unknown price is refused. Only Runware publishes prices: add yours for the others.
        #   prices=[Price(model="pixwith/pixverse-v5", usd=…, resolution="540p")],
        # Each further attempt at a failed row may be charged like the first one: 0 unless you say otherwise.
        #   retry=RetryPolicy(provider_error=1),
    ),
)
