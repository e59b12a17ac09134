"""What a hostile answer can mean: a short fact, a failed read or an unknown outcome, in bounded time and memory."""
# ruff: noqa: PT017 - whether an answer that was drawn is refused depends on it, and so does what is said

import json
import math
import time
import zlib
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixverse_dagster.core.errors import OutcomeUnknown, PixverseError, ReadFailed, Refused
from pixverse_dagster.core.outcomes import Accepted, Failed, Missing, PollFact, Running, Succeeded
from pixverse_dagster.media.decode import image_facts
from pixverse_dagster.providers.answers import items, mapping
from pixverse_dagster.providers.base import Provider, TaskRef
from pixverse_dagster_tests.harness.answers import PROVIDERS as ACCOUNTS
from pixverse_dagster_tests.harness.answers import UUID
from pixverse_dagster_tests.harness.hostile import examples
from pixverse_dagster_tests.harness.hostile_answers import MB, answer, bodies, bounded, keepable

STATUSES = st.sampled_from([200, 200, 200, 201, 204, 302, 400, 401, 402, 403, 404, 408, 409, 429, 500, 502, 503, 504])


def refuses(provider: Provider, body: Any) -> bool:
    """Whether a body says in the provider's own words that the task was not taken. Read from the contracts."""
    document = mapping(body)
    if provider.NAME == "pixwith":
        return str(document.get("code")).strip() in {"0", "2", "0.0", "-0.0", "2.0", "-0"}
    if provider.NAME == "runware":
        errors = [mapping(error) for error in items(document.get("errors"))]
        rows = [mapping(row) for row in items(document.get("data"))]
        known = any(row.get("taskUUID") == UUID for row in rows)
        whose = (UUID,) if known else (UUID, None)
        return any(error.get("taskUUID") in whose and error.get("code") for error in errors)
    return False


def as_json(content: bytes) -> Any:
    with suppress(ValueError, RecursionError):
        return json.loads(content)
    return None


SUBMITTED = pytest.mark.parametrize("provider", ACCOUNTS, ids=lambda provider: provider.NAME)


@SUBMITTED
def test_an_answer_to_a_submit_is_taken_for_free_only_where_it_refuses(provider: Provider):
    """Accepted with an id that can be kept, refused in so many words, or unknown; a short error, and no other."""

    @examples(250)
    @given(bodies(), STATUSES)
    def check(content: bytes, status: int) -> None:
        try:
            accepted = provider.read_submit(answer(status, content), UUID)
        except PixverseError as error:
            assert isinstance(error, Refused | OutcomeUnknown)
            assert len(str(error)) < 1000
            assert str(error).encode(errors="replace")
            if isinstance(error, Refused):
                explicit = status == 503 or 400 <= status < 500
                assert explicit or provider.NAME == "highway" or refuses(provider, as_json(content))
                assert not (200 <= status < 300 and provider.NAME == "highway")
                assert status != 408 or provider.NAME != "pixwith"
            return
        assert keepable(accepted.task_id)
        assert accepted.wait_seconds is None or 0 < accepted.wait_seconds < 1e9
        assert provider.poll([TaskRef(accepted.task_id)]).method in {"GET", "POST"}
        assert provider.NAME != "runware" or accepted == Accepted(UUID)

    check()


BAD_IDS = ["", " \x00", "a\x00b", "a\nb", "\ud800", "x" * 256, "x" * MB, "\x1b[2J", "a\u2028b"]


@pytest.mark.parametrize("task_id", BAD_IDS, ids=range(len(BAD_IDS)))
def test_a_task_id_that_no_ledger_can_keep_is_an_unknown_outcome(task_id: str):
    """PostgreSQL takes no NUL, no database half a surrogate pair: the row would break after it was paid for."""
    for provider, body in (
        (ACCOUNTS[0], {"task_id": task_id}),
        (ACCOUNTS[2], {"code": 1, "data": {"task_id": task_id}}),
    ):
        with pytest.raises(OutcomeUnknown):
            provider.read_submit(answer(200, json.dumps(body).encode()), UUID)


