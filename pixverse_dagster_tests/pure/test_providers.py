"""Reading the providers' answers: every shape that is known, every error family, and shapes that nobody promised."""

from __future__ import annotations

import json
import random
from typing import Any

import httpx
import pytest

from pixverse_dagster.core.errors import OutOfCredit, PixverseError, RateLimited, ReadFailed, Refused, Unauthorized
from pixverse_dagster.core.lifecycle import FailureKind
from pixverse_dagster.core.outcomes import Accepted, Failed, Missing, PollFact, Running
from pixverse_dagster.providers import MODELS
from pixverse_dagster.providers.base import Provider, TaskRef
from pixverse_dagster.providers.highway.protocol import Highway
from pixverse_dagster.providers.pixwith import Pixwith
from pixverse_dagster.providers.runware.protocol import Runware
from pixverse_dagster_tests.harness.answers import (
    ACK,
    ATOMS,
    CLIP,
    HIGHWAY,
    HIGHWAY_POLLS,
    KEY,
    ONE,
    OTHER,
    PIXWITH,
    PIXWITH_POLLS,
    PROVIDERS,
    RUNWARE,
    RUNWARE_POLLS,
    SUBMITS,
    UUID,
    WORKING,
    clip,
    data,
    declined,
    oops,
    result,
    row,
    task,
)
from pixverse_dagster_tests.harness.counts import FULL


def answer(status: int, body: Any, **headers: str) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return httpx.Response(status, content=content, headers=headers)


def poll(provider: Provider, body: Any, *, outputs: int = 1, status: int = 200) -> PollFact:
    facts = provider.read_poll(answer(status, body), [TaskRef(UUID, outputs)])
    assert list(facts) == [UUID]
    return facts[UUID]


# Requests


def test_a_submit_is_one_post_with_the_providers_own_headers():
    """Method, address, key and body, as the pages have them."""
    v6, v45, v5 = (MODELS[name] for name in ("highway/pixverse-v6-i2v", "runware/pixverse-v4.5", "pixwith/pixverse-v5"))
    cases = [
        (HIGHWAY, v6, "https://api.highwayapi.ai/v3/async/pixverse-v6-i2v", "Authorization", f"Bearer {KEY}"),
        (RUNWARE, v45, "https://api.runware.ai/v1", "Authorization", f"Bearer {KEY}"),
        (PIXWITH, v5, "https://api.pixwith.ai/api/task/create", "Api-Key", KEY),
    ]
    for provider, model, url, header, value in cases:
        request = model.model_validate({"prompt": "a kite"} | ({"image": CLIP} if provider is HIGHWAY else {}))
        document = provider.envelope(request, {"prompt": "a kite"}, UUID)
        made = provider.submit(request, json.dumps(document).encode())
        assert (made.method, str(made.url), made.headers[header]) == ("POST", url, value)
        assert made.headers["Content-Type"] == "application/json"
        expected = [{"prompt": "a kite", "taskUUID": UUID}] if provider is RUNWARE else {"prompt": "a kite"}
        assert json.loads(made.content) == expected


@pytest.mark.parametrize("model", [name for name in MODELS if name.startswith("highway/")])
def test_each_highway_model_has_its_own_address(model: str):
    """The C1 path has PixVerse's name twice."""
    paths = {
        "highway/pixverse-v4.5-i2v": "/v3/async/pixverse-v4.5-i2v",
        "highway/pixverse-v6-i2v": "/v3/async/pixverse-v6-i2v",
        "highway/pixverse-c1-reference-to-video": "/v3/async/pixverse-pixverse-c1-reference-to-video",
    }
    assert f"/v3/async/{MODELS[model].ENDPOINT}" == paths[model]


