"""Images that clients upload: by a form that was signed for them, as to S3, or inside a call."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from secrets import token_bytes, token_hex
from typing import Any, Final
from uuid import uuid4

from starlette.requests import Request
from starlette.responses import Response

FORM_SECONDS: Final = 600
MAX_FORM_BYTES: Final = 10_000_000
_BEHIND: Final = re.compile(r"/uploads/([0-9a-f]{32})/[\w.-]{1,120}")
_DISPOSITION: Final = re.compile(r'form-data; name="([^"]*)"(?:; filename="([^"]*)")?')
_BOUNDARY: Final = re.compile(r'multipart/form-data;\s*boundary="?([\w\'()+,./:=? -]{1,70})"?', re.IGNORECASE)


@dataclass
class Upload:
    """An image that was uploaded: `data` is None as long as its form was not sent, and once it is kept no longer."""

    account: str
    content_type: str
    data: bytes | None = None


@dataclass(frozen=True)
class KeptUpload:
    """An upload or a form, as a file keeps it: the bytes of the image, and the rest as JSON has it."""

    about: dict[str, Any]
    data: bytes | None = field(repr=False)


@dataclass
class _Form:
    """A form that was signed: its fields, and until when it may be sent, by the monotonic clock."""

    fields: dict[str, str]
    until: float
    upload: Upload = field(repr=False)


class FormRefusedError(Exception):
    """The form breaks a rule of S3: its HTTP status, its code, and its words."""

    def __init__(self, status: int, code: str, words: str) -> None:
        super().__init__(code, words)
        self.status = status
        self.code = code
        self.words = words


class Uploads:
    """The forms that were signed, and what was uploaded. Only the thread of the event loop uses it."""

    def __init__(self) -> None:
        self._secret = token_bytes(32)
        self._forms: dict[str, _Form] = {}
        self._images: dict[str, Upload] = {}
        self._touched: set[str] = set()
        """The forms and images that may have changed since they were last asked for; a form by its key."""

    def changed(self, offset: float) -> Iterator[tuple[str, KeptUpload]]:
        """What may have changed since this was last asked for; times are later by this offset."""
        for name in sorted(self._touched):
            form, image = self._forms.get(name), self._images.get(name)
            upload = form.upload if form else image
            if upload:
                about: dict[str, Any] = {"account": upload.account, "content_type": upload.content_type}
                about |= {"fields": form.fields, "until": form.until + offset} if form else {}
                yield name, KeptUpload(about, upload.data)
        self._touched.clear()

    def load(self, kept: Iterable[tuple[str, KeptUpload]], offset: float) -> None:
        """Take in what was kept."""
        for name, one in kept:
            upload = Upload(one.about["account"], one.about["content_type"], one.data)
            if "fields" in one.about:
                self._forms[name] = _Form(one.about["fields"], one.about["until"] - offset, upload)
            if "fields" not in one.about or one.data is not None:
                self._images[name if "fields" not in one.about else f"/{name}"] = upload

    def sign_form(self, account: str, name: str, content_type: str) -> tuple[dict[str, str], str]:
        """The fields of a form for one image, in the order in which S3 gives them, and the path of the image."""
        key = f"uploads/{token_hex(16)}/{name}"
        now = datetime.now(UTC)
        conditions: list[Any] = [
            {"key": key},
            {"Content-Type": content_type},
            ["content-length-range", 1, MAX_FORM_BYTES],
        ]
        policy = {
            "expiration": (now + timedelta(seconds=FORM_SECONDS)).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "conditions": conditions,
        }
        encoded = base64.b64encode(json.dumps(policy).encode()).decode()
        fields = {
            "key": key,
            "Content-Type": content_type,
            "x-amz-algorithm": "AWS4-HMAC-SHA256",
            "x-amz-credential": f"SIMULATOR/{now:%Y%m%d}/us-east-1/s3/aws4_request",
            "x-amz-date": f"{now:%Y%m%dT%H%M%SZ}",
            "policy": encoded,
            "x-amz-signature": hmac.new(self._secret, encoded.encode(), hashlib.sha256).hexdigest(),
        }
        self._touched.add(key)
        self._forms[key] = _Form(fields, time.monotonic() + FORM_SECONDS, Upload(account, content_type))
        return fields, f"/{key}"

    def take_form(self, parts: Sequence[tuple[str, str | None, bytes]]) -> None:
        """Keep the image of a form that was sent. Raises FormRefusedError.

        As with S3, the file is the last part that counts: a field behind it was not sent.
        """
        fields: dict[str, str] = {}
        for name, _, data in parts:
            if name == "file":
                self._keep(fields, data)
                return
            fields[name] = data.decode(errors="replace")
        raise FormRefusedError(400, "InvalidArgument", "POST requires exactly one file upload per request.")

    def _keep(self, fields: dict[str, str], data: bytes) -> None:
        if "key" not in fields:
            raise FormRefusedError(400, "InvalidArgument", "Bucket POST must contain a field named 'key'.")
        if "policy" not in fields or "x-amz-signature" not in fields:
            raise FormRefusedError(403, "AccessDenied", "Access Denied")
        form = self._forms.get(fields["key"])
        if form is None or not hmac.compare_digest(fields["x-amz-signature"], form.fields["x-amz-signature"]):
            raise FormRefusedError(403, "SignatureDoesNotMatch", "The signature does not match.")
        if time.monotonic() > form.until:
            raise FormRefusedError(403, "AccessDenied", "Invalid according to Policy: Policy expired.")
        for name, value in form.fields.items():
            if fields.get(name) != value:
                words = f'Invalid according to Policy: Policy Condition failed: ["eq", "${name}", "{value}"]'
                raise FormRefusedError(403, "AccessDenied", words)
        if extra := fields.keys() - form.fields.keys():
            words = f"Invalid according to Policy: Extra input fields: {min(extra)}"
            raise FormRefusedError(403, "AccessDenied", words)
        if not data:
            raise FormRefusedError(400, "EntityTooSmall", "Your proposed upload is smaller than the minimum size.")
        if len(data) > MAX_FORM_BYTES:
            raise FormRefusedError(400, "EntityTooLarge", "Your proposed upload exceeds the maximum allowed size.")
        form.upload.data = data
        self._touched.add(fields["key"])
        self._images[f"/{fields['key']}"] = form.upload

    def add(self, account: str, data: bytes) -> str:
        """Keep an image that came inside a call, and give its UUID."""
        uuid = str(uuid4())
        self._touched.add(uuid)
        self._images[uuid] = Upload(account, "", data)
        return uuid

    def behind(self, path: str) -> Upload | None:
        """What was to be uploaded to this path; None if the path is no upload's."""
        found = _BEHIND.fullmatch(path)
        if found is None:
            return None
        form = self._forms.get(path[1:])
        return form.upload if form else None

    def named(self, uuid: str) -> bytes | None:
        """The bytes of the image with this UUID; None if it is not of here."""
        found = self._images.get(uuid.lower())
        return found.data if found else None

    def may_use(self, uuid: str, account: str) -> bool:
        """Whether an account may name this image. Of an image that was not uploaded here nobody knows."""
        found = self._images.get(uuid.lower())
        return found is None or (found.account == account and found.data is not None)

    def expire_forms(self) -> int:
        """No form that was signed so far may be sent any more; how many that are."""
        for form in self._forms.values():
            form.until = -1.0
        self._touched.update(self._forms)
        return len(self._forms)

    def forget_images(self) -> int:
        """Keep none of the images that were uploaded so far; how many that are."""
        for image in self._images.values():
            image.data = None
        self._touched.update(name.removeprefix("/") for name in self._images)
        return len(self._images)

    def audit(self) -> list[dict[str, Any]]:
        """One object per image that was uploaded and is still kept, oldest first."""
        return [
            {
                "account": image.account,
                "reference": reference,
                "sha256": hashlib.sha256(image.data).hexdigest(),
                "bytes": len(image.data),
            }
            for reference, image in self._images.items()
            if image.data is not None
        ]


