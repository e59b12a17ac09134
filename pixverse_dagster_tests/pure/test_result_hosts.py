"""What an answer of a result host without the file means: gone, not asked again, or asked again; never more."""

from __future__ import annotations

import httpx
import pytest

from pixverse_dagster.core.errors import ReadFailed, ResultExpired
from pixverse_dagster.transport.download import NotTheFile, read_refusal

PAGE = b"<!DOCTYPE html><html><head><title>Log in to the hotel's network</title></head><body>Hello</body></html>"
XHTML = b'<?xml version="1.0"?>\n<HTML xmlns="http://www.w3.org/1999/xhtml"><body>Hello</body></HTML>'
GCS = b"<?xml version='1.0' encoding='UTF-8'?><Error><Code>ExpiredToken</Code><Message>s3cret</Message></Error>"
ANSWERS: list[tuple[int, bytes, type[ReadFailed]]] = [
    *((status, body, ResultExpired) for status in (404, 410) for body in (b"", b"gone", GCS, PAGE)),
    *((status, body, ResultExpired) for status in (400, 401, 403) for body in (b"", b"no", GCS, b'{"error": 1}')),
    *((status, body, NotTheFile) for status in (400, 401, 403) for body in (PAGE, XHTML, b"  \n" + PAGE.lower())),
    *((status, body, NotTheFile) for status in (302, 402, 405, 407, 418, 451, 511) for body in (b"", PAGE)),
    *((status, body, ReadFailed) for status in (408, 425, 429, 500, 502, 503, 504, 522) for body in (b"", PAGE)),
]


@pytest.mark.parametrize(("status", "body", "kind"), ANSWERS)
def test_only_the_host_itself_says_that_a_file_is_gone(status: int, body: bytes, kind: type[ReadFailed]):
    """A page of a proxy, a network or a firewall says nothing about the file; what is passing is asked for again."""
    answer = httpx.Response(status, content=body, request=httpx.Request("GET", "https://clips.example/1.mp4"))
    assert type(read_refusal(answer, "https://clips.example/1.mp4")) is kind


def test_what_the_host_said_is_told_without_what_it_may_quote():
    """The code of an error and the title of a page; a signature that it repeats is in neither."""
    said = [str(read_refusal(httpx.Response(400, content=body), "https://clips.example/1.mp4")) for body in (GCS, PAGE)]
    assert "HTTP 400 (ExpiredToken)" in said[0]
    assert "HTTP 400 with a web page (Log in to the hotel's network)" in said[1]
    assert "s3cret" not in said[0]


def test_no_more_than_the_head_of_an_answer_is_read():
    """However long the page is."""
    read = 0

    def endless() -> object:
        nonlocal read
        while read < 10_000_000:
            read += 1000
            yield b" " * 1000

    read_refusal(httpx.Response(403, content=endless()), "somewhere")  # pyright: ignore[reportArgumentType]
    assert read < 20_000
