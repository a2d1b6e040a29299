"""Run the SQL of a migration."""

from alembic import op


def execute(script: str) -> None:
    """Run the statements of `script` one by one (asyncpg prepares each, so it takes only one).

    Each statement ends with a semicolon at the end of a line.
    """
    for statement in script.split(";\n"):
        if statement.strip():
            op.execute(statement)


def create_index_concurrently(name: str, on: str, *, unique: bool = False) -> None:
    """Create an index without stopping writes, outside a transaction. Idempotent.

    What a run that was stopped has left, an invalid index, is dropped first
    (postgresql.org/docs/15/sql-createindex.html#SQL-CREATEINDEX-CONCURRENTLY). What the migration
    did before is committed: it must be able to run twice.
    """
    with op.get_context().autocommit_block():
        op.execute("SET lock_timeout = 0")  # it waits for old transactions, and nobody for it
        op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
        op.execute(f"CREATE {'UNIQUE ' if unique else ''}INDEX CONCURRENTLY {name} ON {on}")
        op.execute("RESET lock_timeout")
