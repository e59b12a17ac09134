"""Alembic's entry: migrates over the connection that the ledger opened."""

from alembic import context

from pixverse_dagster.ledger import schema

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=schema.metadata,
    version_table=schema.VERSION_TABLE,
)
context.run_migrations()
