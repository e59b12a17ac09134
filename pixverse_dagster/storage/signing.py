"""Links that let whoever has them read some objects of a bucket for a time: AWS Signature Version 4, in the query.

All links of one `LinkSigner` are signed at one instant. So they differ in path and signature alone, and a page that has
thousands of them says the rest once.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Protocol, runtime_checkable
from urllib.parse import quote, urlencode, urlsplit

from pixverse_dagster.core.errors import PixverseError

LONGEST_SECONDS = 7 * 86_400
"""Signature Version 4 knows no longer lifetime."""
UNKNOWN_END_SECONDS = 3_600
"""How long links live at most that temporary credentials signed which do not say when they end: as long as the
shortest usual session."""
_ALGORITHM = "AWS4-HMAC-SHA256"
_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Credentials:
    """What signs. `until` is when they end, in seconds since the epoch; None if they do not, or do not say so."""

    access_key: str
    secret_key: str = field(repr=False)
    token: str = field(default="", repr=False)
    until: float | None = None


@dataclass(frozen=True)
class LinkSigner:
    """Signs GETs of the objects below one address. `address` is the prefix that all keys have in common, encoded."""

    address: str
    region: str
    credentials: Credentials
    signed_at: int
    seconds: int

    @property
    def origin(self) -> str:
        """Scheme, host and port of every link, without a user or password that the address may have."""
        parts = urlsplit(self.address)
        return f"{parts.scheme}://{self._host}"

    @property
    def path(self) -> str:
        """What the path of every link begins with."""
        return urlsplit(self.address).path

    @property
    def until(self) -> int:
        """When all links end, in seconds since the epoch."""
        return self.signed_at + self.seconds

    @cached_property
    def query(self) -> str:
        """What all links have in common after the `?`; the signature comes after it."""
        words = {
            "X-Amz-Algorithm": _ALGORITHM,
            "X-Amz-Credential": f"{self.credentials.access_key}/{self._scope}",
            "X-Amz-Date": self._time,
            "X-Amz-Expires": str(self.seconds),
            "X-Amz-Security-Token": self.credentials.token,
            "X-Amz-SignedHeaders": "host",
        }
        given = sorted((name, value) for name, value in words.items() if value)
        return urlencode(given, quote_via=quote, safe="-_.~")

    def sign(self, key: str) -> str:
        """The signature of the link to an object, in hex."""
        request = f"GET\n{self.path}{encode_key(key)}\n{self.query}\nhost:{self._host}\n\nhost\nUNSIGNED-PAYLOAD"
        digest = hashlib.sha256(request.encode()).hexdigest()
        return _hmac(self._key, f"{_ALGORITHM}\n{self._time}\n{self._scope}\n{digest}").hex()

    def link(self, key: str) -> str:
        """The whole link to an object."""
        return f"{self.origin}{self.path}{encode_key(key)}?{self.query}&X-Amz-Signature={self.sign(key)}"

    @cached_property
    def _host(self) -> str:
        # A browser leaves out the port that the scheme has anyway, and what it sends is what is signed.
        parts = urlsplit(self.address)
        host = parts.netloc.rpartition("@")[2]
        return host if parts.port != _DEFAULT_PORTS.get(parts.scheme) else host.rpartition(":")[0]

    @cached_property
    def _time(self) -> str:
        return datetime.fromtimestamp(self.signed_at, UTC).strftime("%Y%m%dT%H%M%SZ")

    @cached_property
    def _scope(self) -> str:
        return f"{self._time[:8]}/{self.region}/s3/aws4_request"

    @cached_property
    def _key(self) -> bytes:
        key = f"AWS4{self.credentials.secret_key}".encode()
        for word in self._scope.split("/"):
            key = _hmac(key, word)
        return key


@runtime_checkable
class SigningStore(Protocol):
    """A store that can sign links to what it holds. Not every one can: a folder has none."""

    def sign_links(self, seconds: float, now: float) -> LinkSigner:
        """A signer whose links live so long, or less where `choose_seconds` says so. Asks nobody.

        Raises PixverseError where there is nothing to sign with, or where it has ended.
        """
        ...


def choose_seconds(asked: float, credentials: Credentials, now: float) -> int:
    """How long links live: as asked, seven days, or to the end of what signs them, whichever is least.

    Raises PixverseError where the credentials have ended.
    """
    limits = [asked, LONGEST_SECONDS]
    if credentials.until is not None:
        limits.append(credentials.until - now)
    elif credentials.token:
        limits.append(UNKNOWN_END_SECONDS)
    if (least := int(min(limits))) < 1:
        raise PixverseError(
            "the credentials of the store have ended: links signed with them would not open. Nothing was written and "
            "nothing was spent. Renew the credentials and run this again"
        )
    return least


def encode_key(key: str) -> str:
    """A key as it stands in the path of a link: encoded once more, for a `%` is a letter of its name."""
    return quote(key, safe="/-_.~")


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(), "sha256")
