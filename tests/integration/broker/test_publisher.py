"""A message is published whole, or the publisher says why not."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aio_pika import DeliveryMode
from aio_pika.abc import AbstractConnection
from prometheus_client import CollectorRegistry

from shared.broker.connect import connect
from shared.broker.publisher import NotPublished, Properties, Publisher, Unrouted
from shared.broker.topology import CHANGES, EVENTS
from shared.process.health import Health
from tests.support.broker import Broker
from tests.support.proxy import open_proxy
from tests.support.waiting import eventually


@asynccontextmanager
async def publishing(amqp: AbstractConnection) -> AsyncIterator[Publisher]:
    dependency = Health(CollectorRegistry()).dependency("publisher")
    publisher = Publisher(dependency)
    serving = asyncio.ensure_future(publisher.serve(amqp))
    await asyncio.wait_for(dependency.seen.wait(), 10)
    assert dependency.up
    assert publisher.is_up
    yield publisher
    serving.cancel()


@pytest.fixture
async def publisher(broker: Broker) -> AsyncIterator[Publisher]:
    async with publishing(broker.amqp) as publisher:
        yield publisher


async def test_a_message_arrives_with_its_id_and_headers(
    broker: Broker, publisher: Publisher
) -> None:
    await publisher.publish(
        CHANGES, b"{}", timeout=5, properties=Properties("id-1"), headers={"attempt": 2}
    )
    await publisher.publish(CHANGES, b"[]", timeout=5)

    async with broker.amqp.channel() as channel:
        queue = await channel.get_queue(CHANGES)
        first = await eventually(lambda: queue.get(fail=False, no_ack=True))
        second = await eventually(lambda: queue.get(fail=False, no_ack=True))
    assert (first.body, first.message_id, first.headers["attempt"]) == (b"{}", "id-1", 2)
    assert (second.body, "attempt" in second.headers) == (b"[]", False)
    for message in (first, second):
        assert message.delivery_mode == DeliveryMode.PERSISTENT
        assert message.content_type == "application/json"


async def test_a_message_for_which_no_queue_is_bound_is_unrouted(publisher: Publisher) -> None:
    with pytest.raises(Unrouted):
        await publisher.publish("connection.active", b"{}", timeout=5, exchange=EVENTS)


async def test_a_confirm_that_does_not_come_in_time_is_not_waited_for(broker: Broker) -> None:
    async with open_proxy(broker.url) as proxy, await connect(proxy.url, "test") as amqp:
        async with publishing(amqp) as publisher:
            proxy.stall()
            async with asyncio.timeout(10):
                with pytest.raises(NotPublished):
                    await publisher.publish(CHANGES, b"{}", timeout=0.2)
            await proxy.heal()


async def test_without_a_channel_nothing_is_published() -> None:
    publisher = Publisher(Health(CollectorRegistry()).dependency("publisher"))

    assert not publisher.is_up
    with pytest.raises(NotPublished):
        await publisher.publish(CHANGES, b"{}", timeout=5)