def test_a_poll_asks_as_the_pages_say():
    """A GET with the id, a POST of getResponse for many, a POST with the id; an id is data, not part of a path."""
    strange = "a b&c=d/../e"
    get = HIGHWAY.poll([TaskRef(strange)])
    assert (get.method, get.url.path, get.url.params["task_id"]) == ("GET", "/v3/async/task-result", strange)
    many = RUNWARE.poll([TaskRef(UUID), TaskRef(OTHER)])
    assert json.loads(many.content) == [{"taskType": "getResponse", "taskUUID": task} for task in (UUID, OTHER)]
    post = PIXWITH.poll([TaskRef(strange)])
    assert (post.method, post.url.path) == ("POST", "/api/task/get")
    assert json.loads(post.content) == {"task_id": strange}


def test_a_base_url_replaces_the_providers_host():
    """With or without a slash at its end; the key never shows in a repr."""
    for base in ("http://127.0.0.1:1/highway", "http://127.0.0.1:1/highway/"):
        provider = Highway(KEY, base)
        assert str(provider.poll([TaskRef("x")]).url) == "http://127.0.0.1:1/highway/v3/async/task-result?task_id=x"
        assert KEY not in repr(provider)


def test_a_model_is_named_after_its_provider():
    """The part before the slash finds the account that a row is sent with."""
    for provider in PROVIDERS:
        assert {model.provider() for model in provider.MODELS} == {provider.NAME}


@pytest.mark.parametrize("key", ["schlüssel-s3cret", "s3cret\n", "s3\x00cret", "s3cret\u2028"])
def test_a_key_that_no_header_can_carry_is_refused_at_once(key: str):
    """Otherwise an HTTP library would refuse it later, with the key in its message."""
    for provider in (Highway, Runware, Pixwith):
        with pytest.raises(Unauthorized) as refused:
            provider(key)
        assert "cret" not in repr(refused.value)


def label(case: tuple[Provider, int, Any, Any]) -> str:
    return f"{case[0].NAME} {case[1]} {str(case[2])[:40]}"


@pytest.mark.parametrize(("provider", "status", "body", "expected"), SUBMITS, ids=map(label, SUBMITS))
def test_an_answer_to_a_submit_means_one_thing(
    provider: Provider, status: int, body: Any, expected: Accepted | type[PixverseError]
):
    """Accepted, explicitly refused and not charged, or unknown: what is not clearly a refusal may have been paid."""
    if isinstance(expected, Accepted):
        assert provider.read_submit(answer(status, body), UUID) == expected
        return
    with pytest.raises(PixverseError) as raised:
        provider.read_submit(answer(status, body), UUID)
    assert type(raised.value) is expected, raised.value
    # Every message says what became of the money: a refusal is surely free, an unknown outcome is never called so.
    assert ("Not charged" in str(raised.value)) == isinstance(raised.value, Refused)


def test_a_refusal_says_what_the_provider_said():
    """Text, code and parameter reach the person; keys and query strings do not."""
    message = "resolution not supported, see https://docs.example/x?token=s3cret (Bearer s3cret)"
    said = "https://docs.example/x?… (Bearer …"
    bodies = [
        (HIGHWAY, oops("INVALID_REQUEST_BODY", message), ["INVALID_REQUEST_BODY", "resolution", said, "more"]),
        (RUNWARE, declined("invalidWidth", message=message, parameter=["width"]), ["invalidWidth", said, "['width']"]),
        (PIXWITH, {"code": 0, "message": message}, ["resolution not supported", said]),
    ]
    for provider, body, words in bodies:
        with pytest.raises(Refused) as refused:
            provider.read_submit(answer(400, body), UUID)
        assert [word for word in words if word not in str(refused.value)] == [], refused.value
        assert "s3cret" not in repr(refused.value)


