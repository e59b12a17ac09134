"""What a process was given as a secret is in no text that leaves it: whatever the words, the form and the way out."""

import base64
import html
import json
import logging
import pickle
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, quote_plus

import httpx
import pytest
from sqlalchemy.exc import NoSuchModuleError

from pixverse_dagster.core.errors import NotSent, PixverseError, redacted_errors
from pixverse_dagster.core.outcomes import Succeeded
from pixverse_dagster.core.redaction import redact_error, redact_text, redact_value, show_url
from pixverse_dagster.core.secrets import NO_SECRETS, redact_known, remember_secret, remember_url
from pixverse_dagster.ledger.codec import plain
from pixverse_dagster.ledger.engine import open_engine
from pixverse_dagster.providers import PROVIDERS
from pixverse_dagster.tables.sql import SqlTable
from pixverse_dagster.transport.logs import get_logger
from pixverse_dagster_tests.harness.factories import RUNWARE, make_row

KEYS = {
    "key": "sk-Ca9aRy-7hQ2mXv/81+Lw=zT",
    "plain key": "canary0key0without0marks",
    "password": "pä ss\"w'o\\rd&<canary>",
    "short": "c4n4ry",
}
for _key in KEYS.values():
    remember_secret(_key)

PHRASES = [
    "Incorrect API key provided: {}. You can find your API key at https://platform.example/keys.",
    "Invalid authentication: key {} not recognised",
    "The token {} has expired",
    "Unauthorized ({})",
    "key={}",
    "credential '{}' revoked",
    '{{"error": "no such key", "got": "{}"}}',
    "鉴权失败 {}",
    "you sent:{}:",
    "X-Key: {}\r\nHost: a",
    "{}",
]
ENCODINGS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "in a URL": lambda key: quote(key, safe=""),
    "in a path": quote,
    "in a query": quote_plus,
    "in a URL, lower case": lambda key: quote(key, safe="").lower() if key.islower() else quote(key, safe=""),
    "twice in a URL": lambda key: quote(quote(key, safe=""), safe=""),
    "in JSON": lambda key: json.dumps(key)[1:-1],
    "in JSON as PHP writes it": lambda key: json.dumps(key)[1:-1].replace("/", "\\/"),
    "in JSON as Go and .NET write it": lambda key: "".join(c if c.isalnum() else f"\\u{ord(c):04X}" for c in key),
    "in JSON in JSON": lambda key: json.dumps(json.dumps(key))[3:-3],
    "every character escaped": lambda key: "".join(f"\\u{ord(c):04x}" for c in key),
    "in Python": lambda key: repr(key)[1:-1],
    "as bytes in Python": lambda key: repr(key.encode())[2:-1],
    "in HTML": html.escape,
    "in HTML by number": lambda key: "".join(f"&#{ord(c)};" for c in key),
    "in HTML by hexadecimal number": lambda key: "".join(f"&#x{ord(c):X};" for c in key),
    "in capitals": lambda key: key.upper() if key.isascii() else key,
}


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("name", KEYS)
def test_a_key_is_not_repeated_in_whatever_words_and_form(name: str, encoding: str):
    """And the words around it stay."""
    form = ENCODINGS[encoding](KEYS[name])
    for phrase in PHRASES:
        shown = redact_text(phrase.format(form))
        assert form not in shown
        assert form.lower() not in shown.lower()
        assert "…" in shown
        assert redact_text(shown) == shown
        for word in ("Incorrect", "not recognised", "revoked", "鉴权失败"):
            assert (word in phrase) == (word in shown)
        assert form not in str(redact_value({"deep": [phrase.format(form)]}))


