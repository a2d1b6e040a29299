"""A message is acknowledged only after its handler has succeeded."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from aio_pika.abc import AbstractIncomingMessage
from prometheus_client import CollectorRegistry
from pytest import MonkeyPatch

from shared.broker import consumer as consumers
from shared.broker.connect import connect
from shared.broker.consumer import Consumer, MessageHandler
from shared.broker.topology import CHANGES
from shared.process.health import Health
from tests.support.broker import Broker
from tests.support.waiting import eventually


@asynccontextmanager
async def consuming(broker: Broker, handle: MessageHandler) -> AsyncIterator[asyncio.Future[None]]:
    """Consume CHANGES while the block runs. Yield what ends when the consumer does."""
    dependency = Health(CollectorRegistry()).dependency("consumer")
    async with await connect(broker.url, "test") as amqp:
        serving = asyncio.ensure_future(Consumer({CHANGES: handle}, dependency).serve(amqp))
        await asyncio.wait_for(dependency.seen.wait(), 10)
        assert dependency.up
        yield serving
        serving.cancel()


async def test_a_message_is_handled_again_until_its_handler_succeeds(
    broker: Broker, monkeypatch: MonkeyPatch
) -> None:
    monkeypatch.setattr(consumers, "PAUSE_SECONDS", 0)
    bodies: list[bytes] = []
    is_handled = asyncio.Event()

    async def handle(message: AbstractIncomingMessage) -> None:
        bodies.append(message.body)
        if len(bodies) < 3:
            raise ValueError("a fault that goes away")
        is_handled.set()

    async with consuming(broker, handle):
        await broker.put(CHANGES, b"nudge")
        await asyncio.wait_for(is_handled.wait(), 10)
    assert bodies == [b"nudge"] * 3
    assert await eventually(lambda: is_empty(broker))


async def test_a_message_that_fails_for_too_long_returns_to_the_broker(
    broker: Broker, monkeypatch: MonkeyPatch
) -> None:
    monkeypatch.setattr(consumers, "MAX_UNACKED_SECONDS", 0)

    async def handle(_: AbstractIncomingMessage) -> None:
        raise ValueError("a fault that stays")

    async with consuming(broker, handle) as serving:
        await broker.put(CHANGES, b"nudge")
        await asyncio.wait_for(serving, 10)
    assert await broker.take(CHANGES) == b"nudge"


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