@pytest.mark.parametrize("provider", PROVIDERS, ids=str)
@pytest.mark.parametrize(
    ("header", "seconds"),
    [("7", 7), ("0.5", 0.5), ("86400", 3600), ("0", None), ("-1", None), ("nan", None), ("inf", None), ("soon", None),
     ("Wed, 21 Oct 2026 07:28:00 GMT", None), (None, None)],
)  # fmt: skip
def test_retry_after_is_read_in_seconds(provider: Provider, header: str | None, seconds: float | None):
    """At most an hour; the date form and nonsense count as absent."""
    headers = {} if header is None else {"Retry-After": header}
    for status in (429, 503):
        with pytest.raises(RateLimited) as limited:
            provider.read_submit(answer(status, {"code": 0, "message": "x"}, **headers), UUID)
        assert limited.value.retry_after_seconds == seconds


@pytest.mark.parametrize(
    ("body", "fact"), [case[1:] for case in HIGHWAY_POLLS], ids=[case[0] for case in HIGHWAY_POLLS]
)
def test_highway_results_are_judged_by_status_and_presence_of_a_url(body: Any, fact: PollFact):
    """Four documented words and their synonyms; progress decides nothing."""
    assert poll(HIGHWAY, body) == fact


SAFETY = [
    "contentPolicyViolation", "providerContentPolicyViolation", "sensitiveContentDetected", "unsafeContentDetected",
    "nsfwContentDetected", "promptBlocked", "imageBlocked", "moderationFailed",
]  # fmt: skip


MODERATED: list[tuple[str, int, Any, PollFact]] = [
    (code, 1, declined(code), Failed(FailureKind.MODERATED, f"Sorry: {code}.")) for code in SAFETY
]


@pytest.mark.parametrize(
    ("outputs", "body", "fact"),
    [case[1:] for case in [*RUNWARE_POLLS, *MODERATED]],
    ids=[case[0] for case in [*RUNWARE_POLLS, *MODERATED]],
)
def test_runware_results_are_gathered_by_task_and_counted_once(outputs: int, body: Any, fact: PollFact):
    """Rows and errors of the task alone, until as many have ended as were asked for."""
    assert poll(RUNWARE, body, outputs=outputs) == fact


def test_one_runware_poll_tells_many_tasks_apart():
    """Each gets its own fact out of one merged answer, whatever the others' fate."""
    tasks = [TaskRef(name) for name in ("done", "failed", "working", "silent", "gone")]
    body = data(
        clip(taskUUID="done"),
        row("processing", task="working"),
        errors=declined("promptBlocked", "failed")["errors"] + declined("taskNotFound", "gone")["errors"],
    )
    assert RUNWARE.read_poll(answer(200, body), tasks) == {
        "done": ONE,
        "failed": Failed(FailureKind.MODERATED, "Sorry: promptBlocked."),
        "working": Running(),
        "silent": Missing(),
        "gone": Missing(),
    }


@pytest.mark.parametrize(
    ("outputs", "body", "fact"), [case[1:] for case in PIXWITH_POLLS], ids=[case[0] for case in PIXWITH_POLLS]
)
def test_pixwith_results_are_judged_by_their_number(outputs: int, body: Any, fact: PollFact):
    """1, 2 or 3, as number or text; anything else keeps the task running."""
    assert poll(PIXWITH, body, outputs=outputs) == fact


# Polls that say nothing about the task


