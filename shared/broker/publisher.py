"""Publish messages and wait until RabbitMQ confirms them."""

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

from aio_pika import DeliveryMode, Message
from aio_pika.abc import AbstractChannel, AbstractConnection
from aio_pika.exceptions import AMQPError, PublishError

from shared.broker.connect import BrokerLost, cancellation_as_broker_lost
from shared.broker.topology import WORK
from shared.process.health import Dependency

#: The AMQP property `app_id` of every message of ours.
APP_ID = "porteiro"


class Properties(NamedTuple):
    """AMQP properties of one message. A timestamp has whole seconds."""

    message_id: str | None = None
    type: str | None = None
    timestamp: datetime | None = None


NO_PROPERTIES = Properties()


class NotPublished(Exception):
    """The message was not sent, or the broker refused it, returned it or did not confirm it.

    Unless the message is Unrouted, it may still arrive.
    """


class Unrouted(NotPublished):
    """No queue is bound for the message."""


class Publisher:
    """Publish over one channel with confirms. Each call publishes at most once."""

    def __init__(self, dependency: Dependency) -> None:
        self._dependency = dependency
        self._channel: AbstractChannel | None = None

    @property
    def is_up(self) -> bool:
        return self._channel is not None

    async def serve(self, amqp: AbstractConnection) -> None:
        """Keep a channel open until it is lost. Pass this to `keep_connected`."""
        async with amqp.channel(on_return_raises=True) as channel:
            self._channel = channel
            self._dependency.mark(up=True)
            try:
                await channel.closed()
            finally:
                self._channel = None

    async def publish(
        self,
        key: str,
        body: bytes,
        *,
        timeout: float,
        exchange: str = WORK,
        properties: Properties = NO_PROPERTIES,
        headers: Mapping[str, int | str] | None = None,
    ) -> None:
        """Return once the broker has confirmed `body`.

        Raise Unrouted if no queue is bound for it, NotPublished for every other failure. Never pass
        the headers of a received message: with a copied x-death header the broker would drop a
        message that goes round in a cycle.
        """
        if self._channel is None:
            raise NotPublished
        await publish(
            self._channel,
            key,
            body,
            timeout=timeout,
            exchange=exchange,
            properties=properties,
            headers=headers,
        )


async def publish(
    channel: AbstractChannel,
    key: str,
    body: bytes,
    *,
    timeout: float,
    exchange: str = WORK,
    properties: Properties = NO_PROPERTIES,
    headers: Mapping[str, int | str] | None = None,
) -> None:
    """Likewise over a channel that was opened with `on_return_raises`."""
    message = Message(
        body,
        delivery_mode=DeliveryMode.PERSISTENT,
        content_type="application/json",
        message_id=properties.message_id,
        type=properties.type,
        timestamp=properties.timestamp,
        app_id=APP_ID,
        headers=dict(headers or {}),
    )
    try:
        with cancellation_as_broker_lost():
            target = await channel.get_exchange(exchange, ensure=False)
            await target.publish(message, key, mandatory=True, timeout=timeout)
    except PublishError as error:
        raise Unrouted from error
    except (AMQPError, BrokerLost, OSError, TimeoutError, RuntimeError) as error:
        raise NotPublished from error
