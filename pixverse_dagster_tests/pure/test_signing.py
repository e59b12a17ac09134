"""Links with a lifetime: signed as AWS's own documents have it, and never for longer than what signs them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from pixverse_dagster.core.errors import PixverseError
from pixverse_dagster.reports.gallery.app import load_app
from pixverse_dagster.reports.gallery.presigned import presigned_page
from pixverse_dagster.storage.signing import LONGEST_SECONDS, Credentials, LinkSigner, choose_seconds, encode_key

SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"  # noqa: S105 - the example of AWS's documents
SIGNS = Credentials("AKIAIOSFODNN7EXAMPLE", SECRET)
AT = int(datetime(2013, 5, 24, tzinfo=UTC).timestamp())
NOW = 1_700_000_000.0
KEYS = ["1.mp4", "films/clips/a%2Fb/0123456789ab-t1/1.mp4", "films/clips/k-1_2.x/ab-t2-a2/4.webm", "a b/é'()*!~.jpg"]


def test_a_link_is_that_of_awss_documents():
    """The worked example of Signature Version 4 in a query."""
    signer = LinkSigner("https://examplebucket.s3.amazonaws.com/", "us-east-1", SIGNS, AT, 86_400)
    assert signer.sign("test.txt") == "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
    assert signer.until == AT + 86_400


def test_all_links_have_all_in_common_but_path_and_signature():
    """Thousands of them are stored as 64 letters each."""
    signer = LinkSigner("https://b.example.org/p/", "eu-west-1", SIGNS, AT, 60)
    for key in KEYS:
        front = f"{signer.origin}{signer.path}{encode_key(key)}?{signer.query}&X-Amz-Signature="
        assert signer.link(key) == front + signer.sign(key)
        assert len(signer.sign(key)) == 64


def test_no_prompt_ends_the_script_that_it_stands_in():
    """In the page of one file, what people wrote is data between two tags of ours."""
    signer = LinkSigner("https://b.example.org/p/", "eu-west-1", SIGNS, AT, 60)
    said = "</script><script>alert(1)</script><!-- <script>"
    documents = [("index", {"name": "films", "open": "c-1"}), ("c-1", [{"id": "kite/1", "prompt": said}])]
    page = presigned_page(documents, load_app(), signer, "pixverse-dagster gallery").decode()
    assert "alert(1)" in page
    assert said not in page
    assert page.count("<script") == page.count("</script>") == len(documents) + 1


def test_the_origin_is_that_of_the_address_and_nothing_else():
    """What becomes part of a page's policy is scheme, host and port."""

    def origin(address: str) -> str:
        return LinkSigner(address, "r", SIGNS, AT, 60).origin

    assert origin("https://user:word@b.example.org:443/x/;script-src *") == "https://b.example.org"
    assert origin("http://127.0.0.1:7480/b/") == "http://127.0.0.1:7480"


@pytest.mark.parametrize(
    ("asked", "end", "token", "expected"),
    [
        (60, None, "", 60),
        (30 * 86_400, None, "", LONGEST_SECONDS),
        (86_400, NOW + 1_800, "t", 1_800),
        (600, NOW + 1_800, "t", 600),
        (30 * 86_400, NOW + 20 * 86_400, "t", LONGEST_SECONDS),
        (86_400, None, "t", 3_600),
    ],
)
def test_links_live_as_asked_or_less(asked: float, end: float | None, token: str, expected: int):
    """The least of what was asked, seven days, and the end of the credentials; an hour where that is not known."""
    assert choose_seconds(asked, Credentials("k", SECRET, token, end), NOW) == expected


def test_credentials_that_have_ended_sign_nothing():
    """Rather no page than one whose pictures are refused."""
    with pytest.raises(PixverseError, match=r"have ended.*Renew the credentials"):
        choose_seconds(60, Credentials("k", SECRET, "t", NOW), NOW)


def test_what_signs_is_not_shown():
    """Neither in a traceback nor in a log."""
    signer = LinkSigner("https://b.example.org/", "r", Credentials("k", SECRET, "a-session-token"), AT, 60)
    said: Callable[[object], str] = repr
    assert SECRET not in said(signer)
    assert "a-session-token" not in said(signer)
