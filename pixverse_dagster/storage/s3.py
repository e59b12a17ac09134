"""Clips in an S3 bucket, through the boto3 client of dagster-aws's `S3Resource`."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, BinaryIO, ClassVar, cast
from urllib.parse import urlencode, urlsplit

from pydantic import Field

from pixverse_dagster.core.errors import PixverseError
from pixverse_dagster.core.layout import MARKER, gallery_prefix
from pixverse_dagster.core.secrets import remember_secret, remember_url
from pixverse_dagster.core.values import FrozenModel
from pixverse_dagster.storage.base import FromVariable, StoreSettings
from pixverse_dagster.storage.s3_pages import S3Pages
from pixverse_dagster.storage.signing import Credentials, LinkSigner, choose_seconds, encode_key

# Error codes by name, and as HTTP status: the answer to a HEAD request has no body that could name them.
_NOT_AS_EXPECTED = {"PreconditionFailed", "412"}
_CONFLICT = {"ConditionalRequestConflict", "409"}
_NOT_FOUND = {"NoSuchKey", "NotFound", "404"}
_DENIED = {"AccessDenied", "403"}
_MAX_ATTEMPTS = 5
_SMALL_BYTES = 1_000_000
_overwriting: set[tuple[str, str]] = set()
"""The endpoints and buckets that were seen, in this process, to overwrite what was put as new."""
_SECRET_VARIABLES = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
"""Where AWS's tools find what signs; the redaction is told, as an error of theirs might quote it."""


class S3ClientSettings(FrozenModel):
    """The region and endpoint of S3. Credentials are found as by AWS's own tools."""

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

    @classmethod
    def read_uri(cls, uri: str) -> bytes:
        """The bytes at an `s3://bucket/key` URL, with the region, endpoint and credentials of the environment."""
        # Imported here: 1 s, which those that are given a client need not pay.
        import boto3  # noqa: PLC0415  # pyright: ignore[reportMissingTypeStubs]

        bucket, _, key = uri.partition("://")[2].partition("/")
        # A session of its own, because boto3's default session is not thread-safe.
        client = cast("Any", boto3).session.Session().client("s3")
        try:
            with S3Store(client, bucket).open(key) as file:
                return file.read()
        finally:
            client.close()


