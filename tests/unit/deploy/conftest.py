"""The simulated Meta every test here may call."""

from collections.abc import AsyncIterator

import pytest

from tests.support.simulated import SimulatedMeta, simulated_meta


@pytest.fixture
async def meta() -> AsyncIterator[SimulatedMeta]:
    async with simulated_meta() as meta:
        yield meta
