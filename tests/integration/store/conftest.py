"""Databases of the store's own tests."""

import pytest

from tests.support import servers


@pytest.fixture
async def empty_database_url(worker: str) -> str:
    """A database without any schema."""
    return await servers.create_database(f"empty_{worker}", template="template0")
