"""How Alembic runs the migrations: over the connection that monitor.review.database opened."""

from __future__ import annotations

from alembic import context
from sqlalchemy import text

from monitor.review.tables import metadata

# several replicas may start at once; any number will do as long as nothing else in the database uses it
_LOCK = 7_305_112_026

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=metadata, transaction_per_migration=False)
with context.begin_transaction():
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    context.run_migrations()
