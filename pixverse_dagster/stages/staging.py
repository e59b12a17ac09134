"""Bringing images to providers: once for each content and account, before anything is claimed, free of charge.

A signed link is a permission: it is made when the body is built, and stands nowhere but there.
"""

from __future__ import annotations

import ipaddress
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from pixverse_dagster.core.errors import (
    InvalidRow,
    OutOfCredit,
    PixverseError,
    RateLimited,
    ReadFailed,
    Refused,
    Unauthorized,
)
from pixverse_dagster.core.layout import ImageKey
from pixverse_dagster.core.manifest import InputImage, SentAs
from pixverse_dagster.core.request import Request
from pixverse_dagster.core.row import Row
from pixverse_dagster.core.staging import StagedBytes
from pixverse_dagster.ledger.staged import StagedImage
from pixverse_dagster.media.images import is_converted
from pixverse_dagster.media.reading import ImageGone, ImageUnread
from pixverse_dagster.policy.staging import LINK_SECONDS, Means, Picture, Way, choose_way, sent_as, still_holds
from pixverse_dagster.providers import PROVIDERS
from pixverse_dagster.providers.base import Provider
from pixverse_dagster.stages.session import Session
from pixverse_dagster.storage.base import SignsLinks
from pixverse_dagster.storage.objects import ObjectStore, StoreObjects
from pixverse_dagster.transport.client import ProviderClient
from pixverse_dagster.transport.logs import get_logger

_log = get_logger()
_OF_ACCOUNT = (RateLimited, Unauthorized, OutOfCredit)
_NO_WAY = (
    "is not on the web, and {provider} takes images by URL only. Two ways out: set image_store to a bucket (s3://, "
    "gs:// or abfs://), or keep the clips in one, and it gets a signed link; or set image_base to the public address "
    "where the images are"
)


class NoWay(ImageGone):
    """There is no way for the image to the provider, as the pipeline is set up: a row with its task needs none."""


@dataclass(frozen=True)
class SentImage:
    """What a body has for an image: `is_reused` says that it was brought there for an earlier request."""

    value: str
    way: Way
    how: SentAs
    digest: str
    is_reused: bool = False


def check_way(session: Session, request: Request, reference: str, image: InputImage) -> None:
    """Raise NoWay if the image cannot get to the row's provider as the pipeline is set up. Sends nothing."""
    source = session.images()
    picture = Picture(source.is_web(reference), source.is_uuid(reference), is_converted(image))
    provider = _provider(session, request)
    if choose_way(picture, _means(request, provider, links=True)) is Way.LINK and not _has_place(session):
        raise NoWay(_NO_WAY.format(provider=provider.NAME))


def send_image(session: Session, client: ProviderClient, row: Row, reference: str) -> SentImage:
    """The form in which an image is sent now; it is brought to the provider's account first where that is needed.

    Raises InvalidRow if it is not what it was, or has no way; ImageUnread if it cannot be had or brought for now; and
    NotSent or Refused where it is the account that has trouble.
    """
    image, request, source = row.images[reference], row.request, session.images()
    sides = (image.width or 0, image.height or 0)
    is_uuid = source.is_uuid(reference)
    picture = Picture(source.is_web(reference), is_uuid, is_converted(image), image.size_bytes or 0, max(sides))
    way = choose_way(picture, _means(request, client.provider, links=True))
    how, digest = sent_as(way, is_uuid=is_uuid), image.sent_digest or image.digest
    source.check_unchanged(reference, image)
    if way in {Way.AS_NAMED, Way.INLINE}:
        return SentImage(source.as_sent(reference, image, request.IMAGE_RULES), way, how, digest)

    def read() -> StagedBytes:
        data, kind = source.bytes_as_sent(reference, image, request.IMAGE_RULES)
        return StagedBytes(data, digest.removeprefix("sha256:"), kind)

    if way is Way.LINK:
        return SentImage(_link(session, client, digest, read), way, how, digest)
    value, reused = _upload(session, client, digest, read)
    return SentImage(value, way, how, digest, reused)


def forget_staged(session: Session, client: ProviderClient, digest: str) -> None:
    """The account's copy is not to be relied on: it is brought anew before the next request."""
    session.staging.signed.pop((client.account, digest), None)
    session.ledger.staged.forget(client.account, digest)


