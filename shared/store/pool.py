"""Connections to PostgreSQL: bounded waits, and never to a schema older than the code."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import asyncpg

from shared.errors import StartupRefused

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

    Pool = asyncpg.Pool[asyncpg.Record]
    Conn = asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]
else:
    Pool = asyncpg.Pool
    Conn = asyncpg.Connection

#: The migration this code needs; a newer schema is fine (migrations suit the code before them).
REQUIRED_REVISION = "0006"
ACQUIRE_SECONDS = 5.0
CONNECT_SECONDS = 3.0
COMMAND_SECONDS = 30.0

SERVER_SETTINGS = {
    "statement_timeout": "15s",
    "lock_timeout": "5s",
    "idle_in_transaction_session_timeout": "30s",
    "jit": "off",  # our statements are short; compiling them costs more than running them
    "timezone": "UTC",
}


@asynccontextmanager
async def open_pool(url: str, *, name: str, size: int) -> AsyncIterator[Pool]:
    """A pool that connects when first used, so an absent server does not stop a process starting.

    Every new connection raises Refusal if the schema is older than REQUIRED_REVISION.
    """
    pool = await asyncpg.create_pool(
        url,
        min_size=0,
        max_size=size,
        timeout=CONNECT_SECONDS,
        command_timeout=COMMAND_SECONDS,
        server_settings=SERVER_SETTINGS | {"application_name": name},
        init=_refuse_old_schema,
    )
    try:
        yield pool
    finally:
        try:
            await asyncio.wait_for(pool.close(), CONNECT_SECONDS)
        except TimeoutError:
            pool.terminate()


@asynccontextmanager
async def transaction(pool: Pool, *, wait: float = ACQUIRE_SECONDS) -> AsyncIterator[Conn]:
    """One transaction. Raises TimeoutError if no connection is free within `wait` seconds.

    A connection that was given up half-way is closed, not rolled back: with the server stopped,
    the rollback, and the orderly way back into the pool, would hang as long as it does.
    """
    conn = await pool.acquire(timeout=wait)
    try:
        under_way = conn.transaction()
        await under_way.start()
        try:
            yield conn
        except (asyncio.CancelledError, TimeoutError, OSError):
            raise
        except BaseException:
            # A connection that was lost under the statement has nothing to roll back.
            with suppress(asyncpg.InterfaceError, asyncpg.InternalClientError, OSError):
                await under_way.rollback()
            raise
        await under_way.commit()
    except (asyncio.CancelledError, TimeoutError, OSError):
        conn.terminate()
        raise
    finally:
        await pool.release(conn)


async def ping(pool: Pool) -> None:
    """Raise unless PostgreSQL answers and its schema is new enough."""
    async with transaction(pool) as conn:
        await conn.execute("SELECT 1")


async def _refuse_old_schema(conn: Conn) -> None:
    try:
        revision = await conn.fetchval("SELECT version_num FROM alembic_version")
    except asyncpg.UndefinedTableError:
        revision = None
    if revision is None or revision < REQUIRED_REVISION:
        raise StartupRefused(
            [
                f"the database's schema is at {revision or 'nothing'}, this code needs"
                f" {REQUIRED_REVISION}: run `porteiro migrate`"
            ]
        )
