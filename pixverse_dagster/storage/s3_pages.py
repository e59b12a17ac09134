"""The files of a gallery in a bucket."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from typing import Any

from pixverse_dagster.storage.pages import PageFile, cache_control, check_path, content_type

_NOT_AS_EXPECTED = {"PreconditionFailed", "412", "ConditionalRequestConflict", "409", "NoSuchKey", "NotFound", "404"}
_NOT_FOUND = {"NoSuchKey", "NotFound", "404"}


class S3Pages:
    """A gallery below a prefix of a bucket. `root` is the prefix of the store whose pictures it copies."""

    def __init__(self, client: Any, bucket: str, root: str, prefix: str) -> None:
        self._client = client
        self._bucket = bucket
        self._root = root
        self._prefix = prefix

    def read(self, path: str) -> PageFile | None:
        """As `PageFiles.read`. The version is the object's ETag."""
        try:
            found = self._client.get_object(Bucket=self._bucket, Key=self._key(path))
        except self._client.exceptions.ClientError as error:
            if _code(error) in _NOT_FOUND:
                return None
            raise
        return PageFile(found["Body"].read(), str(found["ETag"]))

    def write(self, path: str, data: bytes) -> None:
        """As `PageFiles.write`."""
        self._put(path, data)

    def write_if(self, path: str, data: bytes, version: str | None) -> bool:
        """As `PageFiles.write_if`, by `If-Match` or `If-None-Match`."""
        # Ceph compares the tag without its quotes, and AWS's documents have it with them.
        tags = [{"IfNoneMatch": "*"}] if version is None else [{"IfMatch": version}, {"IfMatch": version.strip('"')}]
        for condition in tags:
            try:
                self._put(path, data, **condition)
            except self._client.exceptions.ClientError as error:
                if _code(error) not in _NOT_AS_EXPECTED:
                    raise
            else:
                return True
        return False

    def copy(self, key: str, path: str) -> bool:
        """As `PageFiles.copy`, within the bucket."""
        try:
            self._client.copy_object(
                Bucket=self._bucket,
                Key=self._key(path),
                CopySource={"Bucket": self._bucket, "Key": self._root + key},
                MetadataDirective="REPLACE",
                ContentType=content_type(path),
                CacheControl=cache_control(path),
            )
        except self._client.exceptions.ClientError as error:
            if _code(error) in _NOT_FOUND:
                raise FileNotFoundError(f"s3://{self._bucket}/{self._root}{key}") from None
            raise
        return True

    def delete(self, path: str) -> None:
        """As `PageFiles.delete`."""
        self._client.delete_object(Bucket=self._bucket, Key=self._key(path))

    def list(self) -> Iterator[tuple[str, float]]:
        """As `PageFiles.list`."""
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=self._prefix)
        for page in pages:
            for item in page.get("Contents", []):
                yield str(item["Key"]).removeprefix(self._prefix), item["LastModified"].timestamp()

    def uri(self, path: str) -> str:
        """The `s3://` URL."""
        return f"s3://{self._bucket}/{self._key(path)}"

    def _key(self, path: str) -> str:
        return self._prefix + check_path(path)

    def _put(self, path: str, data: bytes, **condition: str) -> None:
        self._client.put_object(
            Bucket=self._bucket,
            Key=self._key(path),
            Body=data,
            ContentType=content_type(path),
            CacheControl=cache_control(path),
            ChecksumSHA256=base64.b64encode(hashlib.sha256(data).digest()).decode(),
            **condition,
        )


def _code(error: Any) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))
