"""Tables in Parquet and Arrow, decoded some rows at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from importlib import import_module
from itertools import chain
from typing import Any, BinaryIO

from pixverse_dagster.core.errors import InvalidTable
from pixverse_dagster.core.row import RawRow
from pixverse_dagster.tables.cells import error_text, raw_row, unique_columns
from pixverse_dagster.tables.notes import FileSettings, Notes
from pixverse_dagster.tables.text import READ_AHEAD_BYTES

_BATCH_ROWS = 500


def read_parquet(name: str, stream: BinaryIO, notes: Notes, settings: FileSettings) -> Iterator[RawRow]:
    """Parquet, decoded some rows at a time. The stream must be seekable. Raises InvalidTable if it is not Parquet."""
    del settings
    arrow = import_arrow(name)
    try:
        # Not pre-buffered: otherwise a file of one row group would be in memory as a whole.
        reading = {"pre_buffer": False, "buffer_size": READ_AHEAD_BYTES}
        file = import_module("pyarrow.parquet").ParquetFile(stream, **reading)
        # One row group at a time: a batch over several groups would read beyond the first rows that are wanted.
        groups = (file.iter_batches(_BATCH_ROWS, row_groups=[group]) for group in range(file.num_row_groups))
        yield from arrow_rows(name, file.schema_arrow.names, chain.from_iterable(groups), notes)
    except (arrow.ArrowException, OSError, ValueError) as error:
        raise InvalidTable(f"{name}: not readable as Parquet ({error_text(error)}). Nothing was sent") from None


def arrow_rows(name: str, columns: Iterable[str], batches: Iterable[Any], notes: Notes) -> Iterator[RawRow]:
    """The rows of Arrow record batches. However large a batch is, few of its rows are converted at a time."""
    notes.columns = unique_columns(name, columns)
    slices = (batch.slice(at, _BATCH_ROWS) for batch in batches for at in range(0, batch.num_rows, _BATCH_ROWS))
    rows = (row for part in slices for row in _plain_batch(part).to_pylist())
    for number, row in enumerate(rows, start=1):
        yield raw_row(number, row)


def import_arrow(name: str) -> Any:
    """The module pyarrow. Raises InvalidTable if it is not installed."""
    try:
        return import_module("pyarrow")
    except ModuleNotFoundError:
        raise InvalidTable(
            f"{name}: Parquet and Arrow need pyarrow: install pixverse-dagster[parquet]. Nothing was sent"
        ) from None


def _plain_batch(batch: Any) -> Any:
    """The batch with times in microseconds: pyarrow makes values of nanoseconds only where pandas is installed."""
    arrow = import_module("pyarrow")
    fields = [field.with_type(_plain_type(arrow, field.type)) for field in batch.schema]
    if all(new.type == old.type for new, old in zip(fields, batch.schema, strict=True)):
        return batch
    columns = [column.cast(field.type, safe=False) for column, field in zip(batch.columns, fields, strict=True)]
    return arrow.RecordBatch.from_arrays(columns, schema=arrow.schema(fields))


def _plain_type(arrow: Any, kind: Any) -> Any:
    types = arrow.types
    if types.is_dictionary(kind):
        kind = kind.value_type
    if types.is_timestamp(kind) and kind.unit == "ns":
        return arrow.timestamp("us", tz=kind.tz)
    if types.is_duration(kind) and kind.unit == "ns":
        return arrow.duration("us")
    if types.is_time64(kind) and kind.unit == "ns":
        return arrow.time64("us")
    if types.is_struct(kind):
        return arrow.struct(
            [kind.field(at).with_type(_plain_type(arrow, kind.field(at).type)) for at in range(kind.num_fields)]
        )
    for is_list, make in ((types.is_list, arrow.list_), (types.is_large_list, arrow.large_list)):
        if is_list(kind):
            return make(kind.value_field.with_type(_plain_type(arrow, kind.value_type)))
    return kind