class S3Store:
    """A store in a bucket, or below a prefix of one.

    A file is written by one conditional PUT, so that of several writers of a key exactly one succeeds. The digest that
    was computed during the download is sent as the checksum of the object; S3 refuses bytes that do not match it.

    Where the store's marker is put again with the same bytes, and the server takes it, it does not know the condition:
    from then on it is looked first whether a key is there. Rights to the prefix are enough for everything.
    """

    def __init__(self, client: Any, bucket: str, prefix: str = "") -> None:
        for name in _SECRET_VARIABLES:
            remember_secret(os.environ.get(name, ""))
        remember_url(str(client.meta.endpoint_url))
        self._client = client
        self._bucket = bucket
        self._prefix = prefix.strip("/") + "/" if prefix.strip("/") else ""
        if str(client.meta.endpoint_url).startswith("https:"):
            # Signing the payload would hash every byte a second time; TLS and the checksum protect it already. boto3
            # has a public option for this only when a client is made, and this one was made by the resource.
            s3: dict[str, Any] = {**(client.meta.config.s3 or {}), "payload_signing_enabled": False}
            client.meta.config.s3 = s3

    def __repr__(self) -> str:
        return f"S3Store('s3://{self._bucket}/{self._prefix}')"

    def put_new(self, key: str, path: Path, *, sha256: str, content_type: str) -> bool:
        """As `ClipStore.put_new`, by `If-None-Match: *`. Raises ClientError, or PixverseError if writers conflict.

        True for bytes that were there already shows that the server overwrites.
        """
        place = (str(self._client.meta.endpoint_url), self._bucket)
        there = self._digest(key) if key == MARKER or place in _overwriting else None
        if there not in {None, sha256}:
            return False
        for _ in range(_MAX_ATTEMPTS):
            try:
                self._put(key, path, sha256, content_type, IfNoneMatch="*")
            except self._client.exceptions.ClientError as error:
                code = _code(error)
                if code in _NOT_AS_EXPECTED:
                    return False
                if code not in _CONFLICT:
                    raise
            else:
                if there is not None:
                    _overwriting.add(place)
                return True
        raise PixverseError(f"{self.uri(key)}: other writers kept interfering. Nothing was lost; run again")

    def _digest(self, key: str) -> str | None:
        """The sha256 of an object, as it was put or, of a small one, as it is read; None if it is not there."""
        try:
            head = self._call(self._client.head_object, key)
        except FileNotFoundError:
            return None
        if (known := head.get("Metadata", {}).get("sha256")) or int(head["ContentLength"]) > _SMALL_BYTES:
            return str(known)
        with self.open(key) as file:
            return hashlib.sha256(file.read()).hexdigest()

    def replace(self, key: str, path: Path, *, was: str, sha256: str, content_type: str) -> bool:
        """As `ClipStore.replace`, by `If-Match` on what was read. Raises ClientError."""
        try:
            found = self._call(self._client.get_object, key)
        except FileNotFoundError:
            return False
        if hashlib.sha256(found["Body"].read()).hexdigest() != was:
            return False
        quoted = str(found["ETag"])
        # Ceph compares the tag without its quotes, and AWS's documents have it with them.
        for tag in (quoted, quoted.strip('"')):
            try:
                self._put(key, path, sha256, content_type, IfMatch=tag)
            except self._client.exceptions.ClientError as error:
                if _code(error) not in _NOT_AS_EXPECTED | _CONFLICT | _NOT_FOUND:
                    raise
            else:
                return True
        return False

    def _put(self, key: str, path: Path, sha256: str, content_type: str, **condition: str) -> None:
        with path.open("rb") as body:
            self._client.put_object(
                Bucket=self._bucket,
                Key=self._prefix + key,
                Body=body,
                ContentLength=path.stat().st_size,
                ContentType=content_type,
                ChecksumSHA256=base64.b64encode(bytes.fromhex(sha256)).decode(),
                Metadata={"sha256": sha256},
                **condition,
            )

    def delete(self, key: str) -> bool:
        """As `ClipStore.delete`. A bucket with versions only marks it as deleted, and keeps the bytes."""
        answer = self._client.delete_object(Bucket=self._bucket, Key=self._prefix + key)
        return bool(answer.get("DeleteMarker"))

    def open(self, key: str) -> BinaryIO:
        """As `ClipStore.open`: a stream, not seekable."""
        return cast("BinaryIO", self._call(self._client.get_object, key)["Body"])

    def size_bytes(self, key: str) -> int:
        """As `ClipStore.size_bytes`."""
        return int(self._call(self._client.head_object, key)["ContentLength"])

    def keys(self, prefix: str) -> Iterator[str]:
        """As `ClipStore.keys`."""
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket, Prefix=self._prefix + prefix
        )
        for page in pages:
            for item in page.get("Contents", []):
                yield str(item["Key"]).removeprefix(self._prefix)

    def told_apart(self, one: str, other: str) -> bool:
        """As `ClipStore.told_apart`: keys are compared byte for byte."""
        return one != other

    def uri(self, key: str) -> str:
        """The `s3://` URL."""
        return f"s3://{self._bucket}/{self._prefix}{key}"

    def sign(self, key: str, seconds: int) -> str:
        """As `SignsLinks.sign`: a presigned GET. It ends with the credentials, if these end before."""
        place = {"Bucket": self._bucket, "Key": self._prefix + key}
        # The older way of signing, which boto3 may still choose, is refused for objects under a key of one's own.
        self._client.meta.events.register_first("choose-signer.s3.GetObject", _sign_version_4, "pixverse-links")
        link = str(self._client.generate_presigned_url("get_object", Params=place, ExpiresIn=seconds))
        remember_url(link)
        return link

    def page(self, key: str) -> str | None:
        """The object's page in AWS's console; None for other S3 servers, whose consoles have no known address."""
        if not (urlsplit(str(self._client.meta.endpoint_url)).hostname or "").endswith(".amazonaws.com"):
            return None
        query = urlencode({"region": self._client.meta.region_name, "prefix": self._prefix + key})
        return f"https://console.aws.amazon.com/s3/object/{self._bucket}?{query}"

    def sign_links(self, seconds: float, now: float) -> LinkSigner:
        """As `SigningStore.sign_links`, with the credentials that the client has."""
        credentials = _credentials(self._client)
        lifetime = choose_seconds(seconds, credentials, now)
        # The client alone knows where the bucket is: part of the host, or of the path. Of its link, only that is taken.
        name = f"{self._prefix}x"
        link = self._client.generate_presigned_url("get_object", Params={"Bucket": self._bucket, "Key": name})
        parts = urlsplit(str(link))
        address = (
            f"{parts.scheme}://{parts.netloc}{parts.path.removesuffix(encode_key(name))}{encode_key(self._prefix)}"
        )
        return LinkSigner(address, str(self._client.meta.region_name), credentials, int(now), lifetime)

    def pages(self, pipeline: str) -> S3Pages:
        """As `ClipStore.pages`."""
        return S3Pages(self._client, self._bucket, self._prefix, self._prefix + gallery_prefix(pipeline))

    def scratch(self) -> None:
        """None: downloads go to the system's temporary folder."""

    def _call(self, operation: Any, key: str) -> Any:
        try:
            return operation(Bucket=self._bucket, Key=self._prefix + key)
        except self._client.exceptions.ClientError as error:
            if _code(error) in _NOT_FOUND or (_code(error) in _DENIED and not self._is_listed(key)):
                raise FileNotFoundError(self.uri(key)) from None
            raise

    def _is_listed(self, key: str) -> bool:
        """Whether a key that must not be read is there: without the right to list all, S3 answers alike for both."""
        whole = self._prefix + key
        found = self._client.list_objects_v2(Bucket=self._bucket, Prefix=whole, MaxKeys=1)
        return any(item["Key"] == whole for item in found.get("Contents", []))


def _credentials(client: Any) -> Credentials:
    """What a client signs with, and when that ends, as far as it says so."""
    # boto3 shows a client's credentials nowhere; those of the environment may be others than the resource was given.
    found = client._request_signer._credentials  # noqa: SLF001
    if found is None:
        raise PixverseError(
            "the store has no credentials to sign links with. Nothing was written and nothing was spent. Give it those "
            "of a role that may only read the pipeline's prefix"
        )
    frozen = found.get_frozen_credentials()
    remember_secret(frozen.secret_key)
    remember_secret(frozen.token or "")
    end = getattr(found, "_expiry_time", None)  # temporary ones, which botocore renews by itself, have it
    return Credentials(frozen.access_key, frozen.secret_key, frozen.token or "", end.timestamp() if end else None)


def _sign_version_4(signature_version: Any = None, **_: Any) -> str | None:
    return "s3v4-query" if str(signature_version).endswith("-query") else None


def _code(error: Any) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))
