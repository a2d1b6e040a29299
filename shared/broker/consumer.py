"""Consume queues: handle each message, then ack it."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial

import structlog
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage
from tenacity import (
    AsyncRetrying,
    RetryError,
    retry_if_exception_type,
    stop_after_delay,
    wait_fixed,
)

from shared.broker.connect import ignoring_broker_loss
from shared.process.health import Dependency

log = structlog.get_logger()

PREFETCH = 16
#: Seconds between two calls of the handler for one message.
PAUSE_SECONDS = 2.0
#: How long a message stays unacked while its handler fails; then all unacked messages return to the
#: broker. RabbitMQ's own limit is 30 minutes (rabbitmq.com/docs/consumers#acknowledgement-timeout).
MAX_UNACKED_SECONDS = 20 * 60


def until_handled(queue: str) -> AsyncRetrying:
    """Return the policy for a message whose handler fails: again, until it must be returned."""
    return AsyncRetrying(
        retry=retry_if_exception_type(Exception),
        wait=wait_fixed(PAUSE_SECONDS),
        stop=stop_after_delay(MAX_UNACKED_SECONDS),
        before_sleep=lambda state: log.warning(
            "message.not_handled", queue=queue, exc_info=state.outcome and state.outcome.exception()
        ),
    )


MessageHandler = Callable[[AbstractIncomingMessage], Awaitable[None]]


class Consumer:
    """Call a handler for each message of its queue until the handler succeeds.

    Handlers must be idempotent: the broker may deliver a message again.
    """

    def __init__(self, handlers: Mapping[str, MessageHandler], dependency: Dependency) -> None:
        self._handlers = handlers
        self._dependency = dependency
        self._ended = asyncio.Event()

    async def serve(self, amqp: AbstractConnection) -> None:
        """Consume until a channel is lost. Pass this to `keep_connected`."""
        self._ended.clear()
        async with asyncio.TaskGroup() as group:
            watchers = [
                group.create_task(self._watch(await self._consume(amqp, queue)))
                for queue in self._handlers
            ]
            self._dependency.mark(up=True)
            await self._ended.wait()
            for watcher in watchers:
                watcher.cancel()

    async def _consume(self, amqp: AbstractConnection, name: str) -> AbstractChannel:
        channel = await amqp.channel()
        await channel.set_qos(prefetch_count=PREFETCH)
        queue = await channel.get_queue(name, ensure=False)
        # If the queue is deleted, the broker cancels the consumer and reports that only once.
        underlay = await channel.get_underlay_channel()
        underlay.on_consumer_cancel_callbacks.add(lambda *_: self._ended.set())
        await queue.consume(partial(self._deliver, name))
        return channel

    async def _watch(self, channel: AbstractChannel) -> None:
        await channel.closed()
        self._ended.set()

    async def _deliver(self, queue: str, message: AbstractIncomingMessage) -> None:
        try:
            await until_handled(queue)(self._handlers[queue], message)
        except RetryError:
            self._ended.set()
        else:
            with ignoring_broker_loss():
                await message.ack()
