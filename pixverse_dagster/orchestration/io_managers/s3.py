"""Clips in an S3 bucket."""

import dagster as dg
from dagster_aws.s3 import S3Resource
from pydantic import Field

from pixverse_dagster.orchestration.io_managers.base import ClipIOManager
from pixverse_dagster.storage.s3 import S3Store


class S3ClipIOManager(ClipIOManager):
    """Stores clips in an S3 bucket with dagster-aws's `S3Resource`.

    Atomic: one conditional PUT per file, never overwritten.
    """

    s3: dg.ResourceDependency[S3Resource]
    bucket: str = Field(description="The bucket; it must exist.")
    prefix: str = Field(default="", description="A prefix for every key, without leading slash.")

    def get_store(self) -> S3Store:
        """The bucket as a store."""
        return S3Store(self.s3.get_client(), self.bucket, self.prefix)
