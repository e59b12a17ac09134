"""Answers of the providers, each with what it means: every shape that is known, every error family, and odd ones."""

from __future__ import annotations

from typing import Any

from pixverse_dagster.core.errors import OutcomeUnknown, OutOfCredit, PixverseError, RateLimited, Refused, Unauthorized
from pixverse_dagster.core.lifecycle import FailureKind
from pixverse_dagster.core.outcomes import Accepted, Failed, Missing, PollFact, Running, Succeeded
from pixverse_dagster.providers.base import Provider
from pixverse_dagster.providers.highway.protocol import Highway
from pixverse_dagster.providers.pixwith import Pixwith
from pixverse_dagster.providers.runware.protocol import Runware

UUID = "0f6f1f0e-9f7b-4f5e-8c0a-6d2b7c1e9a33"
OTHER = "11111111-2222-4333-8444-555555555555"


CLIP, CLIP2 = "https://vm.runware.ai/video/1.mp4?sig=s3cret", "https://vm.runware.ai/video/2.mp4?sig=s3cret"


KEY = "k3y-of-the-account"


HIGHWAY, RUNWARE, PIXWITH = Highway(KEY), Runware(KEY), Pixwith(KEY)


PROVIDERS: tuple[Provider, ...] = (HIGHWAY, RUNWARE, PIXWITH)


# Answers to a submit


ACK = {"data": [{"taskType": "videoInference", "taskUUID": UUID}]}


def declined(code: str, task: str | None = UUID, **more: Any) -> dict[str, Any]:
    """Runware's error list."""
    error: dict[str, Any] = {"code": code, "message": f"Sorry: {code}.", "taskType": "videoInference", **more}
    return {"data": [], "errors": [error if task is None else error | {"taskUUID": task}]}


def oops(reason: str, message: str = "Sorry.") -> dict[str, Any]:
    """HighwayAPI's error body."""
    return {"code": 400, "reason": reason, "message": message, "metadata": {"details": "more"}}


