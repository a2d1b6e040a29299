"""A batching sink, and the fake sink that it sends its bundles to."""

import pytest

from services.ingress.sinks import BatchingSink
from tests.support.fake_sink import FakeSink, batching_sink


@pytest.fixture
async def fake_sink() -> FakeSink:
    return FakeSink()


@pytest.fixture
async def sink(fake_sink: FakeSink) -> BatchingSink:
    return batching_sink(fake_sink)
