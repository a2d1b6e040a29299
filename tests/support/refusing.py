"""Make PostgreSQL refuse some rows, as a fault in our code would."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal

from shared.store.pool import Conn


@asynccontextmanager
async def refusing(
    conn: Conn,
    value: str,
    *,
    table: str = "connection_facts",
    column: str = "name",
    sqlstate: str = "P0001",
    on: Literal["INSERT", "UPDATE"] = "INSERT",
) -> AsyncIterator[None]:
    """Refuse rows of `table` with `value` in `column`, by this error, during the block."""
    await conn.execute(
        f"""
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF NEW.{column} = '{value}' THEN
                RAISE EXCEPTION 'refused' USING ERRCODE = '{sqlstate}';
            END IF;
            RETURN NEW;
        END $$;
        CREATE TRIGGER refuse BEFORE {on} ON {table}
            FOR EACH ROW EXECUTE FUNCTION refuse();
        """
    )
    try:
        yield
    finally:
        await conn.execute("DROP FUNCTION refuse CASCADE")