SUBMITS: list[tuple[Provider, int, Any, Accepted | type[PixverseError]]] = [
    (HIGHWAY, 200, {"task_id": "t1"}, Accepted("t1")),
    (HIGHWAY, 201, {"task_id": "t1", "more": 1}, Accepted("t1")),
    (HIGHWAY, 200, {"code": 0, "data": {"task_id": "t1"}}, Accepted("t1")),
    (HIGHWAY, 400, oops("INVALID_REQUEST_BODY"), Refused),
    (HIGHWAY, 401, oops("FAILED_TO_AUTH"), Unauthorized),
    (HIGHWAY, 402, oops("", "recharge"), OutOfCredit),
    (HIGHWAY, 403, oops("INVALID_API_KEY"), Unauthorized),
    (HIGHWAY, 403, oops("ACCESS_DENY"), Unauthorized),
    (HIGHWAY, 403, oops("NOT_ENOUGH_BALANCE"), OutOfCredit),
    (HIGHWAY, 404, oops("MODEL_NOT_FOUND"), Refused),
    (HIGHWAY, 404, b"404 page not found", Refused),
    (HIGHWAY, 429, oops("RATE_LIMIT_EXCEEDED"), RateLimited),
    (HIGHWAY, 429, oops("TOKEN_LIMIT_EXCEEDED"), RateLimited),
    (HIGHWAY, 429, b"slow down", RateLimited),
    (HIGHWAY, 503, oops("SERVICE_NOT_AVAILABLE"), RateLimited),
    (HIGHWAY, 503, b"<html>no healthy upstream</html>", OutcomeUnknown),
    (HIGHWAY, 503, b"", OutcomeUnknown),
    (HIGHWAY, 500, oops("INTERNAL"), OutcomeUnknown),
    (HIGHWAY, 500, {"task_id": "t1"}, OutcomeUnknown),
    (HIGHWAY, 502, b"<html>bad gateway</html>", OutcomeUnknown),
    (HIGHWAY, 504, b"", OutcomeUnknown),
    (HIGHWAY, 408, oops("TIMEOUT"), OutcomeUnknown),
    (HIGHWAY, 307, b"", OutcomeUnknown),
    (HIGHWAY, 200, oops("INVALID_REQUEST_BODY"), OutcomeUnknown),
    (HIGHWAY, 200, {"task_id": ""}, OutcomeUnknown),
    (HIGHWAY, 200, {"task_id": None}, OutcomeUnknown),
    (HIGHWAY, 200, {"task_id": 7}, Accepted("7")),
    (HIGHWAY, 200, {}, OutcomeUnknown),
    (HIGHWAY, 200, [], OutcomeUnknown),
    (HIGHWAY, 200, b"", OutcomeUnknown),
    (HIGHWAY, 200, b'{"task_id": "t1"', OutcomeUnknown),
    (HIGHWAY, 204, b"", OutcomeUnknown),
    (RUNWARE, 200, ACK, Accepted(UUID)),
    (RUNWARE, 200, {**ACK, "errors": []}, Accepted(UUID)),
    (RUNWARE, 200, ACK | {"errors": declined("invalidSeed", OTHER)["errors"]}, Accepted(UUID)),
    (RUNWARE, 200, ACK | {"errors": declined("invalidSeed", None)["errors"]}, Accepted(UUID)),
    (RUNWARE, 400, declined("conflictTaskUUID"), Accepted(UUID)),
    (RUNWARE, 400, declined("conflictTaskUUID", None), Accepted(UUID)),
    (RUNWARE, 200, declined("conflictTaskUUID"), Accepted(UUID)),
    (RUNWARE, 400, declined("conflictTaskUUID", OTHER), Refused),
    (RUNWARE, 400, declined("invalidPositivePrompt", parameter="positivePrompt"), Refused),
    (RUNWARE, 400, declined("unsupportedParameter", parameter=["width", "height"]), Refused),
    (RUNWARE, 400, declined("missingParameter", None), Refused),
    (RUNWARE, 200, declined("unknownModel"), Refused),
    (RUNWARE, 400, declined("promptBlocked"), Refused),
    (RUNWARE, 200, declined("contentPolicyViolation"), Refused),
    (RUNWARE, 401, declined("invalidApiKey", None), Unauthorized),
    (RUNWARE, 200, declined("missingApiKey", None), Unauthorized),
    (RUNWARE, 403, declined("permissionDenied", None), Unauthorized),
    (RUNWARE, 403, b"forbidden", Refused),
    (RUNWARE, 402, declined("insufficientCredits"), OutOfCredit),
    (RUNWARE, 200, declined("insufficientBalance"), OutOfCredit),
    (RUNWARE, 402, b"", OutOfCredit),
    (RUNWARE, 404, declined("unknownModel"), Refused),
    (RUNWARE, 429, declined("providerRateLimitExceeded"), RateLimited),
    (RUNWARE, 429, declined("maxQueueReached"), RateLimited),
    (RUNWARE, 200, declined("providerRateLimitExceeded"), RateLimited),
    (RUNWARE, 429, b"", RateLimited),
    (RUNWARE, 503, declined("serviceUnavailable"), RateLimited),
    (RUNWARE, 503, b"<html></html>", OutcomeUnknown),
    (RUNWARE, 500, declined("internalServerError"), OutcomeUnknown),
    (RUNWARE, 500, declined("invalidSomething"), OutcomeUnknown),
    (RUNWARE, 502, b"bad gateway", OutcomeUnknown),
    (RUNWARE, 200, declined("inferenceError"), OutcomeUnknown),
    (RUNWARE, 400, declined("rateLimitExceeded"), RateLimited),
    (RUNWARE, 400, declined("RATE_LIMIT_EXCEEDED"), RateLimited),
    (RUNWARE, 200, {"error": declined("apiRateLimitExceeded", None)["errors"][0]}, RateLimited),
    (RUNWARE, 400, {"error": declined("conflictTaskUUID")["errors"][0]}, Accepted(UUID)),
    (RUNWARE, 200, ACK | {"errors": declined("rateLimitExceeded")["errors"]}, OutcomeUnknown),
    (RUNWARE, 200, {"data": [{"taskType": "videoInference", "taskUUID": OTHER}]}, OutcomeUnknown),
    (RUNWARE, 200, {"data": []}, OutcomeUnknown),
    (RUNWARE, 200, {"data": {"taskUUID": UUID}}, OutcomeUnknown),
    (RUNWARE, 200, b"ok", OutcomeUnknown),
    (PIXWITH, 200, {"code": 1, "message": "success", "data": {"task_id": "t1", "estimated_time": 150}},
     Accepted("t1", 150)),
    (PIXWITH, 200, {"code": "1", "msg": "success", "data": {"task_id": "t1", "estimated_time": "90"}},
     Accepted("t1", 90)),
    (PIXWITH, 200, {"code": 1, "data": {"task_id": "t1", "estimated_time": 0}}, Accepted("t1")),
    (PIXWITH, 200, {"code": 1, "data": {"task_id": "t1"}}, Accepted("t1")),
    (PIXWITH, 200, {"code": 0, "message": "Invalid API KEY"}, Unauthorized),
    (PIXWITH, 200, {"code": 2, "msg": "Authentication failed"}, Unauthorized),
    (PIXWITH, 200, {"code": 2}, Unauthorized),
    (PIXWITH, 401, {"code": 0, "message": "no"}, Unauthorized),
    (PIXWITH, 200, {"code": 0, "message": "Credits not enough"}, OutOfCredit),
    (PIXWITH, 402, {"code": 0, "message": "pay"}, OutOfCredit),
    (PIXWITH, 200, {"code": 0, "message": "Invalid image format"}, Refused),
    (PIXWITH, 200, {"code": "0", "msg": "Invalid image url"}, Refused),
    (PIXWITH, 400, {"code": 0, "message": "Invalid duration"}, Refused),
    (PIXWITH, 404, b"not found", Refused),
    (PIXWITH, 200, {"code": 0, "message": "Too many requests, try again later"}, RateLimited),
    (PIXWITH, 429, {"code": 0, "message": "slow down"}, RateLimited),
    (PIXWITH, 503, {"code": 0, "message": "maintenance"}, RateLimited),
    (PIXWITH, 503, b"<html>Server busy, try again later</html>", OutcomeUnknown),
    (PIXWITH, 503, b"<html>invalid api key or credit</html>", OutcomeUnknown),
    (PIXWITH, 500, {"code": 0, "message": "Credits not enough"}, OutcomeUnknown),
    (PIXWITH, 500, b"", OutcomeUnknown),
    (PIXWITH, 502, b"rate limit", OutcomeUnknown),
    (PIXWITH, 408, b"try again later", OutcomeUnknown),
    (PIXWITH, 302, b"too many redirects", OutcomeUnknown),
    (PIXWITH, 200, {"code": 1, "message": "success", "data": {}}, OutcomeUnknown),
    (PIXWITH, 200, {"code": 1, "message": "success", "data": {"task_id": 7}}, Accepted("7")),
    (PIXWITH, 200, {"code": 3, "message": "what"}, OutcomeUnknown),
    (PIXWITH, 200, {"task_id": "t1"}, OutcomeUnknown),
    (PIXWITH, 200, [], OutcomeUnknown),
    (PIXWITH, 200, b"<html>credits</html>", OutcomeUnknown),
]  # fmt: skip