async def read_form(request: Request) -> list[tuple[str, str | None, bytes]]:
    """The parts of a form in their order: name, file name, bytes. Raises FormRefusedError.

    A request that is signed in another way as well is refused, as S3 refuses it: so no API key leaks to the store.
    """
    if "authorization" in request.headers or "api-key" in request.headers:
        raise FormRefusedError(400, "InvalidRequest", "Only one auth mechanism allowed.")
    found = _BOUNDARY.fullmatch(request.headers.get("content-type", ""))
    if found is None:
        raise FormRefusedError(412, "PreconditionFailed", "Bucket POST must be of the enclosure-type form-data.")
    if "content-length" not in request.headers:
        raise FormRefusedError(411, "MissingContentLength", "You must provide the Content-Length HTTP header.")
    pieces: list[bytes] = []
    size = 0
    async for piece in request.stream():
        size += len(piece)
        if size > 2 * MAX_FORM_BYTES:
            raise FormRefusedError(400, "EntityTooLarge", "Your proposed upload exceeds the maximum allowed size.")
        pieces.append(piece)
    return _split(b"".join(pieces), found[1].encode())


def _split(body: bytes, boundary: bytes) -> list[tuple[str, str | None, bytes]]:
    malformed = FormRefusedError(400, "MalformedPOSTRequest", "The body of your POST is not well-formed form-data.")
    first, *middle, last = (b"\r\n" + body).split(b"\r\n--" + boundary)
    if first or not last.startswith(b"--") or not middle:
        raise malformed
    parts: list[tuple[str, str | None, bytes]] = []
    for piece in middle:
        head, split, data = piece.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        lines = [line.partition(":") for line in head.decode(errors="replace").split("\r\n")]
        said = {name.strip().lower(): value.strip() for name, _, value in lines}
        named = _DISPOSITION.fullmatch(said.get("content-disposition", ""))
        if not split or named is None:
            raise malformed
        parts.append((named[1], named[2], data))
    return parts


def refuse_form(refused: FormRefusedError) -> Response:
    """The answer of S3 to a form that it does not take."""
    text = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f"<Error><Code>{refused.code}</Code><Message>{refused.words}</Message></Error>"
    )
    return Response(text, status_code=refused.status, media_type="application/xml")


def accept_form() -> Response:
    """The answer of S3 to a form that it took."""
    return Response(status_code=HTTPStatus.NO_CONTENT)
