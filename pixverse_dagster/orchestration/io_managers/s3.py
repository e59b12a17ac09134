"""Clips in an S3 bucket."""

import dagster as dg
from dagster_aws.s3 import S3Resource

from pixverse_dagster.orchestration.io_managers.base import StoreClipIOManager
from pixverse_dagster.storage.s3 import S3Settings


class S3ClipIOManager(StoreClipIOManager, S3Settings):
    """Stores clips in an S3 bucket with dagster-aws's `S3Resource`.

    Atomic: one conditional PUT per file, never overwritten.
    """

    s3: dg.ResourceDependency[S3Resource]
