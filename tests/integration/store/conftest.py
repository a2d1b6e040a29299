"""Fixtures of the store's tests."""

import pytest

from tests.support import servers


@pytest.fixture
async def empty_database_url(worker: str) -> str:
    """Create a database without any schema. Return its URL."""
    return await servers.create_database(f"empty_{worker}", template="template0")