CALL_CODES = [
    "invalidApiKey", "insufficientCredits", "apiRateLimitExceeded", "serviceUnavailable", "unauthorized", "forbidden",
    "permissionDenied", "tokenExpired", "accountSuspended", "paymentRequired", "quotaExceeded", "insufficientBalance",
    "rateLimitExceeded", "RATE_LIMIT_EXCEEDED", "tooManyRequests", "internalServerError", "standardError",
    "requestTimeout", "timeout", "apiKeyNotFound", "maxQueueReached", "401", "429", "503",
]  # fmt: skip
OTHERS_404: list[Any] = [
    b"", b"404 page not found", b"<html><body>404 task not found</body></html>", b"task not found", [], {},
    {"message": "Not Found"}, {"detail": "Not Found"}, {"message": "no Route matched with those values"},
    {"code": 404, "reason": "NOT_FOUND", "message": "page not found"},
    {"status": 404, "error": "Not Found", "path": "/v3/async/task-result"},
    {"message": "The path /v3/async/task-result was not found"}, {"message": "Cannot GET /v3/async/task-result"},
    {"reason": "MODEL_NOT_FOUND", "message": "Sorry."},
    {"reason": "MODEL_NOT_FOUND", "message": "task model not found"},
]  # fmt: skip
UNREAD: list[tuple[Provider, int, Any]] = [
    *[(provider, status, b"") for provider in PROVIDERS for status in (400, 401, 403, 429, 500, 502, 503, 504)],
    *[(provider, 200, b"<html>maintenance</html>") for provider in PROVIDERS],
    *[(provider, 200, []) for provider in PROVIDERS],
    *[(provider, 302, b"") for provider in PROVIDERS],
    (HIGHWAY, 403, oops("INVALID_API_KEY")),
    (HIGHWAY, 500, task("TASK_STATUS_FAILED")),
    (HIGHWAY, 200, oops("SERVICE_NOT_AVAILABLE")),
    (HIGHWAY, 200, {"task": {}}),
    (HIGHWAY, 200, {"task": None, "videos": []}),
    (HIGHWAY, 200, {"status": "FAILED"}),
    (RUNWARE, 401, declined("invalidApiKey", None)),
    (RUNWARE, 401, declined("invalidApiKey", UUID)),
    (RUNWARE, 402, declined("insufficientCredits", UUID)),
    (RUNWARE, 403, declined("forbidden", UUID)),
    (RUNWARE, 429, declined("RateLimit", UUID)),
    (RUNWARE, 500, declined("internalServerError", UUID)),
    (RUNWARE, 503, declined("serviceUnavailable", UUID)),
    (RUNWARE, 400, declined("invalidTaskUUID", None)),
    (RUNWARE, 200, declined("serviceUnavailable", None)),
    (RUNWARE, 200, {"errors": []}),
    # Errors of the call that name a task are not about the task.
    *[(RUNWARE, status, declined(code, UUID)) for status in (200, 400) for code in CALL_CODES],
    *[(RUNWARE, status, {"errors": declined(code)["errors"]}) for status in (200, 400) for code in CALL_CODES[:4]],
    *[(RUNWARE, 200, {"error": declined(code)["errors"][0]}) for code in CALL_CODES[:4]],
    (RUNWARE, 200, data(row("error", error={"code": "serviceUnavailable", "message": "Sorry."}))),
    (RUNWARE, 200, {"errors": [{"message": "Invalid API key", "taskUUID": UUID}]}),
    (RUNWARE, 200, {"error": "unauthorized"}),
    (RUNWARE, 404, b"<html>404 Not Found</html>"),
    (RUNWARE, 404, declined("routeNotFound", None)),
    (RUNWARE, 404, declined("endpointNotFound", UUID)),
    (RUNWARE, 400, declined("invalidTaskUUID", UUID, taskType="getResponse")),
    (HIGHWAY, 200, oops("RATE_LIMIT_EXCEEDED") | task("TASK_STATUS_FAILED", reason="rate limit")),
    (HIGHWAY, 200, {"code": 401, "message": "Sorry."} | task("TASK_STATUS_FAILED")),
    (HIGHWAY, 200, {"error": {"code": "FAILED_TO_AUTH"}} | task("TASK_STATUS_FAILED")),
    (HIGHWAY, 200, task("TASK_STATUS_FAILED", task_id=OTHER)),
    (HIGHWAY, 200, task("TASK_STATUS_SUCCEED", CLIP, task_id=OTHER)),
    *[(HIGHWAY, 404, body) for body in OTHERS_404],
    *[(HIGHWAY, status, oops("", "task not found, or no access")) for status in (401, 402, 403, 408, 429)],
    *[(PIXWITH, 404, body) for body in OTHERS_404],
    *[
        (PIXWITH, 200, {"code": 0, "message": message})
        for message in (
            "user not found",
            "model does not exist",
            "Page not found",
            "Not found",
            "Too many requests",
            "Credits not enough",
            "/api/task/get not found",
        )
    ],
    (PIXWITH, 200, {**result(3), "code": 0, "message": "Credits not enough"}),
    (PIXWITH, 200, {"code": 1, "data": {"task_id": OTHER, "status": 3}}),
    (PIXWITH, 200, {"code": 1, "data": {"task_id": OTHER, "status": 2, "result_urls": [CLIP]}}),
    (PIXWITH, 200, {"code": 2, "msg": "Authentication failed"}),
    (PIXWITH, 200, {"code": 0, "message": "Invalid API KEY"}),
    (PIXWITH, 200, {"code": 0, "message": "API KEY not found"}),
    (PIXWITH, 200, {"code": 2, "message": "user not found"}),
    (PIXWITH, 200, {"code": 0, "message": "system error"}),
    (PIXWITH, 500, result(3)),
    (PIXWITH, 404, {"code": 0, "message": "no route"}),
]


