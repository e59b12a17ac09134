"""Images that an account has: brought there once for each content, and again before it keeps them no longer."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from pixverse_dagster.ledger.engine import reading
from pixverse_dagster.ledger.schema import staged_images


@dataclass(frozen=True)
class StagedImage:
    """An image that an account has: what a request names it by, and when that ends; None where it does not."""

    account: str
    digest: str
    reference: str
    expires_at: float | None
    staged_at: float


class StagedImages:
    """Remembers what was brought where. A reference with a signature is a permission, and is never kept."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def find(self, account: str, digest: str) -> StagedImage | None:
        """What the account has of these bytes, whether or not it has ended."""
        query = sa.select(staged_images).where(staged_images.c.account == account, staged_images.c.digest == digest)
        with reading(self._engine) as connection:
            found = connection.execute(query).first()
        if found is None:
            return None
        return StagedImage(found.account, found.digest, found.reference, found.expires_at, found.staged_at)

    def keep(self, image: StagedImage) -> None:
        """Remember it, in the place of what was known before. Raises ValueError for a reference that is signed."""
        if "?" in image.reference or "@" in image.reference:
            raise ValueError("the reference of a staged image has what may be a signature: it is not kept")
        values = {
            "account": image.account,
            "digest": image.digest,
            "reference": image.reference,
            "expires_at": image.expires_at,
            "staged_at": image.staged_at,
        }
        with self._engine.begin() as connection:
            connection.execute(_KEEP, values)

    def forget(self, account: str, digest: str) -> None:
        """The account has it no longer."""
        with self._engine.begin() as connection:
            connection.execute(
                sa.delete(staged_images).where(staged_images.c.account == account, staged_images.c.digest == digest)
            )


# The same words in SQLite and PostgreSQL; SQLAlchemy's own would import both dialects into every process.
_KEEP = sa.text(
    f"INSERT INTO {staged_images.name} (account, digest, reference, expires_at, staged_at) "  # noqa: S608 - our constant
    "VALUES (:account, :digest, :reference, :expires_at, :staged_at) ON CONFLICT (account, digest) DO UPDATE SET "
    "reference = excluded.reference, expires_at = excluded.expires_at, staged_at = excluded.staged_at"
)
