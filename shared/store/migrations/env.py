"""Run Alembic on the caller's database handle, each migration in a transaction of its own."""

from alembic import context

context.configure(connection=context.config.attributes["conn"], transaction_per_migration=True)
with context.begin_transaction():
    context.run_migrations()