@pytest.mark.parametrize(("provider", "status", "body"), UNREAD, ids=[label((*case, 0)) for case in UNREAD])
def test_a_failed_read_says_nothing_about_the_task(provider: Provider, status: int, body: Any):
    """A wrong key, a rate limit, a broken server, a page of HTML: the task is polled again, never ended."""
    with pytest.raises(ReadFailed):
        poll(provider, body, status=status)


@pytest.mark.parametrize("status", [401, 402, 403, 429, 500, 503])
def test_a_refused_poll_says_nothing_of_the_task_that_its_body_names(status: int):
    """The status is about the account, the pace or the service, and so is whatever stands beside it."""
    for code in ("inferenceError", "contentPolicyViolation", "taskNotFound"):
        with pytest.raises(ReadFailed):
            poll(RUNWARE, declined(code), status=status)


def test_a_task_that_highway_does_not_know_is_missing():
    """404 on a poll, in its own words: true for a moment after a submit, later perhaps lost."""
    for said in (
        oops("NOT_FOUND"),
        oops("TASK_NOT_FOUND"),
        {"message": "task t1 does not exist"},
        {"error": {"message": "Task not found"}},
        {"message": "任务不存在"},
    ):
        assert poll(HIGHWAY, said, status=404) == Missing()


def test_what_a_call_error_says_of_some_tasks_says_nothing_of_the_others():
    """In a batch: who has a row has its fact; who was named by an error of the call, or not at all, is still at it."""
    tasks = [TaskRef(name) for name in ("done", "failed", "limited", "silent", "gone")]
    errors = [
        *declined("rateLimitExceeded", "limited")["errors"],
        *declined("inferenceError", "failed")["errors"],
        *declined("taskNotFound", "gone")["errors"],
    ]
    facts = RUNWARE.read_poll(answer(200, data(clip(taskUUID="done"), errors=errors)), tasks)
    assert (facts["done"], facts["gone"]) == (ONE, Missing())
    assert isinstance(facts["failed"], Failed)
    for name in ("limited", "silent"):
        assert isinstance(facts[name], Running), name
        assert "rateLimitExceeded" in str(facts[name])
    with pytest.raises(ReadFailed):
        RUNWARE.read_poll(answer(200, declined("rateLimitExceeded", "limited")), tasks)


