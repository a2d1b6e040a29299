"""Run Alembic on the caller's database handle, each migration in a transaction of its own."""

from alembic import context

context.configure(
    connection=context.config.attributes["conn"],
    on_version_apply=context.config.attributes["on_version_apply"],
    transaction_per_migration=True,
)
with context.begin_transaction():
    context.run_migrations()
