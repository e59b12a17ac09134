"""The secrets that this process was given, and how they are found in a text, in whatever form they stand there.

Who takes a key, a password or a signed URL tells of it here; from then on `redact_known` replaces it: plain, escaped
for URLs, JSON, Python or HTML, cut short, or in base64 with whatever stands beside it. What is kept is bounded.
"""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Collection
from contextlib import suppress
from functools import cached_property
from typing import Any, AnyStr
from urllib.parse import parse_qsl, quote, quote_plus, unquote

MIN_SECRET = 6
"""Shorter keys and passwords are not remembered: their letters stand in ordinary words."""
_MIN_PART = 8
"""The same for parts of URLs."""
_MAX_KEYS, _MAX_PARTS = 512, 2048
NO_SECRETS = frozenset(
    ["simulator", "pixverse", "pixverse_dagster", "pixverse-dagster", "dagster", "postgres", "postgresql", "password"]
)
"""The simulator's key and passwords of sample databases: they guard nothing, and texts are full of them."""

_PERMISSION = re.compile(r"(?i)sig|token|key|secret|cred|auth|pass|pwd|hash|hmac|policy|session|jwt|code")
_WEB = frozenset(["http", "https", "s3", "ws", "wss"])
_WORD = re.compile(r"[a-z]{1,19}")
_ESCAPES = frozenset("%\\&")
_ESCAPE = re.compile(
    r"%([0-9a-fA-F]{2})|\\{1,8}(?:u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2})|(?=[^\w\s\\]))"
    r"|&#x0{0,4}([0-9a-fA-F]{1,4});|&#0{0,4}(\d{1,4});|&(amp|lt|gt|quot|apos);"
)
_LOST = bytes(range(33)) + b"\x7f\\+/_-"
"""Characters that are replaced by others, or have any number of backslashes before them."""
_RARE = re.compile("[\ud800-\udfff\U00010000-\U0010ffff]")
"""Characters whose escapes `_unescaped` does not know."""
_FEW = 32
"""So many texts are sooner looked for one by one than all at once."""
_PASSES = 4
"""How often a text may be escaped."""
_BASE64 = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=_-")


def redact_known(text: str) -> str:
    """The text without the secrets that this process was given, in whatever form they stand in it."""
    if known := _sorted:
        seen = _seen(_unescaped(text))
        has_anchor = _any_in(seen, _anchors, MIN_SECRET)
        for one in known if has_anchor else _short:
            if one.may_be_in(seen):
                text = one.cut(text)
    return _cut_parts(text) if _forms and _any_in(text, _lengths, _MIN_PART) else text


def remember_secret(secret: str) -> None:
    """Never show this key, password or token again. Idempotent; thread-safe; the oldest of very many are forgotten."""
    secret = secret.strip()
    if len(secret) >= MIN_SECRET and secret.lower() not in NO_SECRETS and secret not in _keys:
        _add_key(secret)


def remember_url(url: str, *, path: bool = False) -> None:
    """Never show again what makes this URL a permission: its password or user, its signature, its tokens.

    With `path`, also what is in the path, as in a webhook's URL. The URL need not be a valid one.
    """
    scheme, found, rest = url.partition("://")
    if not found:
        return
    front, _, query = rest.partition("#")[0].partition("?")
    # The password of a database may have been written with a slash in it; the path of a web address may have an @.
    place, slash, tail = front.partition("/") if scheme.lower() in _WEB else (front, "", "")
    user_part, at, place = place.rpartition("@")
    place += slash + tail
    if at:
        user, _, password = user_part.partition(":")
        for credential in (password or user, unquote(password or user)):
            remember_secret(credential)
    for name, value in parse_qsl(query, keep_blank_values=False):
        if path or _PERMISSION.search(name) or len(value) >= 20:  # noqa: PLR2004 - characters; words are shorter
            _remember_part(value)
    for part in place.split("/")[1:] if path else ():
        if not _WORD.fullmatch(part):
            _remember_part(unquote(part))