@pytest.mark.parametrize("envelope", ["error", "errors"])
def test_one_error_is_read_like_a_list_of_one(envelope: str):
    """`{"error": {…}}` and `{"errors": {…}}` say what `{"errors": [{…}]}` says, to a submit and to a poll."""

    def single(code: str) -> dict[str, Any]:
        return {envelope: declined(code)["errors"][0]}

    assert poll(RUNWARE, single("taskNotFound")) == Missing()
    assert poll(RUNWARE, single("promptBlocked"), status=400) == Failed(FailureKind.MODERATED, "Sorry: promptBlocked.")
    assert RUNWARE.read_submit(answer(400, single("conflictTaskUUID")), UUID) == Accepted(UUID)
    for code, expected in (("invalidApiKey", Unauthorized), ("insufficientCredits", OutOfCredit)):
        with pytest.raises(expected):
            RUNWARE.read_submit(answer(200, single(code)), UUID)
    with pytest.raises(Unauthorized, match="INVALID_API_KEY"):
        HIGHWAY.read_submit(answer(403, {"error": {"reason": "INVALID_API_KEY", "message": "bad key"}}), UUID)
    with pytest.raises(OutOfCredit):
        PIXWITH.read_submit(answer(400, {"error": {"code": 0, "message": "Credits not enough"}}), UUID)


WORDS = [
    "task", "data", "errors", "videos", "extra", "seed", "status", "reason", "eta", "video_url", "task_id", "taskUUID",
    "videoURL", "videoUUID", "resultIndex", "cost", "code", "message", "msg", "parameter", "error", "result_urls",
    "estimated_time", "metadata", "details",
]  # fmt: skip


def shape(rng: random.Random, depth: int = 0) -> Any:
    """A random JSON value made of the providers' own words."""
    kind = rng.random()
    if depth > 4 or kind < 0.3:
        return rng.choice(ATOMS)
    if kind < 0.55:
        return [shape(rng, depth + 1) for _ in range(rng.randint(0, 3))]
    return {rng.choice(WORDS): shape(rng, depth + 1) for _ in range(rng.randint(0, 6))}


def read_both(provider: Provider, response: httpx.Response) -> None:
    """Read it as either answer: only our own errors, and only messages of a sane length, may come out."""
    said = list[str]()
    try:
        assert isinstance(provider.read_submit(response, UUID), Accepted)
    except PixverseError as error:
        said.append(str(error))
    try:
        assert list(provider.read_poll(response, [TaskRef(UUID, 2)])) == [UUID]
    except ReadFailed as error:
        said.append(str(error))
    assert max(map(len, said), default=0) < 1000


@pytest.mark.parametrize("provider", PROVIDERS, ids=str)
def test_no_shape_of_answer_breaks_the_reading(provider: Provider):
    """Hundreds of random bodies of the providers' words: a fact or an error of ours, never anything else."""
    rng = random.Random(provider.NAME)  # noqa: S311 - draws test data
    for _ in range(2000 if FULL else 700):
        body = shape(rng)
        if rng.random() < 0.7:
            body = {rng.choice(["data", "task", "errors"]): body, rng.choice(["data", "errors", "code"]): shape(rng, 3)}
        read_both(provider, answer(rng.choice([200, 200, 200, 400, 404, 429, 500, 503]), body))


@pytest.mark.parametrize("provider", PROVIDERS, ids=str)
def test_known_shapes_with_one_wrong_value_do_not_break_the_reading(provider: Provider):
    """Every value of every known answer, replaced by each hostile one in turn."""
    known: list[Any] = [
        task("TASK_STATUS_SUCCEED", CLIP),
        task("TASK_STATUS_FAILED", reason="x"),
        oops("X"),
    ]
    known += [
        data(clip(0), WORKING),
        declined("inferenceError"),
        ACK,
        result(2, CLIP),
        result(3),
    ]
    hostile: list[Any] = [*ATOMS, [], {}, [[]], [{}], {"a": {}}, [UUID]]

    def variants(value: Any) -> list[Any]:
        inner: list[Any] = []
        if isinstance(value, dict):
            for key, item in value.items():  # pyright: ignore[reportUnknownVariableType]
                inner += [{**value, key: changed} for changed in variants(item)]
        if isinstance(value, list):
            for n, item in enumerate(value):  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
                inner += [[*value[:n], changed, *value[n + 1 :]] for changed in variants(item)]
        return [*hostile, *inner]

    for body in known:
        for variant in variants(body):
            read_both(provider, answer(200, variant))


