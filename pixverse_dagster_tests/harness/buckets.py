"""S3 as users configure it: a client of the server of the tests."""

from typing import Any

from dagster_aws.s3 import S3Resource

from pixverse_dagster_tests.harness.servers import S3Server


def s3_client(server: S3Server) -> Any:
    """The client that dagster-aws's resource makes."""
    return S3Resource(
        endpoint_url=server.endpoint_url,
        region_name=server.region,
        aws_access_key_id=server.access_key,
        aws_secret_access_key=server.secret_key,
    ).get_client()
