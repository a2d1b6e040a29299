"""Migrations and partitions wait for locks in short turns: nobody waits long behind them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import asyncpg
import pytest

from shared.store.intake import partitions
from shared.store.migrate import migrate
from shared.store.pool import REQUIRED_REVISION
from tests.support.waiting import eventually

#: Longer than any turn of a migration, shorter than a reader that sits.
PATIENCE = "2s"


@asynccontextmanager
async def connected(url: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    conn = await asyncpg.connect(url)
    try:
        yield conn
    finally:
        await conn.close()


async def run_beside_a_reader(url: str, table: str, work: Awaitable[object]) -> None:
    """Run `work` while a reader sits on the table, and see that writers go on. Then let it end."""
    async with connected(url) as reader, connected(url) as writer, connected(url) as watcher:
        await writer.execute(f"SET lock_timeout = '{PATIENCE}'")
        waits = (
            "SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            " AND datname = current_database()"
        )
        async with reader.transaction():
            await reader.fetch(f"SELECT FROM {table}")
            task = asyncio.ensure_future(work)
            for _ in range(3):  # it waits again and again, and each time the writer gets its turn
                await eventually(lambda: watcher.fetchval(waits))
                async with writer.transaction():
                    await writer.execute(f"LOCK TABLE {table} IN ROW EXCLUSIVE MODE")
            assert not task.done()
        await asyncio.wait_for(task, 60)


async def test_a_reader_that_sits_on_a_table_lets_no_writer_wait_behind_a_migration(
    empty_database_url: str,
) -> None:
    await migrate(empty_database_url, "0008")
    await run_beside_a_reader(empty_database_url, "webhook_log", migrate(empty_database_url))
    async with connected(empty_database_url) as conn:
        assert await conn.fetchval("SELECT version_num FROM alembic_version") == REQUIRED_REVISION


async def test_a_reader_that_sits_on_the_bodies_lets_no_writer_wait_behind_a_partition(
    empty_database_url: str,
) -> None:
    await migrate(empty_database_url)
    async with connected(empty_database_url) as conn:
        adding = partitions.add_ahead(conn, datetime.now(UTC).date())
        await run_beside_a_reader(empty_database_url, "webhook_bodies", adding)
        attached = "SELECT count(*) FROM pg_inherits WHERE inhparent = 'webhook_bodies'::regclass"
        assert await conn.fetchval(attached) == 15


async def test_an_index_that_a_stopped_run_has_left_invalid_is_made_again(
    empty_database_url: str,
) -> None:
    await migrate(empty_database_url, "0008")
    async with connected(empty_database_url) as conn:
        await conn.execute("ALTER TABLE webhook_log ADD COLUMN interruptions smallint DEFAULT 0")
        await conn.execute("CREATE INDEX webhook_log_isolated_idx ON webhook_log (id)")
        await conn.execute(
            "UPDATE pg_index SET indisvalid = false"
            " WHERE indexrelid = 'webhook_log_isolated_idx'::regclass"
        )
        await migrate(empty_database_url)
        is_valid = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass($1)"
        assert await conn.fetchval(is_valid, "webhook_log_isolated_idx")


async def test_eras_are_made_although_a_run_was_stopped_after_their_table(
    empty_database_url: str,
) -> None:
    await migrate(empty_database_url, "0008")
    async with connected(empty_database_url) as conn:
        await conn.execute("DROP VIEW business_owners")  # as before the second part of 0008
        await conn.execute("UPDATE alembic_version SET version_num = '0007'")
        await migrate(empty_database_url)
        assert await conn.fetchval("SELECT count(*) FROM business_owners") == 0


@pytest.mark.parametrize(
    "option", ["sslmode=disable", "sslmode=prefer", "target_session_attrs=any"]
)
async def test_the_url_may_have_the_options_of_libpq(empty_database_url: str, option: str) -> None:
    await migrate(f"{empty_database_url}?{option}")


async def test_a_refused_password_is_told_as_asyncpg_tells_it(empty_database_url: str) -> None:
    user, _, rest = empty_database_url.rpartition("@")
    wrong = f"{user.rpartition(':')[0]}:wrong@{rest}"
    with pytest.raises(
        (asyncpg.InvalidPasswordError, asyncpg.InvalidAuthorizationSpecificationError)
    ):
        await migrate(wrong)
