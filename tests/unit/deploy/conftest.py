"""A simulated Meta for the tests of this folder."""

from collections.abc import AsyncIterator

import pytest

from tests.support.simulated import SimulatedMeta, simulated_meta


@pytest.fixture
async def meta() -> AsyncIterator[SimulatedMeta]:
    async with simulated_meta() as meta:
        yield meta
