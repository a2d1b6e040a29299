"""A road, and the ferry that carries its bundles."""

import pytest

from services.ingress.batching_sink import BatchingSink
from tests.support.fake_sink import Ferry, road_of


@pytest.fixture
async def ferry() -> Ferry:
    return Ferry()


@pytest.fixture
async def sink(ferry: Ferry) -> BatchingSink:
    return road_of(ferry)
