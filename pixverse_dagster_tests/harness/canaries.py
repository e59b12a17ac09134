"""Secrets that are planted, in every form in which a server may repeat them. Shares nothing with the product."""

from __future__ import annotations

import base64
import html
import json
import re
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from urllib.parse import quote, quote_plus

FORMS: Mapping[str, Callable[[str], str]] = {
    "plain": str,
    "URL": lambda text: quote(text, safe=""),
    "path": quote,
    "form": quote_plus,
    "URL twice": lambda text: quote(quote(text, safe=""), safe=""),
    "JSON": lambda text: json.dumps(text)[1:-1],
    "JSON with slashes escaped": lambda text: json.dumps(text)[1:-1].replace("/", "\\/"),
    "JSON twice": lambda text: json.dumps(json.dumps(text))[1:-1],
    "JSON in code points": lambda text: "".join(f"\\u{ord(one):04x}" for one in text),
    "HTML": html.escape,
    "HTML in numbers": lambda text: "".join(f"&#{ord(one)};" for one in text),
    "Python": lambda text: repr(text)[1:-1],
}
"""Each is a form of the whole text in which a secret stands, and of the secret by itself."""
MARK = "Canary"
_OFFSETS = range(3)
_MIN_CHARACTERS = 8


@dataclass(frozen=True)
class Canary:
    """One secret and where it was planted. The ledger keeps a `link` for as long as it is needed."""

    name: str
    is_link: bool = False
    secret: str = field(default_factory=lambda: f"{MARK}/{secrets.token_urlsafe(18)}+=&x")
    parameter: str = ""
    """Of a URL: whatever is its value is the secret, for somebody else chooses it."""

    def find(self, data: bytes) -> tuple[str, int] | None:
        """In which form and where it is in the data, if it is."""
        if self.parameter:
            found = re.search(self.parameter.encode() + rb"(?:=|%3D|%253D|\\u003d|&#61;)[0-9A-Za-z+/%_-]{8}", data)
            return ("a parameter's value", found.start()) if found else None
        # One search for each form is quicker than one for all: it is the machine's own.
        return next(((name, at) for name, form in self.forms.items() if (at := data.find(form)) >= 0), None)

    @cached_property
    def forms(self) -> Mapping[str, bytes]:
        """Every form by its name; with half of it, and base64 with whatever stands beside it."""
        found = {name: encode(self.secret) for name, encode in FORMS.items()}
        found["its first half"] = self.secret[: len(self.secret) // 2]
        for before in _OFFSETS:
            digits = base64.b64encode(bytes(before) + self.secret.encode()).decode()
            core = digits[(0, 2, 3)[before] : (before + len(self.secret)) * 8 // 6]
            found[f"base64 after {before}"] = core
            found[f"base64url after {before}"] = core.replace("+", "-").replace("/", "_")
        return {name: form.encode() for name, form in found.items()}


class Canaries:
    """All that were planted, looked for together."""

    def __init__(self, planted: Sequence[Canary]) -> None:
        self.planted = planted

    def find(self, where: str, data: bytes | str) -> Iterator[Leak]:
        """Every canary that is in the data, once."""
        found = data.encode(errors="replace") if isinstance(data, str) else data
        for canary in self.planted:
            if seen := canary.find(found):
                form, at = seen
                yield Leak(canary, form, where, found[max(0, at - 60) : at + 80].decode(errors="replace"))


@dataclass(frozen=True)
class Leak:
    """A secret that was found where none may be."""

    canary: Canary
    form: str
    where: str
    text: str

    def __str__(self) -> str:
        return f"{self.canary.name} ({self.form}) is in {self.where}: …{self.text}…"