@pytest.mark.parametrize("name", [name for name in KEYS if name != "short"])
@pytest.mark.parametrize("around", ["{}", "user:{}", "api:{}:x", "ab:{}", "a:{}\n", "longer-user@example.org:{}"])
@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
def test_a_key_in_base64_is_not_repeated(name: str, around: str, encode: Callable[[bytes], bytes]):
    """Alone, or with a user's name before it, as in an Authorization header; also escaped once more."""
    digits = encode(around.format(KEYS[name]).encode()).decode()
    for text in (
        f"Authorization: Basic {digits}",
        f"got {digits}.",
        json.dumps(digits).replace("/", "\\/"),
        quote(digits),
    ):
        shown = redact_known(text)
        assert digits not in shown
        assert digits[4:-6] not in shown
        assert "…" in shown


def test_a_key_that_was_cut_short_is_not_repeated_either():
    """Half of it is as good as all; less than that cannot be told from other words."""
    key = KEYS["plain key"]
    for length in range(len(key) // 2, len(key)):
        assert "canary0key0" not in redact_text(f"the key {key[:length]}... is wrong")
    assert redact_text("the canary sings") == "the canary sings"


PIECES = [
    "ab_cd_ef_gh_ij_kl",
    "q+w/e+r/t+y/u+i/o",
    "k1\\k2\\k3\\k4\\k5",
    "clé à là-bas",
    "W7 x9 Kq Lm 4z",
    "🪁-kite-🪁-key",
]


@pytest.mark.parametrize("others", [0, 100])
@pytest.mark.parametrize("key", PIECES)
def test_a_key_is_found_whatever_it_is_made_of_and_however_many_there_are(key: str, others: int):
    """Of pieces between marks that others escape or replace; and no other words are taken for it."""
    remember_secret(key)
    for number in range(others):
        remember_secret(f"{number:03}-of-many-canaries")
    forms = [key, key.replace("_", "\\_"), key.replace("+", "-").replace("/", "_"), key.replace("\\", "\\\\")]
    for form in (*forms, quote(key, safe=""), quote_plus(key), json.dumps(key)[1:-1]):
        assert redact_known(f"not {form}, 100 % & more") == "not …, 100 % & more"
    if others:
        assert redact_known("not 099-of-many-canaries") == "not …"


def test_what_is_no_secret_stays():
    """The simulator's key, words that sample databases have for passwords, and what is too short to be a secret."""
    for word in (*NO_SECRETS, "key", "abcde", "  ", ""):
        remember_secret(word)
        assert redact_text(f"the {word} of it") == f"the {word} of it"


URLS: list[tuple[str, bool, list[str]]] = [
    # the URL, whether its path counts, and what may not be shown of it
    ("https://h.example/in?token=query-canary-1", False, ["query-canary-1"]),
    ("https://h.example/in?X-Amz-Signature=query%2Fcanary%2B2", False, ["query/canary+2", "query%2Fcanary%2B2"]),
    ("https://user:pass-canary-3@h.example/in", False, ["pass-canary-3"]),
    ("https://token-canary-4@h.example/in", False, ["token-canary-4"]),
    ("https://hooks.example/services/T0CANARY5/path-canary-5?k=short-canary-5", True,
     ["T0CANARY5", "path-canary-5", "short-canary-5"]),
    ("postgresql+psycopg2://me:db%40canary%2F6@db.example/x", False, ["db@canary/6", "db%40canary%2F6"]),
    ("postgresql://me:db@canary/7:b@db.example:5432/x", False, ["db@canary/7:b"]),
    ("postgresql://db.example/x?user=me&password=db-canary-8", False, ["db-canary-8"]),
    ("http://me:proxy-canary-9@proxy.example:3128", False, ["proxy-canary-9"]),
]  # fmt: skip


@pytest.mark.parametrize(("url", "path", "secrets"), URLS)
def test_what_makes_a_url_a_permission_is_not_repeated_by_itself(url: str, path: bool, secrets: list[str]):  # noqa: FBT001
    """Without the URL around it, as an error message quotes it; the host and plain words of the path stay."""
    remember_url(url, path=path)
    for secret in secrets:
        for form in (secret, quote(secret, safe=""), json.dumps(secret)[1:-1].replace("/", "\\/")):
            assert form not in redact_text(f"signature {form} does not match, me")
    assert redact_text("me at h.example, services, 5432") == "me at h.example, services, 5432"


@pytest.mark.parametrize("times", range(3))
def test_what_makes_a_url_a_permission_is_not_repeated_in_a_link_that_is_escaped_as_a_whole(times: int):
    """In the link it is escaped once; whoever repeats the link in a form or in another link escapes it again."""
    value = "deep/canary+0123=&x"
    link = f"https://h.example/kite.png?X-Amz-Signature={quote(value, safe='')}"
    remember_url(link)
    for _ in range(times):
        link = quote(link, safe="")
    assert "canary" not in redact_text(f"u={link}%26and=more")


@pytest.mark.parametrize(
    "url",
    [
        "https://media.pixverse.ai/openapi%2Fcanary.mp4",
        "https://media.pixverseai.cn/pixverse/canary.mp4?x=1",
        "https://media-3.pixverse.ai/canary",
        "https://vm.runware.ai/video/ws/0/canary.mp4",
        "https://results.example:8443/a/canary.mp4",
    ],
)
def test_a_result_is_shown_by_its_host_alone(url: str):
    """Its links have no signature: whoever has the path has the clip. Others at an unknown host stay as they are."""
    Succeeded(("https://results.example:8443/a/canary.mp4?sig=1",))
    host = url.split("/")[2]
    assert show_url(url) == f"https://{host}/…"
    escaped = url.replace("/", "\\/")
    for text in (f"GET {url} failed", f'{{"url":"{escaped}"}}', f"{url}, {url}"):
        assert "canary" not in redact_text(text)
        assert f"https://{host}/…" in redact_text(text)
    assert redact_value([url]) == [f"https://{host}/…"]
    assert redact_text("https://results.example:8443/other") == "https://results.example:8443/other"


@pytest.mark.parametrize(
    "text",
    [
        r'{"u":"https:\/\/cdn.example\/a.mp4?sig=unknown-canary"}',
        r'{"u":"https://cdn.example/a.mp4?x=1\u0026sig=unknown-canary"}',
        r'{"u":"https:\/\/cdn.example\/a.mp4\u003fsig=unknown-canary"}',
        r'"{\"u\":\"https:\\/\\/cdn.example\\/a.mp4?sig=unknown-canary\"}"',
    ],
)
def test_a_signature_that_nobody_knows_is_cut_off_also_from_an_escaped_url(text: str):
    """Servers escape slashes and ampersands in JSON, and a body is quoted as it came."""
    assert "unknown-canary" not in redact_text(text)
    assert "https://cdn.example/a.mp4?…" in redact_text(text)


def test_each_secret_is_remembered_where_it_enters(tmp_path: Any):
    """An account's key, the ledger's password, a table's, a request's webhook, upload and image."""
    for provider in PROVIDERS:
        provider(f"{provider.NAME}-account-canary", f"https://u:{provider.NAME}-base-canary@api.example")
    with pytest.raises(NoSuchModuleError):
        open_engine("nosuch://me:ledger-canary@db.example/x")
    SqlTable("postgresql://me:table-canary@db.example/x", "SELECT 1")
    make_row(
        "r",
        RUNWARE,
        image="https://i.example/harbour-at-dusk.png?Signature=image-canary-1",
        resolution="360p",
        webhook_url="https://hooks.example/hook-canary-1/x?token=hook-canary-2",
        upload_endpoint="https://up.example/harbour-at-dusk.mp4?X-Goog-Signature=upload-canary",
    )
    canaries = [
        *(f"{provider.NAME}-account-canary" for provider in PROVIDERS),
        *(f"{provider.NAME}-base-canary" for provider in PROVIDERS),
        *("ledger-canary", "table-canary", "image-canary-1", "hook-canary-1", "hook-canary-2", "upload-canary"),
    ]
    assert [canary for canary in canaries if canary in redact_text(f"it says {canary}, then more")] == []
    assert redact_text("harbour-at-dusk.mp4, harbour-at-dusk.png") == "harbour-at-dusk.mp4, harbour-at-dusk.png"


KEY = KEYS["key"]
SAID = f"no such key: {KEY}"


def caused() -> Exception:
    """An error with a cause and a context, each of which quotes the key."""
    try:
        try:
            try:
                raise OSError(5, f"cannot send {KEY}", f"/tmp/{KEY}")  # noqa: S108, TRY301 - a name in a message
            except OSError as error:
                raise httpx.LocalProtocolError(f"Illegal header value b'{KEY}'") from error
        except httpx.HTTPError:
            raise ValueError(SAID, 7)  # noqa: B904 - the context is what is tested
    except ValueError as error:
        return error


def chain(error: BaseException | None) -> list[str]:
    return [] if error is None else [f"{error} {error!r}", *chain(error.__cause__), *chain(error.__context__)]


class Stubborn(Exception):
    """An error whose words are its own."""

    def __str__(self) -> str:
        return SAID


@pytest.mark.parametrize("make", [caused, lambda: ExceptionGroup(SAID, [caused(), Stubborn()]), Stubborn])  # pyright: ignore[reportUnknownLambdaType]
def test_an_error_leaves_redacted_with_all_that_it_was_caused_by(make: Callable[[], BaseException]):
    """In place where that can be, else as another one that has nothing of it."""
    with pytest.raises(Exception) as caught, redacted_errors():  # noqa: PT011 - any kind
        raise make()
    assert KEY not in "".join(chain(caught.value))
    assert redact_error(caught.value)


def test_an_error_of_ours_never_has_a_secret_in_it():
    """Not in its words, its arguments or its pickle, even where it was made before the secret was known."""
    error = NotSent(f"{SAID}, https://h.example/?sig=s3cret")
    assert str(error) == "no such key: …, https://h.example/?…"
    assert pickle.loads(pickle.dumps(error)).args == error.args  # noqa: S301 - made here
    early = PixverseError("late-known-canary")
    remember_secret("late-known-canary")
    assert str(early) == "…"


@pytest.mark.parametrize("column", ["reason", "note", "decision"])
def test_no_secret_is_written_into_the_ledgers_words(column: str):
    """Whoever wrote them."""
    assert plain(column, SAID) == "no such key: …"


@pytest.mark.parametrize("name", ["pixverse_dagster", "httpx", "httpcore.http11", "httpcore.connection"])
def test_no_secret_is_logged(name: str, caplog: pytest.LogCaptureFixture):
    """In a message, an argument or an error with its causes; of the HTTP libraries neither, which log URLs."""
    get_logger()
    logger = logging.getLogger(name)
    with caplog.at_level(logging.DEBUG, logger=name):
        logger.info("HTTP Request: GET %s", f"https://cdn.example/a.mp4?sig={KEY}")
        logger.debug("headers %r", [(b"Authorization", KEY.encode())])
        logger.error("failed", exc_info=caused())
    assert len(caplog.records) == 3
    for record in caplog.records:
        assert KEY not in logging.Formatter().format(record)
        assert KEY not in repr(vars(record))
    assert "Illegal header value" in caplog.text


def test_what_is_kept_is_bounded():
    """The newest are known; and however many there are, a text is read once."""
    for number in range(5000):
        remember_url(f"https://h.example/x?sig=bounded-canary-{number:05}")
    assert "bounded-canary-04999" not in redact_text("it was bounded-canary-04999")
    assert "bounded-canary-03000" not in redact_text("it was bounded-canary-03000")
    redact_text("bounded-canary-" * 20_000)
    for piece in ("\\", "%25", "&amp;", "\\u00", "&#0", KEYS["key"][:6], "A" * 50 + "/"):
        redact_text(piece * 20_000)
