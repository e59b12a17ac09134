"""The address of an image: its URL without what signs it, so that a link that is signed again is the same address."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import quote, unquote_plus, urlsplit, urlunsplit

_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Signing:
    """A way of signing URLs: if all of `needs` are there, the parameters that `drops` matches are the signature.

    Both are about names in lower case.
    """

    needs: frozenset[str]
    drops: re.Pattern[str]


def _signing(needs: str, drops: str) -> Signing:
    return Signing(frozenset(needs.split()), re.compile(drops))


# Parameters that choose or convert the image stay: `versionId`, `generation`, `x-oss-process`, `imageMogr2` …
_SIGNINGS: Sequence[Signing] = (
    _signing("x-amz-signature", r"x-amz-.*|x-id"),  # AWS, and everything that speaks S3
    _signing("awsaccesskeyid signature", r"awsaccesskeyid|signature|expires|x-amz-security-token"),
    _signing("x-goog-signature", r"x-goog-.*"),
    _signing("googleaccessid signature", r"googleaccessid|signature|expires"),
    _signing("sig sv", r"sig|sv|ss|srt|sr|sp|st|se|sip|spr|si|sdd|ses|skoid|sktid|skt|ske|sks|skv|skdutid"
             r"|saoid|suoid|sduoid|scid"),  # Azure
    _signing("signature key-pair-id", r"signature|key-pair-id|expires|policy|hash-algorithm"),  # CloudFront
    _signing("signature keyname", r"signature|keyname|expires|urlprefix"),  # Google's CDN
    _signing("ossaccesskeyid signature", r"ossaccesskeyid|signature|expires|security-token"),  # Alibaba
    _signing(
        "x-oss-signature",
        r"x-oss-(signature|signature-version|credential|date|expires|security-token|additional-headers|access-key-id)",
    ),
    _signing("q-signature", r"q-(sign-algorithm|ak|sign-time|key-time|header-list|url-param-list|signature)"
             r"|x-cos-security-token"),  # Tencent
    _signing("accesskeyid signature", r"accesskeyid|signature|expires|x-obs-security-token"),  # Huawei
    _signing("x-tos-signature", r"x-tos-(?!process).*"),  # Volcengine
    _signing("x-expires x-signature", r"x-expires|x-signature|x-orig-sign.*"),
)  # fmt: skip
# Everybody else's: a token beside the moment at which it ends. Either alone may be what the image is called.
_TOKENS = frozenset({
    "signature", "sig", "sign", "token", "access_token", "auth", "auth_token", "authorization", "hmac", "hash",
    "md5", "mac", "hm", "s", "h", "oh",
})  # fmt: skip
_ENDS = frozenset({
    "expires", "expire", "expiry", "expiration", "expires_at", "exp", "e", "ex", "oe", "end", "ends", "until",
    "valid_until", "validto", "deadline", "t", "is",
})  # fmt: skip
_TOKEN = re.compile(r"[\w.~+/=:-]{16,}")
_MOMENT = re.compile(r"\d{10}(\d{3})?|[0-9a-fA-F]{8}|\d{4}-?\d\d-?\d\d([T ].*)?")
# The moment and the token in one parameter: Alibaba's CDN and Cloudflare, Akamai, Baidu.
_BOTH_NAMES = _TOKENS | {"auth_key", "verify", "hdnts", "hdnea", "hdntl", "hdnet", "__token__"}
_BOTH = re.compile(r"\d{10}-(\w+-\w+-)?[\w+/=-]{16,}|.*exp=\d{10}.*hmac=[0-9a-fA-F]{16,}.*|bce-auth-v1/.*")

_JWT = re.compile(r"eyJ[\w-]+\.[\w-]+\.[\w-]*")
_TIMES = frozenset({"exp", "iat", "nbf", "jti"})


def unsigned_url(url: str) -> str:
    """The address that an http(s) URL names: without what signs it, the user, the fragment and a default port.

    All other parameters stay, as they are written, sorted by their names: links that are made anew often have them in
    another order. A URL that cannot be taken apart is returned unchanged.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return url
    scheme, host = parts.scheme.lower(), (parts.hostname or "").lower()
    host = f"[{host}]" if ":" in host else host
    place = host if port in {None, _PORTS.get(scheme)} else f"{host}:{port}"
    given = [(_name(pair), _without_times(pair)) for pair in parts.query.split("&") if pair]
    signed = _signature({name: unquote_plus(pair.partition("=")[2]) for name, pair in given})
    kept = sorted((item for item in given if item[0] not in signed), key=lambda item: item[0])
    return urlunsplit((scheme, place, parts.path or "/", "&".join(pair for _, pair in kept), ""))


def _name(pair: str) -> str:
    return unquote_plus(pair.partition("=")[0]).lower()


def _without_times(pair: str) -> str:
    """A token that is a JWT, as what it claims but for its times: that may be all that says which image it is."""
    name, _, token = pair.partition("=")
    if not _JWT.fullmatch(token):
        return pair
    try:
        claims: Any = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
    except (ValueError, RecursionError):
        return pair
    if not isinstance(claims, dict):
        return pair
    lasting = {str(key): value for key, value in cast("dict[Any, Any]", claims).items() if key not in _TIMES}
    return f"{name}={quote(json.dumps(lasting, sort_keys=True))}"


def _signature(values: Mapping[str, str]) -> frozenset[str]:
    """The names of those parameters that are a signature."""
    found = {name for way in _SIGNINGS if way.needs <= values.keys() for name in values if way.drops.fullmatch(name)}
    found |= {name for name, value in values.items() if name in _BOTH_NAMES and _BOTH.fullmatch(value)}
    tokens = {name for name in values.keys() & _TOKENS if _TOKEN.fullmatch(values[name])}
    ends = {name for name in values.keys() & _ENDS if _MOMENT.fullmatch(values[name])}
    return frozenset(found | tokens | ends if tokens and ends else found)
