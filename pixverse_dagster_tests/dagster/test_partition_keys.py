"""A row's id is its partition key."""

import dagster as dg
import pytest


def test_dagsters_own_limits_on_partition_keys_are_ours() -> None:
    """What a row id may not have is at least what Dagster refuses in a partition key."""
    partitions = dg.StaticPartitionsDefinition
    for mark in ("...", "\n", "\0", "\t"):
        with pytest.raises(dg.DagsterInvalidDefinitionError):
            partitions([f"a{mark}b"])
