"""Handles to PostgreSQL. Every wait has a limit. A schema older than the code is refused."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any

import asyncpg
from asyncpg.connect_utils import SessionAttribute

from shared.errors import StartupRefused
from shared.store.errors import NotConnected

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

    Pool = asyncpg.Pool[asyncpg.Record]
    Conn = asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]
else:
    Pool = asyncpg.Pool
    Conn = asyncpg.Connection

#: The migration this code needs. A newer schema is fine: from release 0.1.0 (0006) on, each
#: migration also works with the code of the release before it.
REQUIRED_REVISION = "0020"
ACQUIRE_SECONDS = 5.0
CONNECT_SECONDS = 3.0
COMMAND_SECONDS = 30.0

SERVER_SETTINGS = {
    "statement_timeout": "15s",
    "lock_timeout": "5s",
    "idle_in_transaction_session_timeout": "30s",
    "jit": "off",  # our statements are short: compiling one costs more than running it
    "timezone": "UTC",
}


@asynccontextmanager
async def open_pool(
    url: str, *, name: str, size: int, command_seconds: float = COMMAND_SECONDS
) -> AsyncIterator[Pool]:
    """Open a pool that connects on first use, so a process starts even if PostgreSQL is down.

    A server that does not answer a statement within `command_seconds` is given up.

    Each new handle raises StartupRefused if the schema is older than REQUIRED_REVISION, or if a
    pooler between us and PostgreSQL does not keep SERVER_SETTINGS for the session.
    """
    pool = await asyncpg.create_pool(
        url,
        min_size=0,
        max_size=size,
        timeout=CONNECT_SECONDS,
        command_timeout=command_seconds,
        server_settings=SERVER_SETTINGS | {"application_name": name},
        target_session_attrs=SessionAttribute.read_write,  # the URL may name several servers
        connect=connect,
        init=_refuse_unsuitable,
        reset=_keep_session,
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
    """Run one transaction. Raise NotConnected if there is no handle within `wait` seconds.

    After a cancellation, a timeout or a network error, close the handle instead of rolling
    back: if the server does not answer, the rollback and the release to the pool would hang too.
    Also close it if its server has become read-only.
    """
    try:
        conn = await pool.acquire(timeout=wait)
    except StartupRefused:
        raise
    except Exception as error:
        raise NotConnected(type(error).__name__) from error
    try:
        running = conn.transaction()
        await running.start()
        try:
            yield conn
        except (asyncio.CancelledError, TimeoutError, OSError):
            raise
        except asyncpg.ReadOnlySQLTransactionError:
            conn.terminate()
            raise
        except BaseException:
            # If the handle broke during the statement, there is nothing to roll back.
            with suppress(asyncpg.InterfaceError, asyncpg.InternalClientError, OSError):
                await running.rollback()
            raise
        await running.commit()
    except (asyncio.CancelledError, TimeoutError, OSError):
        conn.terminate()
        raise
    finally:
        await pool.release(conn)


async def be_brief(conn: Conn) -> None:
    """For the rest of the transaction, wait 0.2 s for a lock, and give each statement 5 s: other
    rows wait behind these."""
    await conn.execute(
        "SELECT set_config('lock_timeout', '200ms', true),"
        " set_config('statement_timeout', '5s', true)"
    )


async def now(conn: Conn) -> datetime:
    """Return PostgreSQL's time: what our own acts are dated by."""
    at: datetime = await conn.fetchval("SELECT clock_timestamp()")
    return at


def affected(status: str) -> int:
    """Return how many rows a statement changed, by the status that `execute` returned."""
    return int(status.rpartition(" ")[2])


async def horizon(conn: Conn) -> str:
    """Return a mark for `have_ended`: every transaction that has written something until now."""
    mark: str = await conn.fetchval("SELECT pg_snapshot_xmax(pg_current_snapshot())::text")
    return mark


async def have_ended(conn: Conn, mark: str) -> bool:
    """Return whether all transactions have ended that had written something at the `horizon`."""
    return bool(
        await conn.fetchval(
            "SELECT pg_snapshot_xmin(pg_current_snapshot()) >= $1::text::xid8", mark
        )
    )


async def ping(pool: Pool) -> None:
    """Raise unless PostgreSQL takes a write and its schema is new enough."""
    async with transaction(pool) as conn:
        await write_nothing(conn)


async def write_nothing(conn: Conn) -> None:
    """Raise if the server is read-only. A row's lock is a write, and changes nothing."""
    await conn.execute("SELECT FROM alembic_version FOR KEY SHARE SKIP LOCKED")


async def _keep_session(_: Conn) -> None:
    """Reset nothing when a handle returns to the pool: a `transaction` leaves no state in it.

    By default asyncpg then sends four statements, as many as a transaction of ours needs.
    """


async def connect(*args: Any, **options: Any) -> Any:
    """Connect with asyncpg. Raise StartupRefused if a pooler takes no settings for the session."""
    try:
        return await asyncpg.connect(*args, **options)
    except asyncpg.ProtocolViolationError as error:
        if "startup parameter" in str(error):  # PgBouncer's words
            raise StartupRefused([POOLER]) from None
        raise


#: In PgBouncer's transaction mode every transaction may run in another session: our settings are
#: lost, and with them the limits of every wait. https://www.pgbouncer.org/features.html
POOLER = (
    "DATABASE_URL leads to a pooler that does not keep the settings of a session: connect to"
    " PostgreSQL itself"
)


async def _refuse_unsuitable(conn: Conn) -> None:
    """Raise StartupRefused unless our settings hold and the schema is new enough."""
    query = "SELECT version_num, current_setting('lock_timeout') AS lock_timeout"
    try:
        found = await conn.fetchrow(f"{query} FROM alembic_version")
    except asyncpg.UndefinedTableError:
        found = None
    if found is not None and found["lock_timeout"] != SERVER_SETTINGS["lock_timeout"]:
        raise StartupRefused([POOLER])
    revision = None if found is None else found["version_num"]
    if revision is None or revision < REQUIRED_REVISION:
        raise StartupRefused(
            [
                f"the database's schema is at {revision or 'nothing'}, this code needs"
                f" {REQUIRED_REVISION}: run `porteiro migrate`"
            ]
        )
