"""Consume every event, as the company's backend does."""

from typing import NamedTuple

import aio_pika

EXCHANGE = "whatsapp.events"
QUEUE = "chaos"
#: How long the next event may take.
ARRIVAL_SECONDS = 30


class Told(NamedTuple):
    """An event as it reached our queue."""

    routing_key: str
    message_id: str | None
    body: bytes


async def declare(url: str) -> None:
    """Declare a queue that receives every event from now on."""
    async with await aio_pika.connect(url) as broker, broker.channel() as channel:
        queue = await channel.declare_queue(
            QUEUE, durable=True, arguments={"x-queue-type": "quorum"}
        )
        await queue.bind(EXCHANGE, "#")


async def delete(url: str) -> None:
    """Delete the queue."""
    async with await aio_pika.connect(url) as broker, broker.channel() as channel:
        await channel.queue_delete(QUEUE)


async def drain(url: str) -> list[Told]:
    """Return all events of the queue, and remove them."""
    told: list[Told] = []
    async with await aio_pika.connect(url) as broker, broker.channel() as channel:
        await channel.set_qos(prefetch_count=500)
        queue = await channel.declare_queue(QUEUE, passive=True)
        count = queue.declaration_result.message_count or 0
        async with queue.iterator(timeout=ARRIVAL_SECONDS) as events:
            while len(told) < count:
                event = await anext(events)
                await event.ack()
                told.append(Told(event.routing_key or "", event.message_id, event.body))
    return told
