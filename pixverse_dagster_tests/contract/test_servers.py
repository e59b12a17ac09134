"""The servers that the other tests lean on are real: what they promise is asked of them here."""

import base64
import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa
from dagster_aws.s3 import S3Resource

from pixverse_dagster_tests.harness.servers import S3Server, missing


def test_postgres_answers(postgres_database: str):
    engine = sa.create_engine(postgres_database, poolclass=sa.NullPool)
    with engine.connect() as connection:
        assert connection.scalar(sa.text("select 1")) == 1
        assert connection.scalar(sa.text("select current_database()")) == engine.url.database


def test_s3_lets_exactly_one_of_racing_writers_create_an_object(s3_bucket: tuple[S3Server, str]):
    server, bucket = s3_bucket
    writers = 8
    client = server.client()
    together = threading.Barrier(writers)

    def write(writer: int) -> int:
        together.wait()
        try:
            answer = client.put_object(Bucket=bucket, Key="clip.mp4", Body=bytes([writer]) * 100_000, IfNoneMatch="*")
        except client.exceptions.ClientError as error:
            answer = error.response
        return answer["ResponseMetadata"]["HTTPStatusCode"]

    with ThreadPoolExecutor(writers) as pool:
        statuses = list(pool.map(write, range(writers)))
    stored = client.get_object(Bucket=bucket, Key="clip.mp4")["Body"].read()
    client.close()
    assert sorted(statuses) == [200, *[412] * (writers - 1)]
    assert stored == bytes([statuses.index(200)]) * 100_000


def test_s3_refuses_a_wrong_secret(s3_bucket: tuple[S3Server, str]):
    server, bucket = s3_bucket
    client = server.client(aws_secret_access_key=server.secret_key[::-1])
    with pytest.raises(client.exceptions.ClientError, match="SignatureDoesNotMatch"):
        client.put_object(Bucket=bucket, Key="clip.mp4", Body=b"clip")
    client.close()


def test_s3_takes_a_checksum_of_the_callers_through_dagsters_resource(s3_bucket: tuple[S3Server, str]):
    server, bucket = s3_bucket
    client = S3Resource(
        endpoint_url=server.endpoint_url,
        region_name=server.region,
        aws_access_key_id=server.access_key,
        aws_secret_access_key=server.secret_key,
    ).get_client()
    body = bytes(range(256)) * 1000
    checksum = base64.b64encode(hashlib.sha256(body).digest()).decode()
    client.put_object(Bucket=bucket, Key="clip.mp4", Body=body, ChecksumSHA256=checksum)
    assert client.get_object(Bucket=bucket, Key="clip.mp4")["Body"].read() == body
    client.close()


def test_an_absent_server_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", "")
    assert "apt-get install" in (missing("rgw") or "")
