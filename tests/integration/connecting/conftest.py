"""A running house for every test here."""

import time
from collections.abc import AsyncIterator

import pytest

from shared.store.pool import Pool
from tests.integration.connecting.house import House, open_house


@pytest.fixture
async def house(environment: dict[str, str], pool: Pool) -> AsyncIterator[House]:
    async with open_house(environment, pool) as house:
        house.meta.time = time.time()
        yield house
