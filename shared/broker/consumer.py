"""Consuming a queue one message at a time: handled, then acknowledged."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial

import structlog
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage

from shared.broker.connect import ignoring_broker_loss
from shared.process.health import Dependency

log = structlog.get_logger()

PREFETCH = 16
#: Between two tries of one message.
PAUSE_SECONDS = 2.0
#: How long a message is held while it cannot be handled; then all of them go back to the broker,
#: whose own limit is 30 minutes (rabbitmq.com/docs/consumers#acknowledgement-timeout).
MAX_UNACKED_SECONDS = 20 * 60


MessageHandler = Callable[[AbstractIncomingMessage], Awaitable[None]]


class Consumer:
    """What handles each queue must be idempotent: it is tried until it succeeds, and a message may
    come again."""

    def __init__(self, handles: Mapping[str, MessageHandler], dependency: Dependency) -> None:
        self._handles = handles
        self._dependency = dependency
        self._lost = asyncio.Event()

    async def serve(self, amqp: AbstractConnection) -> None:
        """Consume until a channel is lost; made for `keep_connected`."""
        self._lost.clear()
        async with asyncio.TaskGroup() as group:
            watching = [
                group.create_task(self._watch(await self._consume(amqp, queue)))
                for queue in self._handles
            ]
            self._dependency.mark(up=True)
            await self._lost.wait()
            for one in watching:
                one.cancel()

    async def _consume(self, amqp: AbstractConnection, name: str) -> AbstractChannel:
        channel = await amqp.channel()
        await channel.set_qos(prefetch_count=PREFETCH)
        queue = await channel.get_queue(name, ensure=False)
        # A broker that cancels the consumer (its queue was deleted) says so once, and never again.
        underlay = await channel.get_underlay_channel()
        underlay.on_consumer_cancel_callbacks.add(lambda *_: self._lost.set())
        await queue.consume(partial(self._deliver, name))
        return channel

    async def _watch(self, channel: AbstractChannel) -> None:
        await channel.closed()
        self._lost.set()

    async def _deliver(self, queue: str, message: AbstractIncomingMessage) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + MAX_UNACKED_SECONDS
        while loop.time() < until:
            try:
                await self._handles[queue](message)
            except Exception as error:
                log.warning("message.not_handled", queue=queue, exc_info=error)
                await asyncio.sleep(PAUSE_SECONDS)
            else:
                with ignoring_broker_loss():
                    await message.ack()
                return
        self._lost.set()