@pytest.mark.parametrize("provider", PROVIDERS, ids=str)
def test_deep_nesting_does_not_break_the_reading(provider: Provider):
    """At any depth, around the limit of what Python itself can read and write, wherever the nest is."""
    for depth in (10, 100, 900, 1000, 1500, 3000, 20_000, 100_000):
        nest = b"[" * depth + b"]" * depth
        status = b'{"task":{"status":' + nest + b'},"code":1,"data":{"status":' + nest + b"}}"
        rows = b'{"data":[{"taskUUID":"' + UUID.encode() + b'","status":' + nest + b',"cost":' + nest + b"}]}"
        errors = b'{"errors":[{"taskUUID":"' + UUID.encode() + b'","message":' + nest + b',"parameter":' + nest + b"}]}"
        for body in (nest, status, rows, errors, b'{"message":' + nest + b',"reason":' + nest + b"}"):
            for code in (200, 400):
                read_both(provider, answer(code, body))


@pytest.mark.parametrize(
    ("status", "message", "missing"),
    [(400, "the task does not exist", True), (400, "Task not found", True), (500, "the task does not exist", False)],
)
def test_highway_may_say_in_words_that_a_task_is_not_there(status: int, message: str, missing: bool):  # noqa: FBT001
    """Only an explicit client error says so; a server error says nothing about the task."""
    response = answer(status, {"code": status, "reason": "INVALID_REQUEST_BODY", "message": message})
    if missing:
        assert HIGHWAY.read_poll(response, [TaskRef("t")]) == {"t": Missing()}
    else:
        with pytest.raises(ReadFailed):
            HIGHWAY.read_poll(response, [TaskRef("t")])


def test_a_fingerprint_is_of_a_key_and_of_a_host_that_is_not_the_providers_own():
    """HighwayAPI's two hosts are one service, a simulator's port does not matter; any other host has other accounts."""

    def fingerprint(provider: type[Provider], url: str | None = None, key: str = "k", salt: str = "s") -> str:
        return provider(key, url).fingerprint(salt)

    own = fingerprint(Highway)
    for url in (
        "https://api.highwayapi.ai/",
        "https://api.jiekou.ai",
        "http://127.0.0.1:1/highway",
        "http://localhost:2",
    ):
        assert fingerprint(Highway, url) == own, url
    others = [
        fingerprint(Highway, "https://proxy.example.org"),
        fingerprint(Highway, "https://api.jiekou.ai.example.org"),
        fingerprint(Runware, "https://api.jiekou.ai"),
        fingerprint(Highway, key="another"),
        fingerprint(Highway, salt="another"),
    ]
    assert len({own, *others}) == len(others) + 1
    assert fingerprint(Highway, "https://proxy.example.org:1/a") == fingerprint(Highway, "https://proxy.example.org/b")


@pytest.mark.parametrize(
    ("provider", "answer", "named"),
    [
        (Runware, {"data": [], "errors": [{"code": "inferenceError", "taskUUID": "id"}]}, True),
        (Highway, {"task": {"task_id": "id", "status": "TASK_STATUS_FAILED"}}, True),
        (Highway, {"task": {"status": "TASK_STATUS_FAILED"}}, False),
        (Pixwith, {"code": 1, "data": {"task_id": "id", "status": 3}}, True),
        (Pixwith, {"code": 1, "data": {"status": 3}}, False),
    ],
)
def test_a_failure_says_whether_it_names_the_task(provider: type[Provider], answer: Any, named: object):
    """Only one that does shows whose the task is."""
    fact = provider("key").read_poll(httpx.Response(200, json=answer), [TaskRef("id")])["id"]
    assert isinstance(fact, Failed)
    assert fact.names_task is named
