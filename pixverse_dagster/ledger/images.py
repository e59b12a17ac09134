"""What is known of input images: as they were last read, by address, and what they were converted into."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, fields

import sqlalchemy as sa

from pixverse_dagster.core.images import Conversion, SeenImage
from pixverse_dagster.core.values import chunked
from pixverse_dagster.ledger.engine import CHUNK, reading, select_chunked
from pixverse_dagster.ledger.schema import conversions, image_cache

# The same words in SQLite and PostgreSQL; SQLAlchemy's own would import both dialects into every process.
_SEE = sa.text(
    f"INSERT INTO {image_cache.name} (address, mark, digest, facts, read_at) "  # noqa: S608 - our constant
    "VALUES (:address, :mark, :digest, :facts, :read_at) ON CONFLICT (address) DO UPDATE "
    "SET mark = excluded.mark, digest = excluded.digest, facts = excluded.facts, read_at = excluded.read_at"
)
_CONVERT = sa.text(
    f"INSERT INTO {conversions.name} (digest, recipe, sent_digest, format, width, height, size_bytes, made_at) "  # noqa: S608 - our constant
    "VALUES (:digest, :recipe, :sent_digest, :format, :width, :height, :size_bytes, :made_at) "
    "ON CONFLICT (digest, recipe) DO UPDATE SET sent_digest = excluded.sent_digest, format = excluded.format, "
    "width = excluded.width, height = excluded.height, size_bytes = excluded.size_bytes, made_at = excluded.made_at"
)
_FACTS = ("format", "width", "height", "size_bytes")


class Images:
    """Remembers images, so that unchanged ones are not read again. Every method is one transaction, or fewer.

    Nothing here decides about money: what is lost or wrong is read anew.
    """

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def seen(self, addresses: Collection[str]) -> dict[str, SeenImage]:
        """What is known of the images at these addresses (sha256, in hex), by address."""
        query, found = sa.select(image_cache), dict[str, SeenImage]()
        for record in select_chunked(self._engine, query, image_cache.c.address, sorted(addresses)):
            facts = json.loads(record.facts)
            found[record.address] = SeenImage(record.mark, record.digest, *(facts[name] for name in _FACTS))
        return found

    def see(self, images: Mapping[str, SeenImage], now: float) -> None:
        """Remember these images, by address; what was known of the addresses is forgotten. Repeatable."""
        for chunk in chunked(sorted(images), CHUNK):
            records = [{"address": address, **_record(images[address]), "read_at": now} for address in chunk]
            with self._engine.begin() as connection:
                connection.execute(_SEE, records)

    def conversions(self, digests: Iterable[str]) -> dict[tuple[str, str], Conversion]:
        """What these images (sha256:…) were converted into, by digest and recipe."""
        found = select_chunked(self._engine, sa.select(conversions), conversions.c.digest, sorted(set(digests)))
        names = [field.name for field in fields(Conversion)]
        made = [Conversion(*(getattr(record, name) for name in names)) for record in found]
        return {(one.digest, one.recipe): one for one in made}

    def add_conversion(self, made: Conversion, now: float) -> None:
        """Remember what an image was converted into. Repeatable; nothing is written where nothing changed."""
        same = (conversions.c.digest == made.digest, conversions.c.recipe == made.recipe)
        with reading(self._engine) as connection:
            there = connection.execute(sa.select(conversions.c.sent_digest).where(*same)).scalar()
        if there != made.sent_digest:
            with self._engine.begin() as connection:
                connection.execute(_CONVERT, asdict(made) | {"made_at": now})


def _record(image: SeenImage) -> dict[str, str]:
    facts = {name: getattr(image, name) for name in _FACTS}
    return {"mark": image.mark, "digest": image.digest, "facts": json.dumps(facts)}
