"""Dagster's migration scripts, read once: Alembic would read all of them again for every database that is opened."""

from functools import cache

from alembic.config import Config
from alembic.script import ScriptDirectory
from dagster._core.storage.sql import ALEMBIC_SCRIPTS_LOCATION

_from_config = ScriptDirectory.from_config


def read_migrations_once() -> None:
    """Have Dagster's scripts read once in this process, and not at all in those that are then forked from it.

    The project's own are read as ever.
    """
    _dagsters()
    ScriptDirectory.from_config = _scripts  # pyright: ignore[reportAttributeAccessIssue]


def _scripts(config: Config) -> ScriptDirectory:
    return (
        _dagsters() if config.get_main_option("script_location") == ALEMBIC_SCRIPTS_LOCATION else _from_config(config)
    )


@cache
def _dagsters() -> ScriptDirectory:
    config = Config()
    config.set_main_option("script_location", ALEMBIC_SCRIPTS_LOCATION)
    scripts = _from_config(config)
    scripts.get_heads()
    return scripts
