"""The address of an image: a link that is signed again is the same address, and another image never is."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixverse_dagster.core.addresses import unsigned_url
from pixverse_dagster.media.images import ImageSource
from pixverse_dagster.transport.download import Downloader, DownloadRules
from pixverse_dagster_tests.harness.hostile import examples
from pixverse_dagster_tests.harness.images import HIGHWAY

HOST = "https://b.example.org/kite.png"
HEX, JUNK = "0123456789abcdef" * 4, "Zm9vYmFyYmF6cXV4cXV1eA%3D%3D"

SIGNED = {
    "AWS 4": "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIA%2F20260101%2Feu%2Fs3%2Faws4_request&X-Amz-Date="
    f"20260101T000000Z&X-Amz-Expires=3600&X-Amz-SignedHeaders=host&X-Amz-Security-Token={JUNK}&X-Amz-Signature={HEX}",
    "AWS 4, JavaScript": f"X-Amz-Content-Sha256=UNSIGNED-PAYLOAD&X-Amz-Signature={HEX}&x-id=GetObject",
    "AWS 4, lower case": f"x-amz-date=20260101T000000Z&x-amz-signature={HEX}",
    "AWS 2": f"AWSAccessKeyId=AKIA&Signature={JUNK}&Expires=1700000000&x-amz-security-token={JUNK}",
    "Google 4": f"X-Goog-Algorithm=GOOG4-RSA-SHA256&X-Goog-Credential=a%40b&X-Goog-Date=1&X-Goog-Signature={HEX}",
    "Google 2": f"GoogleAccessId=a%40b&Expires=1700000000&Signature={JUNK}",
    "Google's CDN": "Expires=1700000000&KeyName=k1&Signature=abc",
    "Azure": f"sv=2023-11-03&st=2026-01-01T00%3A00%3A00Z&se=2026-01-02&sr=b&sp=r&spr=https&sig={JUNK}",
    "Azure, for a user": "skoid=1&sktid=2&skt=3&ske=4&sks=b&skv=2023-11-03&sv=2023-11-03&sr=b&sp=r&sip=1.2.3.4&sig=a",
    "CloudFront": f"Expires=1700000000&Signature={JUNK}~&Key-Pair-Id=K2JC",
    "CloudFront, with a policy": f"Policy={JUNK}&Signature={JUNK}&Key-Pair-Id=K2JC&Hash-Algorithm=SHA256",
    "Alibaba 1": f"OSSAccessKeyId=LTAI&Expires=1700000000&Signature={JUNK}&security-token={JUNK}",
    "Alibaba 4": "x-oss-signature-version=OSS4-HMAC-SHA256&x-oss-credential=a&x-oss-date=1&x-oss-expires=9"
    f"&x-oss-signature={HEX}",
    "Alibaba's CDN": f"auth_key=1700000000-0-0-{HEX[:32]}",
    "Tencent": "q-sign-algorithm=sha1&q-ak=AKID&q-sign-time=1%3B2&q-key-time=1%3B2&q-header-list=host&q-url-param-list="
    f"&q-signature={HEX[:40]}&x-cos-security-token={JUNK}",
    "Huawei": f"AccessKeyId=AK&Expires=1700000000&Signature={JUNK}",
    "Volcengine": f"X-Tos-Algorithm=TOS4&X-Tos-Date=1&X-Tos-Signature={HEX}",
    "ByteDance": "x-expires=1700000000&x-signature=abc%3D",
    "Qiniu": f"e=1700000000&token=ak:{HEX[:28]}",
    "Discord": f"ex=65f1a2b3&is=65e1a2b3&hm={HEX}",
    "Meta": "oh=00_AfAbcdefghijklmnop&oe=65F1A2B3",
    "nginx": "md5=Zm9vYmFyYmF6cXV4cXV1eA&expires=1700000000",
    "Bunny": f"token={JUNK}&expires=1700000000",
    "imgix": f"expires=1700000000&s={HEX[:32]}",
    "Akamai": f"hdnts=exp=1700000000~acl=/*~hmac={HEX}",
    "Cloudflare": f"verify=1700000000-{JUNK}",
}  # fmt: skip


@pytest.mark.parametrize("query", SIGNED.values(), ids=SIGNED)
def test_a_signature_is_no_part_of_the_address(query: str):
    """With it or without, before or after what else is there: one address; and the rest of the query stays."""
    assert unsigned_url(f"{HOST}?{query}") == HOST
    for url in (f"{HOST}?id=17&{query}&v=a%20b", f"{HOST}?v=a%20b&{query}&id=17"):
        assert unsigned_url(url) == f"{HOST}?id=17&v=a%20b"
    assert unsigned_url(f"{HOST}?id=17&{query}") != unsigned_url(f"{HOST}?id=18&{query}")


KEPT = [
    "id=17",
    "Expires=1700000000&id=17",
    "Expires=1700000000",
    "Signature=abc",
    "token=abcdefghijklmnopqrstuvwxyz",
    "alt=media&token=7d5f3c1e-1111-2222-3333-444455556666",
    "hash=0123456789abcdef0123456789abcdef",
    "sig=abcdefghijklmnopqrst",
    "se=4&sp=3&sr=2&sv=1",
    "e=5&token=kite",
    "s=17&t=18",
    "X-Amz-Expires=60",
    "file=1700000000-0-0-0123456789abcdef",
    "x-oss-process=image%2Fresize,w_200",
    "versionId=3",
    "flag",
    "q=",
]


@pytest.mark.parametrize("query", KEPT)
def test_what_is_no_whole_signature_is_what_the_image_is_called(query: str):
    """A parameter of one alone may be the name of the image: nothing is lost without the rest of the set."""
    assert unsigned_url(f"{HOST}?{query}") == f"{HOST}?{query}"


@pytest.mark.parametrize(
    "process", ["x-oss-process=image/resize,w_200", "imageMogr2/thumbnail/200x", "versionId=3", "w=2"]
)
@pytest.mark.parametrize("way", ["Alibaba 1", "Alibaba 4", "Tencent", "AWS 4", "imgix"])
def test_what_a_signed_url_asks_for_stays(way: str, process: str):
    """Another size or version of a file is another image."""
    assert unsigned_url(f"{HOST}?{SIGNED[way]}&{process}") == f"{HOST}?{process}"


def jwt(**claims: object) -> str:
    """A token as storage services hand out, with a signature that is another each time."""
    parts = [json.dumps(part).encode() for part in ({"alg": "HS256"}, claims)]
    return ".".join([*(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts), f"sig{len(parts[1])}"])


def test_a_token_that_is_a_jwt_counts_by_what_it_claims_but_for_its_times():
    """It is signed anew each time, and may be all that says which image is meant."""
    one, again, other = (jwt(url=url, iat=at, exp=at + 60) for url, at in (("a.png", 1), ("a.png", 1000), ("b.png", 1)))
    assert unsigned_url(f"{HOST}?token={one}") == unsigned_url(f"{HOST}?token={again}")
    assert unsigned_url(f"{HOST}?token={one}") != unsigned_url(f"{HOST}?token={other}")
    for broken in ("eyJ.x.y", "eyJhbGci.!!!.x", "eyJhbGci.bnVsbA.x", "eyJhbGci.W10.x"):
        assert unsigned_url(f"{HOST}?token={broken}") == f"{HOST}?token={broken}"


SAME = [
    ("HTTPS://B.Example.org:443/kite.png", HOST),
    (f"{HOST}#top", HOST),
    (f"{HOST}?", HOST),
    ("https://user:pass@b.example.org/kite.png", HOST),
    (f"{HOST}?b=2&a=1&&b=1", f"{HOST}?a=1&b=2&b=1"),
    ("http://[::1]:8080/x?a=1", "http://[::1]:8080/x?a=1"),
    ("http://[::1/x", "http://[::1/x"),
]


@pytest.mark.parametrize(("url", "address"), SAME)
def test_one_address_has_one_spelling(url: str, address: str):
    """Case of the host, default port, user and fragment are no part of it, and the order of parameters is none."""
    assert unsigned_url(url) == address


def test_an_address_is_its_own_address():
    """Whatever the query is made of; and a path is never touched."""

    @examples(200)
    @given(st.lists(st.sampled_from([*KEPT, *SIGNED.values()]) | st.text(max_size=8), max_size=4))
    def check(parts: list[str]) -> None:
        once = unsigned_url(f"{HOST}?{'&'.join(parts)}".replace("#", ""))
        assert unsigned_url(once) == once
        assert once.startswith(HOST)

    check()


def test_an_unread_image_counts_by_its_address_without_the_signature():
    """So a table whose links are signed anew for each reading asks for nothing new, and `?id=17` is not `?id=18`."""
    downloader = Downloader(DownloadRules())
    book = ImageSource(".", downloader, read_urls=False)
    one, again, other = (
        book.check(f"{HOST}?id={n}&X-Amz-Signature={s}", HIGHWAY) for n, s in ((17, "1"), (17, "2"), (18, "1"))
    )
    downloader.close()
    assert one == again
    assert one.digest == one.address != other.digest
    assert "17" not in one.source
