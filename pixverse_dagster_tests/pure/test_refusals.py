"""What a refused submit says of the account, of the row's request, or of neither: by code, and never by words alone."""

from typing import Any

import httpx
import pytest

from pixverse_dagster.core.errors import OutOfCredit, RateLimited, Refused, Unauthorized
from pixverse_dagster.providers.base import Provider
from pixverse_dagster_tests.harness.answers import HIGHWAY, OTHER, PIXWITH, PROVIDERS, RUNWARE, UUID, declined, oops


def read(provider: Provider, status: int, body: Any) -> Refused:
    response = httpx.Response(status, content=body) if isinstance(body, bytes) else httpx.Response(status, json=body)
    with pytest.raises(Refused) as refused:
        provider.read_submit(response, UUID)
    return refused.value


PAGES: list[bytes] = [
    b"<html><head><title>403 Forbidden</title></head><body>Request blocked.</body></html>",
    b"<!DOCTYPE html><html>The requested URL was rejected. Your support ID is: 1389271</html>",
    b"<html>Invalid API key? Your balance? Too many requests? Please try again later.</html>",
    b"error code: 1020",
    b"forbidden",
    b"",
    b'{"message": "Forbidden"}',
    b'{"message": "Request blocked: rate limit, balance, api key. Please try again later."}',
    b'{"error": "access denied by policy"}',
    b'{"errors": [{"message": "blocked, please try again later"}]}',
    b'["blocked"]',
]


@pytest.mark.parametrize("provider", PROVIDERS, ids=lambda one: one.NAME)
@pytest.mark.parametrize("status", [400, 403, 404, 405, 406, 418, 422, 451])
def test_a_page_in_front_of_the_provider_says_nothing_of_the_account(provider: Provider, status: int):
    """A firewall answers for the words of one prompt, whatever words its page has."""
    for page in PAGES:
        refused = read(provider, status, page)
        assert (type(refused), refused.is_final) == (Refused, False), page


LATER = "This prompt cannot be used with your API key or credit balance (too many requests?). Please try again later."
TEMPORARY: list[tuple[Provider, int, Any]] = [
    (HIGHWAY, 400, oops("", LATER)),
    (HIGHWAY, 403, oops("FORBIDDEN", LATER)),
    (HIGHWAY, 403, {"code": 403, "message": LATER}),
    (RUNWARE, 400, {"errors": [{"message": LATER, "taskUUID": UUID}]}),
    (RUNWARE, 403, {"error": LATER}),
    (RUNWARE, 400, declined("invalidApiKey", OTHER)),
    (PIXWITH, 200, {"code": 0, "message": LATER}),
    (PIXWITH, 200, {"code": 0, "message": "Content rejected. Please try again later"}),
    (PIXWITH, 200, {"code": 0, "msg": "The word 'credit' is not allowed"}),
    (PIXWITH, 400, {"code": 0, "message": "Generation failed, the server may be busy: try again later"}),
    (PIXWITH, 403, {"code": 0, "message": "no"}),
    (PIXWITH, 200, {"code": 0, "message": "Invalid input, please try again later"}),
    (PIXWITH, 200, {"code": 0}),
]


def test_words_alone_touch_no_other_row_and_are_not_the_last_word_about_theirs():
    """A text may speak of keys, balances and pace, and mean this one prompt."""
    for case in TEMPORARY:
        refused = read(*case)
        assert (type(refused), refused.is_final) == (Refused, False), case


OF_ACCOUNT: list[tuple[Provider, int, Any, type[Refused]]] = [
    (HIGHWAY, 403, oops("INVALID_API_KEY", "x"), Unauthorized),
    (HIGHWAY, 400, oops("invalid api key", "x"), Unauthorized),
    (HIGHWAY, 401, b"<html>", Unauthorized),
    (HIGHWAY, 403, {"error": oops("NOT_ENOUGH_BALANCE")}, OutOfCredit),
    (HIGHWAY, 403, oops("INSUFFICIENT_BALANCE"), OutOfCredit),
    (HIGHWAY, 403, oops("TOKEN_LIMIT_EXCEEDED"), RateLimited),
    (HIGHWAY, 503, oops("", "later"), RateLimited),
    (RUNWARE, 403, declined("forbidden", None), Unauthorized),
    (RUNWARE, 400, declined("apiKeyExpired", None), Unauthorized),
    (RUNWARE, 400, declined("insufficientCredits"), OutOfCredit),
    (RUNWARE, 400, declined("tooManyRequests"), RateLimited),
    (PIXWITH, 200, {"code": 0, "message": "Credits not enough"}, OutOfCredit),
    (PIXWITH, 200, {"code": 0, "message": "credits not enough, please try again later."}, OutOfCredit),
    (PIXWITH, 200, {"code": 0, "message": "Insufficient credits!"}, OutOfCredit),
    (PIXWITH, 200, {"code": 0, "msg": "Invalid API KEY"}, Unauthorized),
    (PIXWITH, 200, {"code": 0, "msg": "API key is disabled"}, Unauthorized),
    (PIXWITH, 200, {"code": 0, "message": "Too many requests. Please try again later."}, RateLimited),
    (PIXWITH, 200, {"code": 0, "message": "Rate limit exceeded, retry in 30 seconds"}, RateLimited),
]


def test_a_code_about_key_balance_or_pace_is_about_the_account():
    """Where a provider has no codes, a text that says this and nothing else is one."""
    for provider, status, body, expected in OF_ACCOUNT:
        assert type(read(provider, status, body)) is expected, (provider, status, body)


FINAL: list[tuple[Provider, int, Any]] = [
    (HIGHWAY, 400, oops("INVALID_REQUEST_BODY", LATER)),
    (HIGHWAY, 404, oops("MODEL_NOT_FOUND")),
    (HIGHWAY, 403, oops("SENSITIVE_CONTENT", LATER)),
    (RUNWARE, 400, declined("invalidPositivePrompt", message=LATER)),
    (RUNWARE, 403, declined("contentPolicyViolation", message=LATER)),
    (RUNWARE, 401, declined("promptBlocked")),
    (RUNWARE, 200, declined("unknownModel")),
    (PIXWITH, 200, {"code": 0, "message": "Invalid image format"}),
    (PIXWITH, 400, {"code": 0, "message": "Invalid duration"}),
]


def test_a_code_about_the_request_is_final_whatever_the_words_are():
    """It is sent again when somebody has changed it, or asks for it."""
    for case in FINAL:
        refused = read(*case)
        assert (type(refused), refused.is_final) == (Refused, True), case