class _Key:
    """A secret that is looked for in every form: escaped, cut short, in base64 with whatever stands around it."""

    def __init__(self, secret: str) -> None:
        self.secret = secret
        # Half of a key is as good as known; who cuts a text may cut a key.
        self.head = secret[: max(MIN_SECRET + 2, (len(secret) + 1) // 2)]
        cores = [_base64_core(secret.encode(), before) for before in range(3)]
        self.cores = [core for core in cores if len(core) >= _MIN_PART]
        # One of these is in `_seen` of every text that has the secret.
        self.marks = tuple(map(_seen, ["" if _RARE.search(self.head) else self.head, *self.cores]))

    @property
    def is_short(self) -> bool:
        """Whether it has a mark that is too short to be looked for together with others."""
        return min(map(len, self.marks)) < MIN_SECRET

    def may_be_in(self, seen: bytes) -> bool:
        """Whether a text of which this was seen may have it: this is cheap, and a hit is rare."""
        return any(mark in seen for mark in self.marks)

    @cached_property
    def patterns(self) -> tuple[re.Pattern[str], re.Pattern[str]]:
        """Of the secret and of its base64. They take long to compile, and most secrets are never seen in a text."""
        plain = f"{_any_form(self.secret)}|{_any_form(self.head)}[\\w-]*"
        encoded = "|".join(map(_any_form, self.cores)) or r"(?!)"
        return re.compile(plain, re.IGNORECASE), re.compile(encoded)

    def cut(self, text: str) -> str:
        """The text without it; much slower."""
        plain, encoded = self.patterns
        return _cut_run(plain.sub("…", text), encoded)


# Filled by single steps of dicts, which threads may take at the same time.
_keys: dict[str, _Key] = {}
_parts: dict[str, tuple[str, ...]] = {}
"""Parts of URLs that are permissions, each with the forms that it is looked for in. There may be very many."""
_forms: dict[str, None] = {}
_lengths: dict[str, dict[int, None]] = {}
"""How long the forms are that begin with these characters, so that a text is read once, however many there are."""
_sorted: tuple[_Key, ...] = ()
_short: tuple[_Key, ...] = ()
_anchors: frozenset[bytes] = frozenset()
"""How the marks of the keys begin that are not short."""


def _add_key(secret: str) -> None:
    global _sorted, _short, _anchors  # noqa: PLW0603 - what is known is the process's
    _keys[secret] = _Key(secret)
    trim(_keys, _MAX_KEYS)
    known: tuple[_Key, ...] = ()
    # Again, if another thread added one meanwhile: whoever is last publishes all.
    while len(known) != len(_keys):
        # The longest first, as a secret may contain another.
        known = tuple(sorted(_keys.values(), key=lambda one: len(one.secret), reverse=True))
        # First where to look: who reads now finds no key that is not looked for.
        _short = tuple(one for one in known if one.is_short)
        _anchors = frozenset(mark[:MIN_SECRET] for one in known for mark in one.marks if not one.is_short)
        _sorted = known


def _remember_part(part: str) -> None:
    if len(part) < _MIN_PART or part.lower() in NO_SECRETS or part in _parts:
        return
    forms = [
        part,
        quote(part),
        (once := quote(part, safe="")),
        (twice := quote(once)),
        quote(twice),  # in a link it is escaped once; and who repeats the link may escape it as often as a key
        quote_plus(part),
        json.dumps(part)[1:-1],
        html.escape(part),
    ]
    forms += [form.replace("/", "\\/") for form in forms]
    _parts[part] = tuple(dict.fromkeys(forms))
    for form in _parts[part]:
        _forms[form] = None
        _lengths.setdefault(form[:_MIN_PART], {})[len(form)] = None
    for old in trim(_parts, _MAX_PARTS):
        for form in old:
            _forms.pop(form, None)
    if len(_lengths) > 4 * len(_forms):
        _lengths.clear()
        for form in tuple(_forms):
            _lengths.setdefault(form[:_MIN_PART], {})[len(form)] = None


def trim(known: dict[str, Any], most: int) -> list[Any]:
    """Forget the oldest beyond so many, and return them."""
    gone: list[Any] = []
    while len(known) > most:
        with suppress(KeyError, RuntimeError, StopIteration):  # another thread has just removed it
            gone.append(known.pop(next(iter(known))))
    return gone


def _any_in(text: AnyStr, beginnings: Collection[AnyStr], length: int) -> bool:
    """Whether a text has any of these, which are of this length."""
    if len(beginnings) <= _FEW:
        return any(beginning in text for beginning in tuple(beginnings))
    return any(map(beginnings.__contains__, {text[at : at + length] for at in range(len(text) - length + 1)}))


def _cut_parts(text: str) -> str:
    kept: list[str] = []
    at = end = 0
    while at <= len(text) - _MIN_PART:
        lengths = _lengths.get(text[at : at + _MIN_PART])
        longest = max((n for n in tuple(lengths) if text[at : at + n] in _forms), default=0) if lengths else 0
        if longest:
            kept += [text[end:at], "…"]
            end = at + longest
        at += longest or 1
    return "".join(kept) + text[end:]


def _seen(text: str) -> bytes:
    """What is left of a text, and of what is looked for in it, without all that may be written in another way."""
    return text.encode("ascii", "ignore").lower().translate(None, _LOST)


def _unescaped(text: str) -> str:
    """The text and, below it, what it is without its escapes. To look for something in, not to show."""
    seen = [text]
    for _ in range(_PASSES):
        if _ESCAPES.isdisjoint(text):
            break
        text = _ESCAPE.sub(_one_unescaped, text)
        if text == seen[-1]:
            break
        seen.append(text)
    return "\n".join(seen)


def _one_unescaped(match: re.Match[str]) -> str:
    *coded, decimal, name = match.groups()
    if name:
        return html.unescape(match.group())
    digits = next(filter(None, coded), "")
    return chr(int(decimal)) if decimal else chr(int(digits, 16)) if digits else ""


def _any_form(text: str) -> str:
    """A pattern for a text in which any character may be escaped: for URLs, JSON, Python, HTML, also several times."""
    return "".join(map(_any_character, text))


def _any_character(character: str) -> str:
    number, plain = ord(character), re.escape(character)
    named = {"&": "amp", "<": "lt", ">": "gt", '"': "quot", "'": "apos"}.get(character)
    in_url = "".join(f"%(?:25){{0,4}}{byte:02x}" for byte in character.encode(errors="replace"))
    escaped = [
        in_url,
        rf"\\{{1,8}}u{number:04x}",
        rf"\\{{1,8}}x{number:02x}",
        "".join(rf"\\{{1,8}}x{byte:02x}" for byte in character.encode(errors="replace")),
        rf"&(?:amp;){{0,4}}#(?:0{{0,4}}{number}|x0{{0,4}}{number:x});",
    ]
    escaped += [rf"&(?:amp;){{0,4}}{named};"] * (named is not None)
    if number > 0xFFFF:  # noqa: PLR2004 - JSON writes it as two
        pair = character.encode("utf-16-be").hex()
        escaped.append(rf"\\{{1,8}}u{pair[:4]}\\{{1,8}}u{pair[4:]}")
    ways = [plain if character.isalnum() else rf"\\{{0,8}}{plain}", f"(?i:{'|'.join(escaped)})"]
    ways += [r"\+"] * (character == " ")
    ways += {"+": ["-"], "/": ["_"]}.get(character, [])
    return f"(?:{'|'.join(ways)})"


def _base64_core(secret: bytes, before: int) -> str:
    """The base64 digits that depend on the secret alone, where so many bytes (modulo 3) come before it."""
    digits = base64.b64encode(bytes(before) + secret).decode()
    return digits[(0, 2, 3)[before] : (before + len(secret)) * 8 // 6]


def _cut_run(text: str, pattern: re.Pattern[str]) -> str:
    """The text without every run of base64 in which the pattern is found."""
    kept: list[str] = []
    end = 0
    for match in pattern.finditer(text):
        start = match.start()
        if start < end:
            continue
        start = _run(text, start, -1, end)
        kept.append(text[end:start] + "…")
        end = _run(text, match.end(), 1, len(text))
    return "".join(kept) + text[end:]


def _run(text: str, at: int, step: int, limit: int) -> int:
    """How far base64 goes on from here, in this direction."""
    while at != limit and text[at - (step < 0)] in _BASE64:
        at += step
    return at