# Answers to a poll: HighwayAPI


def task(status: Any, *urls: Any, **more: Any) -> dict[str, Any]:
    """HighwayAPI's result document."""
    videos = [{"video_url": url, "video_url_ttl": "0", "video_type": "mp4"} for url in urls]
    return {
        "task": {"task_id": UUID, "status": status, "reason": "", "eta": 0, "progress_percent": 0, **more},
        "extra": {"seed": "41"},
        "images": [],
        "audios": [],
        "videos": videos,
    }


DONE = Succeeded((CLIP,), seeds=(41,))
FAILED = Failed(FailureKind.PROVIDER_ERROR, "no reason given")
HIGHWAY_POLLS: list[tuple[str, Any, PollFact]] = [
    ("done", task("TASK_STATUS_SUCCEED", CLIP), DONE),
    ("synonym", task("TASK_STATUS_SUCCEEDED", CLIP), DONE),
    ("synonym", task("SUCCESS", CLIP), DONE),
    ("lower case", task("task_status_succeed", CLIP), DONE),
    ("progress 0 when done", task("TASK_STATUS_SUCCEED", CLIP, progress_percent=0), DONE),
    ("under data", {"code": 0, "data": task("TASK_STATUS_SUCCEED", CLIP)}, DONE),
    ("two clips", task("TASK_STATUS_SUCCEED", CLIP, CLIP2), Succeeded((CLIP, CLIP2), seeds=(41, 41))),
    ("a number as seed", task("TASK_STATUS_SUCCEED", CLIP) | {"extra": {"seed": 41}}, DONE),
    ("no seed", task("TASK_STATUS_SUCCEED", CLIP) | {"extra": {}}, Succeeded((CLIP,), seeds=(None,))),
    ("no extra", task("TASK_STATUS_SUCCEED", CLIP) | {"extra": None}, Succeeded((CLIP,), seeds=(None,))),
    ("unknown status with a clip", task("TASK_STATUS_ARCHIVED", CLIP), DONE),
    ("no status with a clip", task(None, CLIP), DONE),
    ("done without a clip", task("TASK_STATUS_SUCCEED"), Running("finished, but no video URL yet")),
    ("done with an empty URL", task("TASK_STATUS_SUCCEED", ""), Running("finished, but no video URL yet")),
    ("done with no web URL", task("TASK_STATUS_SUCCEED", "file:///x"), Running("finished, but no video URL yet")),
    ("done with a null", task("TASK_STATUS_SUCCEED", None), Running("finished, but no video URL yet")),
    ("a bad URL beside a good one", task("TASK_STATUS_SUCCEED", "", CLIP), DONE),
    ("queued", task("TASK_STATUS_QUEUED"), Running()),
    ("processing", task("TASK_STATUS_PROCESSING", progress_percent=37), Running()),
    ("an eta", task("TASK_STATUS_PROCESSING", eta=12), Running("eta 12 s")),
    ("running", task("TASK_STATUS_RUNNING"), Running()),
    ("pending", task("TASK_STATUS_PENDING"), Running()),
    ("processing with a clip already", task("TASK_STATUS_PROCESSING", CLIP), Running()),
    ("unknown status", task("TASK_STATUS_REVIEWING"), Running("unknown status 'TASK_STATUS_REVIEWING'")),
    ("no status", task(None), Running("unknown status 'None'")),
    ("failed", task("TASK_STATUS_FAILED", reason="out of memory"), Failed(FailureKind.PROVIDER_ERROR, "out of memory")),
    ("failed, without a word", task("TASK_STATUS_FAILED"), FAILED),
    ("failed, null reason", task("TASK_STATUS_FAILED", reason=None), FAILED),
    ("failed, word in error", task("TASK_STATUS_FAILED", error="boom"), Failed(FailureKind.PROVIDER_ERROR, "boom")),
    ("failed, word in message", task("TASK_STATUS_FAILED", message="boom"), Failed(FailureKind.PROVIDER_ERROR, "boom")),
    ("moderated", task("TASK_STATUS_FAILED", reason="input rejected by content policy"),
     Failed(FailureKind.MODERATED, "input rejected by content policy")),
    ("moderated", task("TASK_STATUS_FAILED", reason="NSFW detected"), Failed(FailureKind.MODERATED, "NSFW detected")),
    ("canceled", task("TASK_STATUS_CANCELED"), FAILED),
    ("cancelled", task("TASK_STATUS_CANCELLED"), FAILED),
    ("a secret in the reason", task("TASK_STATUS_FAILED", reason="fetch https://a.example/x?k=s3cret failed"),
     Failed(FailureKind.PROVIDER_ERROR, "fetch https://a.example/x?… failed")),
]  # fmt: skip


