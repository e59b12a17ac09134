"""One small table, in each format."""

from __future__ import annotations

import io
from importlib import import_module
from typing import Any

arrow: Any = import_module("pyarrow")
parquet: Any = import_module("pyarrow.parquet")


def as_parquet(table: Any, **options: Any) -> bytes:
    target = io.BytesIO()
    parquet.write_table(table, target, **options)
    return target.getvalue()


TABLES = {
    "rows.csv": b"id,prompt\na,kite\nb,dune\n",
    "rows.jsonl": b'{"id": "a", "prompt": "kite"}\n{"id": "b", "prompt": "dune"}\n',
    "rows.parquet": as_parquet(arrow.table({"id": ["a", "b"], "prompt": ["kite", "dune"]})),
}
CELLS = [{"id": "a", "prompt": "kite"}, {"id": "b", "prompt": "dune"}]
