"""Links that a bucket's server takes, and that end: signed as AWS's own tool does it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from pixverse_dagster.core.errors import PixverseError
from pixverse_dagster.storage.local import LocalStore
from pixverse_dagster.storage.s3 import S3Store
from pixverse_dagster.storage.signing import Credentials, LinkSigner, SigningStore, encode_key
from pixverse_dagster_tests.harness.buckets import s3_client
from pixverse_dagster_tests.harness.putting import putting
from pixverse_dagster_tests.harness.servers import S3Server, delete_bucket, new_bucket

# Their types are unknown.
boto3: Any = import_module("boto3")
auth: Any = import_module("botocore.auth")

SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"  # noqa: S105 - the example of AWS's documents
KEYS = ["films/clips/a%2Fb/0123456789ab-t1/1.mp4", "films/clips/k-1_2.x/ab-t2-a2/4.webm", "a b/é'()*!~.jpg"]
HOSTS = ["https://bucket.example.org:443/", "http://127.0.0.1:7480/bucket/team%20x/"]


@pytest.fixture
def bucket(s3_server: S3Server) -> Iterator[tuple[Any, str]]:
    """A client, and a bucket of the test's own."""
    client, name = s3_client(s3_server), new_bucket(s3_server)
    yield client, name
    client.close()
    delete_bucket(s3_server, name)


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("token", ["", "a/token+of=a session"])
@pytest.mark.parametrize("host", HOSTS)
def test_a_link_is_what_awss_own_tool_makes_of_it(key: str, token: str, host: str):
    """The same signature for odd keys, with a session's token, and with a port."""
    request: Any = import_module("botocore.awsrequest").AWSRequest(method="GET", url=host + encode_key(key))
    given = import_module("botocore.credentials").ReadOnlyCredentials("AKIAIOSFODNN7EXAMPLE", SECRET, token or None)
    auth.S3SigV4QueryAuth(given, "s3", "eu-west-1", expires=60).add_auth(request)
    url = str(request.url)
    theirs = parse_qs(urlsplit(url).query)
    at = datetime.strptime(theirs["X-Amz-Date"][0], "%Y%m%dT%H%M%S%z")
    signs = Credentials("AKIAIOSFODNN7EXAMPLE", SECRET, token)
    signer = LinkSigner(host, "eu-west-1", signs, int(at.timestamp()), 60)
    assert signer.sign(key) == theirs["X-Amz-Signature"][0]
    ours = urlsplit(signer.link(key))
    assert parse_qs(ours.query) == theirs
    assert ours.path == urlsplit(url).path


@pytest.mark.parametrize("prefix", ["", "/teams/a b+é/"])
def test_a_server_takes_the_links_until_they_end(bucket: tuple[Any, str], prefix: str, tmp_path: Path):
    """Also those of odd keys, and parts of a file, as a player asks for them; another key's signature opens nothing."""
    store = S3Store(*bucket, prefix)
    put = putting(store, tmp_path)
    now = time.time()
    signer, ended = store.sign_links(600, now), store.sign_links(600, now - 700)
    for key in KEYS[:2]:
        put(key, key.encode())
        assert httpx.get(signer.link(key)).content == key.encode()
        part = httpx.get(signer.link(key), headers={"Range": "bytes=2-5"})
        assert (part.status_code, part.content) == (206, key.encode()[2:6])
        assert httpx.get(ended.link(key)).status_code == 403
    swapped = signer.link(KEYS[0]).replace(signer.sign(KEYS[0]), signer.sign(KEYS[1]))
    assert httpx.get(swapped).status_code == 403
    assert httpx.get(signer.link(KEYS[0]).partition("?")[0]).status_code == 403


def test_links_end_with_the_credentials_of_the_client(monkeypatch: pytest.MonkeyPatch):
    """Temporary credentials end sooner than what was asked for; so do the links, and they say so."""
    end = datetime.now(UTC) + timedelta(hours=2)
    words = {"ACCESS_KEY_ID": "k", "SECRET_ACCESS_KEY": SECRET, "SESSION_TOKEN": "a-session"}
    for name, value in {**words, "CREDENTIAL_EXPIRATION": end.isoformat()}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    client = boto3.session.Session().client("s3", "us-east-1")
    signer = S3Store(client, "reels").sign_links(86_400, time.time())
    assert int(end.timestamp()) - 1 <= signer.until <= end.timestamp()
    assert "X-Amz-Security-Token=a-session" in signer.query


def test_the_links_of_a_bucket_that_is_a_host_are_to_that_host(s3_server: S3Server):
    """Where the client puts the bucket into the host's name; whatever signature it is set to make itself."""
    settings = import_module("botocore.config").Config(signature_version="s3", s3={"addressing_style": "virtual"})
    client = s3_server.client(endpoint_url="https://s3.example.org", config=settings)
    signer = S3Store(client, "reels", "a").sign_links(60, time.time())
    assert (signer.origin, signer.path) == ("https://reels.s3.example.org", "/a/")
    assert signer.query.startswith("X-Amz-Algorithm=AWS4-HMAC-SHA256&")


def test_without_credentials_nothing_is_signed():
    """A client that was given none."""
    client = boto3.session.Session().client("s3", "us-east-1")
    with pytest.raises(PixverseError, match="no credentials to sign links with"):
        S3Store(client, "reels").sign_links(60, time.time())


def test_a_folder_has_no_links(tmp_path: Path):
    """So that who asks for them is told, before anything is written."""
    assert not isinstance(LocalStore(tmp_path), SigningStore)
