"""What a database holds, as a backup's manifest says it and a restore drill compares it."""

import secrets
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from shared.store.pool import Conn
from shared.store.rotation import COLUMNS, SealedColumn

#: A whole table is read by one statement.
_MAX_SECONDS = 3600
_SCRATCH_PREFIX = "porteiro_drill_"

SEALED_COLUMNS: Sequence[SealedColumn] = [
    column for columns in COLUMNS.values() for column in columns
]


@asynccontextmanager
async def exported_snapshot(conn: Conn) -> AsyncIterator[str]:
    """Yield the id of a snapshot. Until the block ends, `conn` and whoever imports it see the same.

    No table is altered or dropped meanwhile: a rewritten one would look empty, a dropped one could
    not be dumped. So all are locked before the snapshot is taken, by the first SELECT.
    (postgresql.org/docs/15/functions-admin.html#FUNCTIONS-SNAPSHOT-SYNCHRONIZATION, mvcc-caveats)
    """
    tables = ", ".join(f'"{name}"' for name in await _tables(conn))
    async with conn.transaction(isolation="repeatable_read", readonly=True):
        await conn.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
        await conn.execute(f"SET LOCAL statement_timeout = '{_MAX_SECONDS}s'")
        await conn.execute(f"LOCK TABLE {tables} IN ACCESS SHARE MODE")
        yield await conn.fetchval("SELECT pg_export_snapshot()")


async def count_rows(conn: Conn) -> dict[str, int]:
    """Return the number of rows of each table; of a partitioned one in all its partitions."""
    return {
        name: await conn.fetchval(f'SELECT count(*) FROM "{name}"', timeout=_MAX_SECONDS)
        for name in await _tables(conn)
    }


async def _tables(conn: Conn) -> list[str]:
    """Return the names of the tables. Partitions are part of theirs."""
    records = await conn.fetch(
        """
        SELECT relname FROM pg_class
        WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')
            AND NOT relispartition ORDER BY relname
        """
    )
    return [record["relname"] for record in records]


async def count_key_ids(conn: Conn) -> dict[str, dict[str, int]]:
    """Return for each sealed column how many rows each key opens, by the key's id."""
    counts: dict[str, dict[str, int]] = {}
    for sealed in SEALED_COLUMNS:
        records = await conn.fetch(
            f"""
            SELECT encode(substring({sealed.column} FROM 2 FOR 4), 'hex') AS key_id, count(*)
            FROM {sealed.table} WHERE {sealed.column} IS NOT NULL GROUP BY 1 ORDER BY 1
            """,
            timeout=_MAX_SECONDS,
        )
        counts[sealed.name] = {record["key_id"]: record["count"] for record in records}
    return counts


async def find_envelope(
    conn: Conn, sealed: SealedColumn, key_id: str
) -> tuple[bytes, Sequence[Any]] | None:
    """Return an envelope under this key, and its row's primary key. None if there is none."""
    names = [name for name, _ in sealed.key]
    record = await conn.fetchrow(
        f"""
        SELECT {sealed.column} AS envelope, {", ".join(names)} FROM {sealed.table}
        WHERE substring({sealed.column} FROM 2 FOR 4) = decode($1, 'hex') LIMIT 1
        """,
        key_id,
        timeout=_MAX_SECONDS,
    )
    return None if record is None else (record["envelope"], [record[name] for name in names])


async def schema_and_server(conn: Conn) -> tuple[str, str]:
    """Return the revision of the schema, and the server's version."""
    schema = await conn.fetchval("SELECT version_num FROM alembic_version")
    return schema, await conn.fetchval("SHOW server_version")


async def is_empty(conn: Conn) -> bool:
    """Return whether the database has no table."""
    return not await conn.fetchval(
        "SELECT true FROM pg_class WHERE relnamespace = 'public'::regnamespace LIMIT 1"
    )


async def create_scratch(conn: Conn) -> str:
    """Create an empty database on the server of `conn`. Return its name.

    Drop those that drills have left behind which were killed a day ago or earlier.
    """
    now = int(time.time())
    for (left_behind,) in await conn.fetch(
        """
        SELECT datname FROM pg_database
        WHERE datname ~ $1 AND split_part(datname, '_', 3)::bigint < $2
        """,
        f"^{_SCRATCH_PREFIX}[0-9]{{1,12}}_",
        now - 86_400,
    ):
        await drop_scratch(conn, left_behind)
    database = f"{_SCRATCH_PREFIX}{now}_{secrets.token_hex(4)}"
    await conn.execute(f'CREATE DATABASE "{database}" TEMPLATE template0')
    return database


async def drop_scratch(conn: Conn, database: str) -> None:
    await conn.execute(f'DROP DATABASE IF EXISTS "{database}" WITH (FORCE)')
