"""Which world a pipeline works in, by provider, live or simulator. What was made in the other does not count."""

from __future__ import annotations

from collections.abc import Mapping

import sqlalchemy as sa

from pixverse_dagster.core.manifest import World
from pixverse_dagster.ledger.engine import reading
from pixverse_dagster.ledger.schema import tasks, worlds

Worlds = Mapping[str, World]
"""The world of each provider, by its name."""


class PipelineWorlds:
    """Remembers the worlds of a ledger's pipelines, for whoever has no client that could tell."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def find(self, pipeline: str) -> dict[str, World]:
        """The world that the pipeline works in now, by provider. A provider that it never worked with is absent."""
        with reading(self._engine) as connection:
            return find_worlds(connection, pipeline)

    def set(self, pipeline: str, now_in: Worlds) -> set[str]:
        """Remember the worlds that a pipeline works in; the providers that were of another one until now.

        Repeatable; nothing is written where nothing changed.
        """
        before = self.find(pipeline)
        changed = {provider: world for provider, world in now_in.items() if before.get(provider) != world}
        if not changed:
            return set()
        with self._engine.begin() as connection:
            for provider, world in sorted(changed.items()):
                connection.execute(_SET, {"pipeline": pipeline, "provider": provider, "world": world})
        return changed.keys() & before.keys()


# The same words in SQLite and PostgreSQL; SQLAlchemy's own would import both dialects into every process.
_SET = sa.text(
    f"INSERT INTO {worlds.name} (pipeline, provider, world) VALUES (:pipeline, :provider, :world) "  # noqa: S608 - our constant
    "ON CONFLICT (pipeline, provider) DO UPDATE SET world = excluded.world"
)


def find_worlds(connection: sa.Connection, pipeline: str) -> dict[str, World]:
    """The world that the pipeline works in now, by provider."""
    query = sa.select(worlds.c.provider, worlds.c.world).where(worlds.c.pipeline == pipeline)
    return {record.provider: record.world for record in connection.execute(query)}


def made_in(now_in: Worlds, *, or_live: bool = False) -> sa.ColumnElement[bool]:
    """The condition that a task was made in its provider's present world; with `or_live`, also in the real one.

    Tasks of a provider whose world is not given count, whatever they are of.
    """
    others = [
        sa.and_(
            tasks.c.model.startswith(f"{provider}/", autoescape=True),
            tasks.c.world != world,
            *([tasks.c.world != "live"] if or_live else []),
        )
        for provider, world in sorted(now_in.items())
    ]
    return sa.not_(sa.or_(*others)) if others else sa.true()
