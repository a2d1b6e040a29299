"""The relay publishes a batch, marks each event by how that ended, and counts it."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client import CollectorRegistry

from services.processor.event_relay import EventRelay
from services.processor.metrics import ProcessorMetrics
from shared.broker.publisher import Publisher
from shared.broker.topology import EVENTS
from shared.cache import Cache, open_redis
from shared.crypto import KeyRing
from shared.process.health import Health
from shared.store import events
from shared.store.connections import onboardings, organizations
from shared.store.connections.onboardings import NewOnboarding
from shared.store.pool import Conn, Pool
from tests.support.broker import Broker
from tests.support.keys import TOKEN_RING

NOW = datetime.now(UTC)


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
async def publisher(broker: Broker) -> AsyncIterator[Publisher]:
    dependency = Health(CollectorRegistry()).dependency("publisher")
    publisher = Publisher(dependency)
    serving = asyncio.ensure_future(publisher.serve(broker.amqp))
    await asyncio.wait_for(dependency.seen.wait(), 10)
    yield publisher
    serving.cancel()


@pytest.fixture
async def relay(
    pool: Pool, ring: KeyRing, redis_url: str, publisher: Publisher, registry: CollectorRegistry
) -> AsyncIterator[EventRelay]:
    async with open_redis(redis_url) as redis:
        cache = Cache(redis, registry)
        yield EventRelay(pool, ring, TOKEN_RING, publisher, cache, ProcessorMetrics(registry))


async def add_events(conn: Conn, *outcomes: str) -> None:
    """Store an event of an onboarding for each outcome."""
    await organizations.add(conn, "bakery")
    new = NewOnboarding("bakery", "code-1", NOW + timedelta(hours=1))
    onboarding = await onboardings.start(conn, TOKEN_RING, new)
    assert onboarding is not None
    for outcome in outcomes:
        await events.add_for_onboarding(conn, outcome, onboarding, waba_id=None, reason=None)


def counted(registry: CollectorRegistry, outcome: str) -> float | None:
    return registry.get_sample_value("porteiro_events_published_total", {"outcome": outcome})


async def test_each_event_of_a_batch_is_marked_and_counted_by_its_outcome(
    relay: EventRelay, broker: Broker, conn: Conn, registry: CollectorRegistry
) -> None:
    await add_events(conn, "completed", "refused", "refused", "cancelled")
    await conn.execute(
        "UPDATE whatsapp_onboarding SET sealed_tracking_code = set_byte(sealed_tracking_code, 40,"
        " get_byte(sealed_tracking_code, 40) # 1)"
    )
    await conn.execute(
        "UPDATE events SET onboarding_id = NULL WHERE type <> 'onboarding.cancelled'"
    )
    async with broker.amqp.channel() as channel:
        queue = await channel.declare_queue(exclusive=True)
        await queue.bind(EVENTS, "onboarding.refused")
        assert await relay.work_once()
    assert not await relay.work_once()
    assert counted(registry, "routed") == 2
    assert counted(registry, "unrouted") == 1
    assert counted(registry, "undecryptable") == 1
    marked = await conn.fetch(
        """
        SELECT type, published_at IS NOT NULL AS is_published, is_unrouted,
               due_at > now() + interval '9 min' AS is_put_off
        FROM events ORDER BY type
        """
    )
    assert [tuple(row) for row in marked] == [
        ("onboarding.cancelled", False, False, True),
        ("onboarding.completed", True, True, False),
        ("onboarding.refused", True, False, False),
        ("onboarding.refused", True, False, False),
    ]


async def test_events_are_leased_only_while_the_broker_is_there(
    pool: Pool, ring: KeyRing, redis_url: str, conn: Conn, registry: CollectorRegistry
) -> None:
    publisher = Publisher(Health(CollectorRegistry()).dependency("publisher"))
    await add_events(conn, "completed")
    async with open_redis(redis_url) as redis:
        relay = EventRelay(
            pool, ring, TOKEN_RING, publisher, Cache(redis, registry), ProcessorMetrics(registry)
        )
        assert not await relay.work_once()
    assert await conn.fetchval("SELECT due_at <= now() FROM events")
