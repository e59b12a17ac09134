"""What a person or a file will see carries no permission: no query string, no password, no key, no inline image."""

from __future__ import annotations

import random
from typing import Any

import pytest

from pixverse_dagster.core.redaction import redact_text, redact_url, redact_value

URLS = [
    ("https://cdn.example/clip.mp4", "https://cdn.example/clip.mp4"),
    ("https://cdn.example/clip.mp4?X-Amz-Signature=s3cret&X-Amz-Expires=60", "https://cdn.example/clip.mp4?…"),
    ("https://cdn.example/clip.mp4?", "https://cdn.example/clip.mp4"),
    ("https://user:s3cret@cdn.example/clip.mp4", "https://cdn.example/clip.mp4"),
    ("https://s3cret@cdn.example:8443/clip.mp4?a=s3cret#s3cret", "https://cdn.example:8443/clip.mp4?…"),
    ("https://cdn.example/#access_token=s3cret", "https://cdn.example/"),
    ("http://[2001:db8::1]:80/x?k=s3cret", "http://[2001:db8::1]:80/x?…"),
    ("s3://bucket/films/clips/1.mp4", "s3://bucket/films/clips/1.mp4"),
    ("HTTPS://Cdn.Example/Clip.mp4?k=s3cret", "https://cdn.example/Clip.mp4?…"),
    ("http://[s3cret", "(unreadable URL)"),
    ("http://cdn.example:s3cret/x", "(unreadable URL)"),
]


@pytest.mark.parametrize(("url", "shown"), URLS)
def test_a_url_is_shown_without_its_permission(url: str, shown: str):
    """Scheme, host, port and path stay; user, password, query and fragment go, and `?…` marks a query."""
    assert redact_url(url) == shown


TEXTS = [
    (
        "GET https://cdn.example/a.mp4?sig=s3cret failed, then https://u:s3cret@b.example/x too",
        "GET https://cdn.example/a.mp4?… failed, then https://b.example/x too",
    ),
    ('{"videoURL":"https://cdn.example/a.mp4?sig=s3cret"}', '{"videoURL":"https://cdn.example/a.mp4?…"}'),
    ("wss://ws.example/v1?key=s3cret", "wss://ws.example/v1?…"),
    ("Authorization: Bearer s3cret.x-y_z", "Authorization: Bearer …"),
    ("illegal header b'bearer s3cret'", "illegal header b'bearer …'"),
    ("Api-Key: s3cret", "Api-Key: …"),
    ('{"apiKey": "s3cret", "model": "x"}', '{"apiKey": "…", "model": "x"}'),
    ("api_key='s3cret'", "api_key='…'"),
    ("API KEY = s3cret", "API KEY = …"),
    ("Invalid API KEY", "Invalid API KEY"),
    ("Credits not enough", "Credits not enough"),
    ("", ""),
]


@pytest.mark.parametrize(("text", "shown"), TEXTS)
def test_a_message_is_shown_without_keys_and_query_strings(text: str, shown: str):
    """What a provider or a library says stays readable around what is taken out."""
    assert redact_text(text) == shown


PROMPT = "a kite, see https://example.org/?q=kite; the bearer of bad news says api key: none"
VALUES: list[tuple[Any, Any]] = [
    (PROMPT, PROMPT),
    ("https://a.example/x?s=s3cret", "https://a.example/x?…"),
    ("  https://a.example/x?s=s3cret ", "https://a.example/x?…"),
    ("data:image/png;base64," + "s3cret" * 100, "data:image/png;… (622 characters)"),
    ("data:,s3cret", "data:;… (12 characters)"),
    ("s3cret" * 50, "base64… (300 characters)"),
    ("aac49721-1964-481a-ae78-8a4e29b91402", "aac49721-1964-481a-ae78-8a4e29b91402"),
    (5, 5),
    (0.5, 0.5),
    (True, True),
    (None, None),
    (
        {"webhook_url": "https://h.example/?t=s3cret", "frames": [{"image": "data:image/png;base64,s3cret"}]},
        {"webhook_url": "https://h.example/?…", "frames": [{"image": "data:image/png;… (28 characters)"}]},
    ),
    (({"a": ("https://h.example/?t=s3cret", 1)},), [{"a": ["https://h.example/?…", 1]}]),
    ([[["https://h.example/?t=s3cret"]]], [[["https://h.example/?…"]]]),
]


@pytest.mark.parametrize(("value", "shown"), VALUES, ids=range(len(VALUES)))
def test_a_request_is_shown_with_its_prompt_as_it_stands(value: Any, shown: Any):
    """Only a string that is wholly a URL or an inline image changes, however deep it lies; words are never touched."""
    assert redact_value(value) == shown


def test_no_secret_stands_in_what_is_shown():
    """Over every example on this page."""
    shown = [redact_url(url) for url, _ in URLS] + [redact_text(text) for text, _ in TEXTS]
    assert "s3cret" not in repr([*shown, *(redact_value(value) for value, _ in VALUES)])


def test_redacting_twice_changes_nothing_more():
    """Texts pass through several hands, each of which redacts; so the second time must be harmless."""
    rng = random.Random(7)  # noqa: S311 - draws test data
    pieces = [
        "https://", "u:p@", "h.example", "[::1]", ":80", ":x", "/a b", "/a", "?k=v", "?", "#f", "&", "%20", "\\", '"',
        "'", " ", "\n", "Bearer ", "bearer\t", "api_key=", "apiKey: '", "Api-Key:", "…", "?…", "s3://", "wss://", "k",
        "é",     "data:image/png;base64,", "data:,", "A" * 200,
    ]  # fmt: skip
    for _ in range(3000):
        text = "".join(rng.choices(pieces, k=rng.randint(1, 8)))
        once = redact_text(text)
        assert redact_text(once) == once, text
        assert redact_url(redact_url(text)) == redact_url(text), text
        value = {"deep": [text, {"er": text}]}
        assert redact_value(redact_value(value)) == redact_value(value), text


def test_a_secret_in_a_query_is_gone_wherever_the_url_stands():
    """However a URL is made and quoted, what follows its question mark is not shown."""
    rng = random.Random(8)  # noqa: S311 - draws test data
    for _ in range(1000):
        host = rng.choice(["h.example", "u:p4ss@h.example", "h.example:8080", "[::1]", "user@127.0.0.1"])
        path = rng.choice(["", "/", "/a/b.mp4", "/%20x", "/é"])
        url = f"{rng.choice(['http', 'https', 'HTTPS'])}://{host}{path}?token=s3cret{rng.choice(['', '&x=1', '#f'])}"
        for text in (url, f'"{url}"', f"({url})", f"see {url}.", f"'{url}', {url}\n"):
            assert "s3cret" not in redact_text(text)
            assert "p4ss" not in redact_text(text)
        assert "s3cret" not in str(redact_value([url]))


def test_a_long_hostile_text_is_redacted_in_linear_time():
    """No text of a provider makes the patterns backtrack for long."""
    for piece in ("https://", "bearer ", "bearer", "api", "api_key=", "api_key:' ", "https://u:", "?", "data:"):
        redact_text(piece * 20_000)
        redact_value(piece * 20_000)
    redact_text("bearer" + " " * 200_000)
    redact_text("apikey" + " " * 200_000)
