"""The code location: the project's own definitions, configured by the environment, which must be a shared one here.

Runs are on several machines: a ledger or a store on one of them would be a different one for each, so that rows would
be paid for twice. What is missing is said when the code server starts.
"""

import os

from pixverse_dagster.definitions import build

SHARED = ("PIXVERSE_LEDGER_URL", "PIXVERSE_S3_BUCKET", "PIXVERSE_PROMPTS")
if missing := [name for name in SHARED if not os.environ.get(name)]:
    raise RuntimeError(f"not set: {', '.join(missing)}. See .env.example. Nothing was sent")

defs = build()
