"""A delivery that was put back is handed out again after its rest, though nothing else comes."""

import asyncio
from typing import cast

import uvloop
from aio_pika.abc import AbstractIncomingMessage
from prometheus_client import CollectorRegistry

from services.processor.intake.delivery_queue import Delivery, DeliveryQueue
from shared.process.health import Health

#: uvloop counts whole milliseconds, and seconds are rounded: whether the end of a rest, computed
#: beforehand, has come when its timer fires depends on the moment.
MOMENTS = 20


async def put_back_often() -> None:
    queue = DeliveryQueue(Health(CollectorRegistry()).dependency("broker"))
    message = cast("AbstractIncomingMessage", object())
    for moment in range(MOMENTS):
        taken_at = asyncio.get_running_loop().time()
        delivery = Delivery(message, "fast", [], None, taken_at, interruptions=moment % 3)
        queue.put_back(delivery, is_refused=False)
        [again] = await asyncio.wait_for(queue.take(), 5)
        assert again.interruptions == delivery.interruptions + 1
        queue.end_isolated()


def test_a_rest_ends_by_itself() -> None:
    uvloop.run(put_back_often())
