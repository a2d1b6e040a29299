"""Faults of RabbitMQ: a queue is deleted, a message of a newer version comes."""

import asyncio
import json
import operator
import random

import aio_pika
from aio_pika.exceptions import AMQPError
from tenacity import AsyncRetrying, retry_if_result, wait_fixed

from shared.broker import topology
from shared.broker.topology import CHANGES, PROVISION, RAW
from shared.domain.retries import RETRY_SECONDS

#: Their messages may be lost: they only say that rows are due.
_DELETABLE = (CHANGES, PROVISION)


class BrokerFaults:
    """Each fault returns whether it took effect."""

    def __init__(self, url: str, pick: random.Random) -> None:
        self._url = url
        self._pick = pick
        #: How many messages of a newer version RabbitMQ has confirmed.
        self.newer = 0

    async def delete_queue(self, seconds: float) -> bool:
        """Delete a queue. Declare it again after some seconds, as an operator would."""
        name = self._pick.choice(_DELETABLE)
        is_deleted = await self._try_to("delete", name)
        await asyncio.sleep(seconds)
        until_done = AsyncRetrying(retry=retry_if_result(operator.not_), wait=wait_fixed(0.5))
        await until_done(self._try_to, "declare", name)
        return is_deleted

    async def newer_message(self, _: float) -> bool:
        """Publish a message of a version that is not known yet."""
        is_published = await self._try_to("publish", RAW)
        self.newer += is_published
        return is_published

    async def _try_to(self, act: str, queue: str) -> bool:
        """Act. Return False if RabbitMQ is away."""
        try:
            async with asyncio.timeout(5):
                amqp = await aio_pika.connect(self._url, timeout=3)
                try:
                    await self._act(amqp, act, queue)
                finally:
                    await amqp.close()
        except (AMQPError, OSError, RuntimeError, TimeoutError):
            return False
        return True

    async def _act(self, amqp: aio_pika.abc.AbstractConnection, act: str, queue: str) -> None:
        if act == "declare":
            await topology.declare(amqp, RETRY_SECONDS)
            return
        async with amqp.channel() as channel:
            if act == "delete":
                await channel.queue_delete(queue)
                return
            body = json.dumps({"version": 99, "number": self._pick.random()}).encode()
            message = aio_pika.Message(body, delivery_mode=2)
            await channel.default_exchange.publish(message, queue)
