"""A road, and the ferry that carries its bundles."""

import pytest

from services.ingress.road import Road
from tests.unit.services.ingress.ferry import Ferry, road_of


@pytest.fixture
async def ferry() -> Ferry:
    return Ferry()


@pytest.fixture
async def road(ferry: Ferry) -> Road:
    return road_of(ferry)
