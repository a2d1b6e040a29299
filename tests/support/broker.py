"""Read and write RabbitMQ queues from a test."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractConnection

from shared.broker.connect import connect
from shared.broker.topology import WORK
from tests.support.waiting import eventually


class Broker:
    def __init__(self, url: str, amqp: AbstractConnection, channel: AbstractChannel) -> None:
        self.url = url
        self.amqp = amqp
        self._channel = channel

    async def purge(self, *queues: str) -> None:
        for name in queues:
            await (await self._channel.get_queue(name, ensure=False)).purge()

    async def count(self, queue: str) -> int:
        """Return how many messages are ready for delivery."""
        declared = await self._channel.declare_queue(queue, passive=True)
        return int(declared.declaration_result.message_count or 0)

    async def take(self, queue: str) -> bytes:
        """Ack the next message and return its body. Wait for it."""

        async def next_body() -> bytes | None:
            message = await (await self._channel.get_queue(queue)).get(fail=False)
            if message is None:
                return None
            await message.ack()
            return message.body

        return await eventually(next_body)

    async def put(self, queue: str, body: bytes) -> None:
        exchange = await self._channel.get_exchange(WORK, ensure=False)
        await exchange.publish(aio_pika.Message(body), queue, timeout=5)


@asynccontextmanager
async def open_broker(url: str) -> AsyncIterator[Broker]:
    async with asyncio.timeout(10):
        amqp = await connect(url, "test")
    async with amqp, amqp.channel(on_return_raises=True) as channel:
        yield Broker(url, amqp, channel)
