"""How Alembic reaches the database: the caller's connection, one migrator at a time."""

from alembic import context
from sqlalchemy import text

conn = context.config.attributes["conn"]
context.configure(connection=conn, transaction_per_migration=False)
with context.begin_transaction():
    # Taken inside Alembic's own transaction: an earlier statement would open an outer one, which
    # Alembic leaves to be rolled back.
    conn.execute(text("SELECT pg_advisory_xact_lock(hashtext('porteiro migrate'))"))
    context.run_migrations()
