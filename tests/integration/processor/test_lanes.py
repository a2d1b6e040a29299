"""Two lanes share a group. A busy fast lane leaves the slow lane its share."""

import asyncio

import pytest
from prometheus_client import CollectorRegistry

from deploy.local.simulated_meta.writing import write
from services.processor.intake import delivery_queue
from services.processor.intake.delivery_queue import (
    MAX_GROUP_WEBHOOKS,
    PREFETCH,
    SLOW_SHARE,
    DeliveryQueue,
)
from shared.broker.topology import RAW, RAW_SLOW
from shared.process.health import Health
from tests.support.broker import Broker
from tests.support.bundles import bundle
from tests.support.sending import message
from tests.support.waiting import eventually


@pytest.mark.parametrize(("fast", "slow"), [(10, 30), (45, 50), (60, 40), (90, 30), (1, 1)])
async def test_a_busy_fast_lane_leaves_the_slow_lane_its_share(
    broker: Broker, fast: int, slow: int
) -> None:
    for _ in range(2 * PREFETCH["fast"]):
        await broker.put(RAW, _bundle_of(fast))
    await broker.put(RAW_SLOW, _bundle_of(slow))
    deliveries, serving = await _start_serving(broker)
    group = await deliveries.take()
    counts = {lane: sum(len(d.webhooks) for d in group if d.lane == lane) for lane in PREFETCH}
    assert counts["slow"] == slow
    assert counts["fast"] <= MAX_GROUP_WEBHOOKS - SLOW_SHARE
    assert counts["fast"] >= min(MAX_GROUP_WEBHOOKS - SLOW_SHARE - fast, PREFETCH["fast"] * fast)
    serving.cancel()


async def test_an_idle_fast_lane_leaves_the_slow_lane_the_whole_group(broker: Broker) -> None:
    for _ in range(4):
        await broker.put(RAW_SLOW, _bundle_of(50))
    deliveries, serving = await _start_serving(broker)
    assert sum(len(d.webhooks) for d in await deliveries.take()) == MAX_GROUP_WEBHOOKS
    serving.cancel()


async def test_a_backlog_is_what_waits_here_or_in_the_broker(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery_queue, "BACKLOG_SECONDS", 60.0)
    monkeypatch.setattr(delivery_queue, "BACKLOG_MESSAGES", 3)
    for _ in range(PREFETCH["slow"] + 3):
        await broker.put(RAW_SLOW, _bundle_of(1))
    deliveries, serving = await _start_serving(broker)
    assert not await deliveries.has_backlog()
    monkeypatch.setattr(delivery_queue, "BACKLOG_MESSAGES", 2)
    assert await deliveries.has_backlog()
    monkeypatch.setattr(delivery_queue, "BACKLOG_MESSAGES", 3)
    monkeypatch.setattr(delivery_queue, "BACKLOG_SECONDS", 0.0)
    assert await deliveries.has_backlog()
    serving.cancel()
    await asyncio.wait({serving})
    assert not await deliveries.has_backlog()


async def test_a_group_has_a_limit_of_bytes(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = _bundle_of(1)
    monkeypatch.setattr(delivery_queue, "MAX_LANE_BYTES", 2 * len(body) + 100)
    for _ in range(5):
        await broker.put(RAW, body)
    deliveries, serving = await _start_serving(broker)
    assert [len(await deliveries.take()) for _ in range(3)] == [2, 2, 1]
    serving.cancel()


def _bundle_of(count: int) -> bytes:
    return bundle(*(write(message(number)) for number in range(count)))


async def _start_serving(broker: Broker) -> tuple[DeliveryQueue, asyncio.Task[None]]:
    """Return a delivery queue whose lanes have as many deliveries as the prefetch allows."""
    registry = CollectorRegistry()
    dependency = Health(registry).dependency("broker")
    deliveries = DeliveryQueue(dependency)
    ready = {"fast": await broker.count(RAW), "slow": await broker.count(RAW_SLOW)}
    serving = asyncio.create_task(deliveries.serve(broker.amqp))

    async def is_full() -> bool:
        lanes = deliveries._lanes
        return all(len(lanes[lane]) == min(ready[lane], PREFETCH[lane]) for lane in lanes)

    await eventually(is_full)
    return deliveries, serving
