"""Every wait for the database is bounded, and a schema older than the code is refused."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import asyncpg
import pytest

from shared.errors import StartupRefused
from shared.store.errors import NotConnected
from shared.store.migrate import migrate
from shared.store.pool import (
    REQUIRED_REVISION,
    SERVER_SETTINGS,
    Conn,
    Pool,
    open_pool,
    ping,
    transaction,
)
from tests.support.pooler import pooler
from tests.support.proxy import Proxy, open_proxy
from tests.support.waiting import eventually

#: Much longer than a prompt return needs, much shorter than asyncpg's own timeout of 30 s.
GENEROUS_SECONDS = 10


@pytest.fixture
async def proxy(database_url: str) -> AsyncIterator[Proxy]:
    async with open_proxy(database_url) as proxy:
        yield proxy


@pytest.fixture
async def proxied_pool(proxy: Proxy) -> AsyncIterator[Pool]:
    """Yield a pool whose server the test can cut off."""
    async with open_pool(proxy.url, name="test", size=2) as pool:
        yield pool


async def test_a_full_pool_is_waited_for_no_longer_than_asked(database_url: str) -> None:
    async with open_pool(database_url, name="test", size=1) as pool:
        async with transaction(pool):
            with pytest.raises(NotConnected):
                async with transaction(pool, wait=0.05):
                    pass
        await ping(pool)


async def test_a_pool_opens_without_its_server_and_connects_later(proxy: Proxy) -> None:
    await proxy.cut()
    async with open_pool(proxy.url, name="test", size=2) as pool:
        with pytest.raises(NotConnected):
            await ping(pool)
        await proxy.heal()
        await ping(pool)


async def test_a_pool_survives_the_loss_of_its_conns(proxy: Proxy, proxied_pool: Pool) -> None:
    await ping(proxied_pool)
    await proxy.cut()
    with pytest.raises((OSError, asyncpg.PostgresConnectionError, asyncpg.InterfaceError)):
        await ping(proxied_pool)
    await proxy.heal()
    await ping(proxied_pool)


async def test_a_database_without_a_schema_is_refused(empty_database_url: str) -> None:
    async with open_pool(empty_database_url, name="test", size=1) as pool:
        with pytest.raises(
            StartupRefused, match=f"at nothing, this code needs {REQUIRED_REVISION}"
        ):
            await ping(pool)


async def test_a_schema_migrated_down_to_nothing_is_refused(empty_database_url: str) -> None:
    await migrate(empty_database_url)
    await migrate(empty_database_url, "base")
    async with open_pool(empty_database_url, name="test", size=1) as pool:
        with pytest.raises(StartupRefused, match=r"at nothing, .* run `porteiro migrate`"):
            await ping(pool)


@pytest.mark.parametrize(("revision", "is_refused"), [("0000", True), ("9999", False)])
async def test_an_older_schema_is_refused_and_a_newer_one_is_not(
    empty_database_url: str, revision: str, *, is_refused: bool
) -> None:
    await migrate(empty_database_url)
    conn = await asyncpg.connect(empty_database_url)
    await conn.execute("UPDATE alembic_version SET version_num = $1", revision)
    await conn.close()
    async with open_pool(empty_database_url, name="test", size=1) as pool:
        if is_refused:
            with pytest.raises(StartupRefused, match=f"schema is at {revision}, this code needs"):
                await ping(pool)
        else:
            await ping(pool)


async def test_a_statement_given_up_on_a_stalled_server_returns(
    proxy: Proxy, proxied_pool: Pool
) -> None:
    await ping(proxied_pool)
    proxy.stall()
    async with asyncio.timeout(GENEROUS_SECONDS):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1), transaction(proxied_pool, wait=5) as conn:
                await conn.execute("SELECT 1")
    await proxy.heal()
    await ping(proxied_pool)


async def test_a_transaction_given_up_midway_on_a_stalled_server_returns(
    proxy: Proxy, proxied_pool: Pool
) -> None:
    async def stall_within_a_transaction() -> None:
        async with transaction(proxied_pool, wait=5) as conn:
            await conn.execute("SELECT 1")
            proxy.stall()
            async with asyncio.timeout(0.1):
                await conn.execute("SELECT 1")

    async with asyncio.timeout(GENEROUS_SECONDS):
        with pytest.raises(TimeoutError):
            await stall_within_a_transaction()
    await proxy.heal()
    await ping(proxied_pool)


async def test_a_commit_given_up_on_a_stalled_server_returns(
    proxy: Proxy, proxied_pool: Pool
) -> None:
    async def stall_before_the_commit() -> None:
        async with asyncio.timeout(0.1), transaction(proxied_pool, wait=5) as conn:
            await conn.execute("SELECT 1")
            proxy.stall()

    async with asyncio.timeout(GENEROUS_SECONDS):
        with pytest.raises(TimeoutError):
            await stall_before_the_commit()
    await proxy.heal()
    await ping(proxied_pool)


async def test_a_conn_that_cannot_be_opened_is_given_up(proxy: Proxy, proxied_pool: Pool) -> None:
    proxy.stall()
    async with asyncio.timeout(GENEROUS_SECONDS):
        with pytest.raises(NotConnected):
            async with transaction(proxied_pool, wait=0.1):
                pass
    await proxy.heal()
    await ping(proxied_pool)


async def test_a_pool_closes_although_its_server_is_stalled(proxy: Proxy) -> None:
    async with asyncio.timeout(GENEROUS_SECONDS):
        async with open_pool(proxy.url, name="test", size=2) as pool:
            await ping(pool)
            proxy.stall()
            with suppress(TimeoutError):
                async with asyncio.timeout(0.1):
                    await ping(pool)


@pytest.mark.parametrize(
    "settings",
    [
        {"pool_mode": "session"},
        {"pool_mode": "transaction"},
        {
            "pool_mode": "transaction",
            "ignore_startup_parameters": ",".join([*SERVER_SETTINGS, "extra_float_digits"]),
        },
    ],
)
async def test_a_pooler_that_keeps_no_settings_is_refused(
    settings: dict[str, str], database_url: str
) -> None:
    with pooler(database_url, settings) as url:
        async with open_pool(url, name="test", size=1) as pool:
            with pytest.raises(StartupRefused, match="connect to PostgreSQL itself"):
                await ping(pool)
        with pytest.raises(StartupRefused, match="connect to PostgreSQL itself"):
            await migrate(url)


async def test_a_session_that_is_given_up_while_it_is_made_is_closed(
    database_url: str, conn: Conn, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(*_: object, **__: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(asyncpg.Connection, "fetchrow", never)
    async with open_pool(database_url, name="given up", size=1) as pool:
        with pytest.raises(NotConnected):
            async with transaction(pool, wait=0.5):
                pass
    sessions = "SELECT FROM pg_stat_activity WHERE application_name = 'given up'"

    async def are_closed() -> bool:
        return not await conn.fetch(sessions)

    await eventually(are_closed)
