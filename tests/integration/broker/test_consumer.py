"""A message is acknowledged only after its handler has succeeded."""

import asyncio
from contextlib import suppress

from aio_pika.abc import AbstractIncomingMessage
from prometheus_client import CollectorRegistry

from shared.broker.connect import connect
from shared.broker.consumer import Consumer
from shared.broker.topology import CHANGES
from shared.process.health import Health
from tests.support.broker import Broker
from tests.support.waiting import eventually


async def test_a_message_whose_handler_has_not_ended_is_delivered_again(broker: Broker) -> None:
    has_begun = asyncio.Event()

    async def handle(_: AbstractIncomingMessage) -> None:
        has_begun.set()
        await asyncio.Event().wait()

    consumer = Consumer({CHANGES: handle}, Health(CollectorRegistry()).dependency("consumer"))
    await broker.put(CHANGES, b"nudge")
    amqp = await connect(broker.url, "test")
    serving = asyncio.ensure_future(consumer.serve(amqp))
    await asyncio.wait_for(has_begun.wait(), 10)
    await amqp.close()
    with suppress(asyncio.CancelledError):
        await asyncio.wait_for(serving, 10)
    assert await broker.take(CHANGES) == b"nudge"
    assert await eventually(lambda: is_empty(broker))


async def is_empty(broker: Broker) -> bool:
    return await broker.count(CHANGES) == 0