def _upload(session: Session, client: ProviderClient, digest: str, read: Callable[[], StagedBytes]) -> tuple[str, bool]:
    staging, account = session.staging, client.account
    with staging.turn(account, digest):
        known = staging.signed.get((account, digest)) or session.ledger.staged.find(account, digest)
        if known and still_holds(known.expires_at, known.staged_at, session.clock()):
            return known.reference, True
        try:
            staged = client.stage(read())
        except _OF_ACCOUNT:
            raise
        except Refused as error:
            raise InvalidRow(f"the image is not taken by {client.provider.NAME}: {error}") from None
        except ReadFailed as error:
            raise ImageUnread(f"the image is not at {client.provider.NAME} for now: {error}") from None
        now = session.clock()
        end = None if staged.lasts_seconds is None else now + staged.lasts_seconds
        image = StagedImage(account, digest, staged.reference, end, now)
        try:
            session.ledger.staged.keep(image)
        except ValueError:
            # Its reference is a permission: known as long as this process lives, and kept nowhere.
            staging.signed[account, digest] = image
        return staged.reference, False


def _link(session: Session, client: ProviderClient, digest: str, read: Callable[[], StagedBytes]) -> str:
    staging, sha256 = session.staging, digest.removeprefix("sha256:")
    try:
        place = _open_place(session, client.provider.NAME)
        with staging.turn(client.account, digest):
            found = session.ledger.staged.find(client.account, digest)
            ending = found.reference.rpartition(".")[2] if found else ""
            key = str(ImageKey(session.pipeline.name, sha256, ending)) if ending else ""
            if not key or not (key in staging.there or place.has(key)):
                image = read()
                key = str(ImageKey(session.pipeline.name, sha256, image.ending))
                _put(place, key, image)
                session.ledger.staged.keep(StagedImage(client.account, digest, key, None, session.clock()))
            staging.there.add(key)
        return _reachable(client, place.sign(key, LINK_SECONDS))
    except PixverseError:
        raise
    except Exception as error:
        words = f"{type(error).__name__}: {error}"
        raise ImageUnread(f"the image cannot be put where {client.provider.NAME} reads it for now: {words}") from error


def _reachable(client: ProviderClient, link: str) -> str:
    """The link. Raises InvalidRow if it leads to this machine or its network, where no real provider can be."""
    host = urlsplit(link).hostname or ""
    with suppress(ValueError):
        if client.costs_money and (host == "localhost" or not ipaddress.ip_address(host).is_global):
            raise InvalidRow(
                f"the image would be at {host}, where {client.provider.NAME} cannot fetch it: set image_store to a "
                "bucket that is on the web"
            )
    return link


def _put(place: ObjectStore, key: str, image: StagedBytes) -> None:
    with tempfile.TemporaryDirectory(prefix="pixverse-image-") as folder:
        path = Path(folder) / image.name
        path.write_bytes(image.data)
        place.put(key, path, sha256=image.sha256, content_type=image.content_type)


def _provider(session: Session, request: Request) -> type[Provider]:
    client = session.clients.get(request.provider())
    if client is not None:
        return type(client.provider)
    return next(provider for provider in PROVIDERS if request.provider() == provider.NAME)


def _means(request: Request, provider: Provider | type[Provider], *, links: bool) -> Means:
    return Means(request.IMAGE_RULES.inline, provider.TAKES_UPLOADS, links, provider.UPLOAD_MAX_SIDE)


def _has_place(session: Session) -> bool:
    """Whether there is a place from which links may be signed; also where the session does not know its store.

    The store is opened once for that, and not asked. One that cannot be opened for now is no row's problem here.
    """
    if session.options.image_store or session.open_store is None:
        return True
    with session.staging.lock:
        if session.staging.has_place is None:
            try:
                session.staging.has_place = isinstance(session.open_store(), SignsLinks)
            except Exception as error:  # noqa: BLE001 - a store's own errors have no common base
                _log.warning("the store could not be asked whether it signs links (%s)", type(error).__name__)
                session.staging.has_place = True
        return session.staging.has_place


def _open_place(session: Session, provider: str) -> ObjectStore:
    staging, given = session.staging, session.options.image_store
    with staging.lock:
        if staging.place is None and given:
            staging.place = session.objects.open(given)
        if staging.place is None:
            store = session.open_store() if session.open_store else None
            if not isinstance(store, SignsLinks):
                raise InvalidRow(f"the image {_NO_WAY.format(provider=provider)}")
            staging.place = StoreObjects(store)
        return staging.place
