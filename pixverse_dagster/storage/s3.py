"""Clips in an S3 bucket, through the boto3 client of dagster-aws's `S3Resource`."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, BinaryIO, ClassVar, cast
from urllib.parse import urlencode, urlsplit

from pydantic import Field

from pixverse_dagster.core.errors import PixverseError
from pixverse_dagster.core.values import FrozenModel
from pixverse_dagster.storage.base import FromVariable, StoreSettings

_TAKEN = {"PreconditionFailed", "412"}
_RACING = {"ConditionalRequestConflict", "409"}
_ABSENT = {"NoSuchKey", "NotFound", "404"}
_RACES = 5


class S3ClientSettings(FrozenModel):
    """Which S3. Credentials come from where AWS's own tools find them."""

    region_name: Annotated[str | None, FromVariable("AWS_REGION")] = Field(default=None, description="The AWS region.")
    endpoint_url: Annotated[str | None, FromVariable("AWS_ENDPOINT_URL_S3")] = Field(
        default=None, description="The address of an S3-compatible store."
    )


class S3Settings(StoreSettings):
    """Clips in a bucket."""

    NAME: ClassVar[str] = "s3"
    CLIENT: ClassVar[str] = "dagster_aws.s3:S3Resource"
    CLIENT_SETTINGS: ClassVar[type[FrozenModel] | None] = S3ClientSettings

    bucket: str = Field(description="The bucket; it must exist.")
    prefix: str = Field(default="", description="A prefix for every key, without leading slash.")

    def open_store(self, client: Any = None) -> S3Store:
        """The bucket as a store."""
        return S3Store(client, self.bucket, self.prefix)


class S3Store:
    """A bucket, or a prefix in one. A clip is one conditional PUT, so that of many writers exactly one wins.

    The digest that was computed while downloading is sent as the object's checksum; S3 refuses bytes that do not
    match it.
    """

    def __init__(self, client: Any, bucket: str, prefix: str = "") -> None:
        self._client = client
        self._bucket = bucket
        self._prefix = prefix.strip("/") + "/" if prefix.strip("/") else ""
        if str(client.meta.endpoint_url).startswith("https:"):
            # Signing the payload would hash every byte a second time; TLS and the checksum guard it already. boto3
            # offers this on construction only, and the client is the resource's.
            s3: dict[str, Any] = {**(client.meta.config.s3 or {}), "payload_signing_enabled": False}
            client.meta.config.s3 = s3

    def __repr__(self) -> str:
        return f"S3Store('s3://{self._bucket}/{self._prefix}')"

    def put_new(self, key: str, path: Path, *, sha256: str, content_type: str) -> bool:
        """As `ClipStore.put_new`, by `If-None-Match: *`. Idempotent."""
        for _ in range(_RACES):
            try:
                with path.open("rb") as body:
                    self._client.put_object(
                        Bucket=self._bucket,
                        Key=self._prefix + key,
                        Body=body,
                        ContentLength=path.stat().st_size,
                        ContentType=content_type,
                        ChecksumSHA256=base64.b64encode(bytes.fromhex(sha256)).decode(),
                        Metadata={"sha256": sha256},
                        IfNoneMatch="*",
                    )
            except self._client.exceptions.ClientError as error:
                code = _code(error)
                if code in _TAKEN:
                    return False
                if code not in _RACING:
                    raise
            else:
                return True
        raise PixverseError(f"{self.uri(key)}: other writers kept interfering. Nothing was lost; run again")

    def open(self, key: str) -> BinaryIO:
        """As `ClipStore.open`: a stream, not seekable."""
        return cast("BinaryIO", self._ask(self._client.get_object, key)["Body"])

    def size_bytes(self, key: str) -> int:
        """As `ClipStore.size_bytes`."""
        return int(self._ask(self._client.head_object, key)["ContentLength"])

    def keys(self, prefix: str) -> Iterator[str]:
        """As `ClipStore.keys`."""
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket, Prefix=self._prefix + prefix
        )
        for page in pages:
            for item in page.get("Contents", []):
                yield str(item["Key"]).removeprefix(self._prefix)

    def uri(self, key: str) -> str:
        """The `s3://` address."""
        return f"s3://{self._bucket}/{self._prefix}{key}"

    def page(self, key: str) -> str | None:
        """The object in AWS's console; None at other S3 servers, whose consoles are anywhere."""
        if not (urlsplit(str(self._client.meta.endpoint_url)).hostname or "").endswith(".amazonaws.com"):
            return None
        query = urlencode({"region": self._client.meta.region_name, "prefix": self._prefix + key})
        return f"https://console.aws.amazon.com/s3/object/{self._bucket}?{query}"

    def scratch(self) -> None:
        """None: downloads wait in the system's temporary folder."""

    def _ask(self, call: Any, key: str) -> Any:
        try:
            return call(Bucket=self._bucket, Key=self._prefix + key)
        except self._client.exceptions.ClientError as error:
            if _code(error) in _ABSENT:
                raise FileNotFoundError(self.uri(key)) from None
            raise


def _code(error: Any) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))