def judge(fact: PollFact, asked: int) -> None:
    """What is true of every fact that a poll tells."""
    if isinstance(fact, Succeeded):
        assert 1 <= len(fact.urls) <= max(asked, 4)
        assert all(url.startswith(("http://", "https://", "HTTP")) and len(url) < 70_000 for url in fact.urls)
        assert len(fact.seeds) in {0, len(fact.urls)}
        assert fact.cost_usd is None or (fact.cost_usd > 0 and math.isfinite(fact.cost_usd))
        assert len(fact.note) < 500
    elif isinstance(fact, Failed):
        assert len(fact.reason) <= 300
    elif isinstance(fact, Running):
        assert len(fact.note) < 500
        if fact.so_far:
            judge(fact.so_far, asked)
    else:
        assert fact == Missing()


@SUBMITTED
def test_an_answer_to_a_poll_is_a_short_fact_about_each_task_or_a_failed_read(provider: Provider):
    """Never another error, never a task that was not asked about, never more clips than a task can have."""

    @examples(250)
    @given(bodies(), STATUSES, st.integers(1, 4))
    def check(content: bytes, status: int, asked: int) -> None:
        try:
            facts = provider.read_poll(answer(status, content), [TaskRef(UUID, asked)])
        except ReadFailed as error:
            assert len(str(error)) < 1000
            return
        assert list(facts) == [UUID]
        judge(facts[UUID], asked)

    check()


def test_a_number_with_a_fraction_is_no_code_and_no_status():
    """Pixwith's 0.5 does not refuse and its 3.7 does not fail: only 0 and 3 do."""
    with pytest.raises(OutcomeUnknown):
        ACCOUNTS[2].read_submit(answer(200, b'{"code": 0.5, "message": "odd"}'), UUID)
    odd = answer(200, b'{"code": 1, "data": {"status": 3.7}}')
    assert isinstance(ACCOUNTS[2].read_poll(odd, [TaskRef(UUID)])[UUID], Running)


@SUBMITTED
def test_a_huge_answer_is_read_in_a_moment(provider: Provider):
    """Megabytes of clips, rows, errors or words: as many facts as a task has, in a few seconds of work."""
    url = "https://a.example/1.mp4"
    huge: list[Any] = [
        {"task": {"status": "TASK_STATUS_SUCCEED"}, "videos": [{"video_url": url}] * 60_000},
        {"code": 1, "data": {"status": 2, "result_urls": [url] * 100_000}},
        {"data": [{"taskUUID": UUID, "videoURL": url, "videoUUID": "1", "cost": 1e308}] * 30_000},
        {"data": [], "errors": [{"taskUUID": UUID, "code": "x" * 70}] * 25_000},
        {"task": {"status": "FAILED", "reason": "https://a.example/?" * 100_000}, "message": "x" * (4 * MB)},
    ]
    for body in huge:
        content, began = json.dumps(body).encode(), time.process_time()
        with suppress(OutcomeUnknown):
            provider.read_submit(answer(200, content), UUID)
        with suppress(ReadFailed):
            judge(provider.read_poll(answer(200, content), [TaskRef(UUID, 4)])[UUID], 4)
        assert time.process_time() - began < 5


def png(side: int) -> bytes:
    """A square of nothing, packed a thousandfold."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    packer = zlib.compressobj(1)
    rows = b"".join(packer.compress(bytes(1 + side * 4)) for _ in range(side)) + packer.flush()
    header = side.to_bytes(4, "big") * 2 + bytes([8, 6, 0, 0, 0])
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def test_an_image_that_unpacks_to_half_a_gigabyte_is_not_unpacked():
    """Two megabytes of PNG with 100 megapixels: no sides are read, and so it is refused."""
    data = png(10_000)
    assert len(data) < 3 * MB
    with bounded():
        facts = image_facts(data)
    assert facts is not None
    assert (facts.width, facts.height) == (0, 0)
