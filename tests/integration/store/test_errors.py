"""Which errors are infrastructure errors, tested with errors that PostgreSQL itself raises."""

import asyncio

import asyncpg
import pytest

from deploy.local.stack.servers import LOOPBACK, free_port
from shared.store.errors import NotConnected, is_infrastructure
from shared.store.pool import Conn, Pool, open_pool, transaction
from tests.support.waiting import eventually

ADD = "INSERT INTO organizations (id) VALUES ($1)"
LOCK = "SELECT pg_advisory_xact_lock($1)"


async def run(pool: Pool, *statements: str) -> None:
    async with transaction(pool) as conn:
        for statement in statements:
            await conn.execute(statement)


async def test_a_deadlock_is_an_infrastructure_error(pool: Pool) -> None:
    both_locked = asyncio.Barrier(2)

    async def lock_both(first: int, second: int) -> None:
        async with transaction(pool) as conn:
            await conn.execute("SET LOCAL deadlock_timeout = '20ms'")
            await conn.execute(LOCK, first)
            await both_locked.wait()
            await conn.execute(LOCK, second)

    outcomes = await asyncio.gather(lock_both(1, 2), lock_both(2, 1), return_exceptions=True)
    [error] = [outcome for outcome in outcomes if outcome is not None]
    assert isinstance(error, asyncpg.DeadlockDetectedError)
    assert is_infrastructure(error)


async def test_a_lock_timeout_is_an_infrastructure_error(pool: Pool) -> None:
    async with transaction(pool) as locking:
        await locking.execute(LOCK, 1)
        with pytest.raises(asyncpg.LockNotAvailableError) as caught:
            await run(pool, "SET LOCAL lock_timeout = '20ms'", LOCK.replace("$1", "1"))
    assert is_infrastructure(caught.value)


async def test_a_statement_that_takes_too_long_is_an_infrastructure_error(pool: Pool) -> None:
    with pytest.raises(asyncpg.QueryCanceledError) as caught:
        await run(pool, "SET LOCAL statement_timeout = '20ms'", "SELECT pg_sleep(60)")
    assert is_infrastructure(caught.value)


async def test_a_read_only_server_is_an_infrastructure_error(pool: Pool) -> None:
    with pytest.raises(asyncpg.ReadOnlySQLTransactionError) as caught:
        await run(pool, "SET LOCAL transaction_read_only = on", ADD.replace("$1", "'bakery'"))
    assert is_infrastructure(caught.value)


async def test_a_transaction_left_idle_too_long_is_an_infrastructure_error(
    pool: Pool, conn: Conn
) -> None:
    async def idle_until_ended() -> None:
        async def is_ended() -> bool:
            query = "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $1"
            return bool(await conn.fetchval(query, pid))

        async with transaction(pool) as tx:
            pid = await tx.fetchval("SELECT pg_backend_pid()")
            await tx.execute("SET LOCAL idle_in_transaction_session_timeout = '20ms'")
            await eventually(is_ended)
            await tx.execute("SELECT 1")

    with pytest.raises(Exception) as caught:
        await idle_until_ended()
    assert is_infrastructure(caught.value)


async def test_a_connection_ended_by_an_operator_is_an_infrastructure_error(
    pool: Pool, conn: Conn
) -> None:
    async def sleep_and_be_ended() -> None:
        async with transaction(pool) as tx:
            pid = await tx.fetchval("SELECT pg_backend_pid()")
            await tx.execute("SELECT pg_terminate_backend($1)", pid)
            await tx.execute("SELECT pg_sleep(60)")

    with pytest.raises(Exception) as caught:
        await sleep_and_be_ended()
    assert is_infrastructure(caught.value)


async def test_a_refused_connection_and_a_full_pool_are_infrastructure_errors(
    database_url: str,
) -> None:
    dead_url = (
        f"postgresql://porteiro:none@{LOOPBACK}:{free_port()}/porteiro"  # pragma: allowlist secret
    )
    async with open_pool(dead_url, name="test", size=1) as pool:
        with pytest.raises(NotConnected) as refused:
            async with transaction(pool):
                pass
    async with open_pool(database_url, name="test", size=1) as pool, transaction(pool):
        with pytest.raises(NotConnected) as full:
            async with transaction(pool, wait=0.02):
                pass
    assert is_infrastructure(refused.value)
    assert is_infrastructure(full.value)


@pytest.mark.parametrize(
    ("statement", "argument", "kind"),
    [
        (ADD, "org-1", asyncpg.UniqueViolationError),
        (ADD, None, asyncpg.NotNullViolationError),
        (ADD, "nul\x00nul", asyncpg.CharacterNotInRepertoireError),
        (ADD, b"bytes", asyncpg.DataError),
        ("SELECT $1::text::uuid", "no uuid", asyncpg.InvalidTextRepresentationError),
        ("SELECT $1::text::jsonb", '"\\ud800"', asyncpg.InvalidTextRepresentationError),
        ("SELECT * FROM nowhere WHERE $1", "", asyncpg.UndefinedTableError),
    ],
)
async def test_an_error_in_the_rows_is_no_infrastructure_error(
    conn: Conn, statement: str, argument: object, kind: type[Exception]
) -> None:
    await conn.execute(ADD, "org-1")
    with pytest.raises(kind) as caught:
        await conn.execute(statement, argument)
    assert not is_infrastructure(caught.value)
