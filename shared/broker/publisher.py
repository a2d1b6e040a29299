"""Publishing that is only done when the broker says it is kept."""

from collections.abc import Mapping

from aio_pika import DeliveryMode, Message
from aio_pika.abc import AbstractChannel, AbstractConnection
from aio_pika.exceptions import AMQPError, PublishError

from shared.broker.connect import BrokerLost, cancellation_as_broker_lost
from shared.broker.topology import WORK
from shared.process.health import Dependency


class NotPublished(Exception):
    """The broker refused, returned or did not confirm in time; the message may still arrive."""


class Unrouted(NotPublished):
    """No queue is bound for it."""


class Publisher:
    """Publishes over one channel with confirms, at most once a call."""

    def __init__(self, dependency: Dependency) -> None:
        self._dependency = dependency
        self._channel: AbstractChannel | None = None

    @property
    def is_up(self) -> bool:
        return self._channel is not None

    async def serve(self, amqp: AbstractConnection) -> None:
        """Hold the channel open until it is lost; made for `keep_connected`."""
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
        message_id: str | None = None,
        headers: Mapping[str, int] | None = None,
    ) -> None:
        """Return once the broker has confirmed it keeps `body`.

        Raises Unrouted if no queue is bound for it, NotPublished for every other end. Headers are
        always built anew: a copied x-death would make the broker drop what goes in circles.
        """
        if self._channel is None:
            raise NotPublished
        message = Message(
            body,
            delivery_mode=DeliveryMode.PERSISTENT,
            content_type="application/json",
            message_id=message_id,
            headers=dict(headers or {}),
        )
        try:
            with cancellation_as_broker_lost():
                to = await self._channel.get_exchange(exchange, ensure=False)
                await to.publish(message, key, mandatory=True, timeout=timeout)
        except PublishError as error:
            raise Unrouted from error
        except (AMQPError, BrokerLost, OSError, TimeoutError, RuntimeError) as error:
            raise NotPublished from error
