"""Run Alembic on the caller's database handle. Only one process migrates at a time."""

from alembic import context
from sqlalchemy import text

conn = context.config.attributes["conn"]
context.configure(connection=conn, transaction_per_migration=False)
with context.begin_transaction():
    # Lock inside Alembic's own transaction: a statement before it would open an outer transaction,
    # which Alembic does not commit.
    conn.execute(text("SELECT pg_advisory_xact_lock(hashtext('porteiro migrate'))"))
    context.run_migrations()
