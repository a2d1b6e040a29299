"""Publishing that is only done when the broker says it is kept."""

from aio_pika import DeliveryMode, Message
from aio_pika.abc import AbstractConnection, AbstractExchange
from aio_pika.exceptions import AMQPError

from shared.broker.link import LinkLost, stray_cancellation_is_link_lost
from shared.broker.topology import WORK
from shared.health import Dependency


class NotPublished(Exception):
    """The broker refused, returned or did not confirm in time; the message may still arrive."""


class Publisher:
    """Publishes to the `work` exchange over one channel with confirms, at most once a call."""

    def __init__(self, dependency: Dependency) -> None:
        self._dependency = dependency
        self._work: AbstractExchange | None = None

    async def serve(self, connection: AbstractConnection) -> None:
        """Hold the channel open until it is lost; made for `keep_connected`."""
        async with connection.channel(on_return_raises=True) as channel:
            self._work = await channel.get_exchange(WORK, ensure=False)
            self._dependency.mark(up=True)
            try:
                await channel.closed()
            finally:
                self._work = None

    async def publish(self, queue: str, body: bytes, *, timeout: float) -> None:
        """Return once the broker has confirmed it keeps `body`. Raises NotPublished."""
        if self._work is None:
            raise NotPublished
        message = Message(
            body, delivery_mode=DeliveryMode.PERSISTENT, content_type="application/json"
        )
        try:
            with stray_cancellation_is_link_lost():
                await self._work.publish(message, queue, mandatory=True, timeout=timeout)
        except (AMQPError, LinkLost, OSError, TimeoutError, RuntimeError) as error:
            raise NotPublished from error
