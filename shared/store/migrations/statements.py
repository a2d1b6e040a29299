"""Run the SQL of a migration."""

from alembic import op


def execute(script: str) -> None:
    """Run the statements of `script` one by one (asyncpg prepares each, so it takes only one).

    Each statement ends with a semicolon at the end of a line.
    """
    for statement in script.split(";\n"):
        if statement.strip():
            op.execute(statement)
