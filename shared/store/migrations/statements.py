"""Running a migration's SQL."""

from alembic import op


def execute(script: str) -> None:
    """Run each statement of `script` by itself (asyncpg prepares, so takes one at a time).

    A statement ends with a semicolon at the end of a line.
    """
    for statement in script.split(";\n"):
        if statement.strip():
            op.execute(statement)
