"""Fixtures of the store's tests."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from shared.store.migrate import migrate
from shared.store.pool import Conn
from tests.support import servers


@pytest.fixture
async def empty_database_url(worker: str) -> str:
    """Create a database without any schema. Return its URL."""
    return await servers.create_database(f"empty_{worker}", template="template0")


@pytest.fixture
async def migrated(empty_database_url: str) -> AsyncIterator[Conn]:
    """Yield a new database at the newest revision, without partitions for future days."""
    await migrate(empty_database_url)
    conn = await asyncpg.connect(empty_database_url)
    try:
        yield conn
    finally:
        await conn.close()