# Answers to a poll: Runware


def row(status: str | None = "success", n: int | None = None, task: str = UUID, **more: Any) -> dict[str, Any]:
    """One result item. `n` numbers it as resultIndex."""
    head: dict[str, Any] = {"taskType": "videoInference", "taskUUID": task}
    head |= {} if status is None else {"status": status}
    return head | ({} if n is None else {"resultIndex": n}) | more


def clip(n: int | None = None, **more: Any) -> dict[str, Any]:
    """One finished item."""
    return row("success", n) | {"videoUUID": f"v{n}", "videoURL": CLIP, "seed": 7, "cost": 0.15, **more}


def data(*rows: Any, errors: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    return {"data": list(rows)} | ({} if errors is None else {"errors": errors})


ONE = Succeeded((CLIP,), 0.15, (7,))
WORKING = row("processing", progress=40)
RUNWARE_POLLS: list[tuple[str, int, Any, PollFact]] = [
    ("done", 1, data(clip()), ONE),
    ("done, without a status", 1, data(row(None, videoURL=CLIP, cost=0.15, seed=7)), ONE),
    ("a string as seed", 1, data(clip(seed="7")), ONE),
    ("no seed", 1, data(clip(seed=None)), Succeeded((CLIP,), 0.15, (None,))),
    ("cost 0 is not known", 1, data(clip(cost=0)), Succeeded((CLIP,), None, (7,))),
    ("no cost", 1, data(row(videoURL=CLIP, seed=7)), Succeeded((CLIP,), None, (7,))),
    ("a string as cost", 1, data(clip(cost="0.15")), ONE),
    ("a mad cost", 1, data(clip(cost=10**400)), Succeeded((CLIP,), None, (7,))),
    ("processing", 1, data(WORKING), Running()),
    ("pending", 1, data(row("pending")), Running()),
    ("unknown status", 1, data(row("reviewing")), Running("unknown status 'reviewing'")),
    ("unknown status with a clip", 1, data(clip(status="archived")), ONE),
    ("success without a clip", 1, data(row("success")), Running()),
    ("success with no web URL", 1, data(row("success", videoURL="x.mp4")), Running()),
    ("no row", 1, data(), Missing()),
    ("another task's row", 1, data(clip(taskUUID=OTHER)), Missing()),
    ("another task's error", 1, data(WORKING, errors=declined("inferenceError", OTHER)["errors"]), Running()),
    ("an error of nobody's", 1, data(WORKING, errors=declined("standardError", None)["errors"]), Running()),
    ("not found", 1, declined("taskNotFound"), Missing()),
    ("not found or failed", 1, declined("taskFailedOrNotFound"), Missing()),
    ("expired", 1, declined("taskExpired"), Missing()),
    ("failed", 1, declined("inferenceError"), Failed(FailureKind.PROVIDER_ERROR, "Sorry: inferenceError.")),
    ("failed, in its row", 1, data(row("error", error={"code": "inferenceError", "message": "Sorry."})),
     Failed(FailureKind.PROVIDER_ERROR, "Sorry.")),
    ("failed, flat in its row", 1, data(row("error", code="providerError", message="Sorry.")),
     Failed(FailureKind.PROVIDER_ERROR, "Sorry.")),
    ("failed, parameter named", 1, declined("timeoutProvider", parameter="positivePrompt"),
     Failed(FailureKind.PROVIDER_ERROR, "Sorry: timeoutProvider. (parameter positivePrompt)")),
    ("failed, parameters listed", 1, declined("providerError", parameter=["a", "b"]),
     Failed(FailureKind.PROVIDER_ERROR, "Sorry: providerError. (parameter ['a', 'b'])")),
    ("failed, no message", 1, {"errors": [{"code": "inferenceError", "taskUUID": UUID}]},
     Failed(FailureKind.PROVIDER_ERROR, "inferenceError")),
    ("cumulative repeats count once", 2, data(clip(0), clip(0), row("processing")),
     Running("1 of 2 outputs so far", ONE)),
    ("repeats by videoUUID count once", 2, data(clip(None, videoUUID="a"), clip(None, videoUUID="a")),
     Running("1 of 2 outputs so far", ONE)),
    ("repeats with a fresh URL count once", 2, data(clip(0), clip(0, videoURL=CLIP2), row("processing")),
     Running("1 of 2 outputs so far", Succeeded((CLIP2,), 0.15, (7,)))),
    ("repeats by videoUUID with a fresh URL", 2,
     data(clip(None, videoUUID="a"), clip(None, videoUUID="a", videoURL=CLIP2)),
     Running("1 of 2 outputs so far", Succeeded((CLIP2,), 0.15, (7,)))),
    ("both, told apart by index and in its order", 2, data(clip(1, videoURL=CLIP2, seed=8), clip(0)),
     Succeeded((CLIP, CLIP2), 0.3, (7, 8))),
    ("both, told apart by UUID", 2, data(clip(None, videoUUID="a"), clip(None, videoUUID="b", videoURL=CLIP2)),
     Succeeded((CLIP, CLIP2), 0.3, (7, 7))),
    ("one cost unknown", 2, data(clip(0), clip(1, videoURL=CLIP2, cost=0)), Succeeded((CLIP, CLIP2), None, (7, 7))),
    ("more than asked", 1, data(clip(0), clip(1, videoURL=CLIP2)), ONE),
    ("one done, one failed", 2, data(clip(0), errors=declined("inferenceError")["errors"]),
     Succeeded((CLIP,), 0.15, (7,), "1 of 2 outputs; failed: Sorry: inferenceError.")),
    ("one done, one failed in its row", 2, data(clip(0), row("error", 1, error={"code": "x", "message": "Sorry."})),
     Succeeded((CLIP,), 0.15, (7,), "1 of 2 outputs; failed: Sorry.")),
    ("one failed, one still at it", 2, data(row("processing"), errors=declined("inferenceError")["errors"]),
     Running("", Failed(FailureKind.PROVIDER_ERROR, "Sorry: inferenceError."))),
    ("one failure in both lists counts once", 2,
     data(row("error", 1, error={"code": "inferenceError", "message": "Sorry."}),
          errors=declined("inferenceError")["errors"]),
     Running("", Failed(FailureKind.PROVIDER_ERROR, "Sorry: inferenceError."))),
    ("one failure in both lists, no code in its row", 2,
     data(row("error"), errors=declined("inferenceError")["errors"]),
     Running("", Failed(FailureKind.PROVIDER_ERROR, "Sorry: inferenceError."))),
    ("one failure in both lists, numbered in both", 2,
     data(row("error", 0, code="x"), errors=declined("inferenceError", resultIndex=0)["errors"]),
     Running("", Failed(FailureKind.PROVIDER_ERROR, "Sorry: inferenceError."))),
    ("repeated in the list of rows", 2, data(*[row("error", 1, error={"code": "x", "message": "Sorry."})] * 2),
     Running("", Failed(FailureKind.PROVIDER_ERROR, "Sorry."))),
    ("one failure in both lists, and a clip", 3,
     data(clip(0), row("error", 1, code="inferenceError"), errors=declined("inferenceError")["errors"]),
     Running("1 of 3 outputs so far",
             Succeeded((CLIP,), 0.15, (7,), "1 of 3 outputs; failed: Sorry: inferenceError."))),
    ("two failures, one of them in both lists", 2,
     data(row("error", 1, code="a"), errors=declined("a")["errors"] + declined("b")["errors"]),
     Failed(FailureKind.PROVIDER_ERROR, "Sorry: a.")),
    ("a clip whose row is also an error", 2, data(clip(0, status="error"), row("processing", 1)),
     Running("1 of 2 outputs so far", ONE)),
    ("a call error beside a clip", 2, data(clip(0), errors=declined("rateLimitExceeded")["errors"]),
     Running("1 of 2 outputs so far", ONE)),
    ("a call error beside a row", 1, data(WORKING, errors=declined("serviceUnavailable")["errors"]), Running()),
    ("two failed", 2, {"data": [], "errors": declined("a")["errors"] + declined("b")["errors"]},
     Failed(FailureKind.PROVIDER_ERROR, "Sorry: a.")),
]  # fmt: skip


# Answers to a poll: Pixwith


def result(status: Any, *urls: Any, **more: Any) -> dict[str, Any]:
    return {
        "code": 1,
        "message": "success",
        "data": {"task_id": UUID, "status": status, "result_urls": [*urls]},
        **more,
    }


PIXWITH_POLLS: list[tuple[str, int, Any, PollFact]] = [
    ("done", 1, result(2, CLIP), Succeeded((CLIP,))),
    ("done, as text", 1, result("2", CLIP), Succeeded((CLIP,))),
    ("code as text, msg", 1, {**result(2, CLIP), "code": "1", "msg": "ok"}, Succeeded((CLIP,))),
    ("both", 2, result(2, CLIP, CLIP2), Succeeded((CLIP, CLIP2))),
    ("fewer than asked", 4, result(2, CLIP, CLIP2), Succeeded((CLIP, CLIP2), note="2 of 4 outputs")),
    ("more than asked", 1, result(2, CLIP, CLIP2), Succeeded((CLIP,))),
    ("a null among them", 2, result(2, None, CLIP), Succeeded((CLIP,), note="1 of 2 outputs")),
    ("done without a clip", 1, result(2), Running("finished, but no result URL yet")),
    ("done with no web URL", 1, result(2, "x.mp4"), Running("finished, but no result URL yet")),
    ("null list", 1, {"code": 1, "data": {"status": 2, "result_urls": None}},
     Running("finished, but no result URL yet")),
    ("processing", 1, result(1), Running()),
    ("processing, as text", 1, result("1"), Running()),
    ("processing with a first clip", 2, result(1, CLIP), Running()),
    ("unknown status", 1, result(9), Running("unknown status '9'")),
    ("unknown status with a clip", 1, result(9, CLIP), Succeeded((CLIP,))),
    ("no data", 1, {"code": 1, "message": "success"}, Running("unknown status 'None'")),
    ("failed", 1, result(3), FAILED),
    ("failed, as text", 1, result("3"), FAILED),
    ("failed, with a word", 1, result(3, message="model error"), Failed(FailureKind.PROVIDER_ERROR, "model error")),
    ("failed, msg", 1, {**result(3), "message": "", "msg": "model error"},
     Failed(FailureKind.PROVIDER_ERROR, "model error")),
    ("not found", 1, {"code": 0, "message": "Task not found"}, Missing()),
    ("does not exist", 1, {"code": 0, "msg": "task does not exist"}, Missing()),
]  # fmt: skip


# Shapes that nobody promised


ATOMS: list[Any] = [
    None, True, False, 0, 1, 2, 3, -1, 1.5, 10**30, 10**400, float("nan"), float("inf"), "", "0", "1", "2", "success",
    "error", "processing", "TASK_STATUS_FAILED", "TASK_STATUS_SUCCEED", UUID, OTHER, CLIP, "http://[", "https://\ud800",
    "\x00", "x" * 5000, "taskNotFound", "conflictTaskUUID", "NaN", "1e999", "http://" + "a" * 70_000,
]  # fmt: skip
