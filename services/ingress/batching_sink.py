"""A road to durability: webhooks that wait at the same moment travel together."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from prometheus_client import Histogram

from services.ingress.breaker import Breaker
from shared.messages import MAX_BUNDLE_BYTES, MAX_BUNDLE_WEBHOOKS, Webhook
from shared.store.intake.webhooks import Lane, StoredVia

#: Bundles of one road on their way at once. Few: while they travel, the next ones fill.
MAX_ON_THE_WAY = 2


class RoadFailed(Exception):
    """Not known to be durable in time; the webhook may still arrive by this road."""


@dataclass(frozen=True, slots=True)
class Passenger:
    webhook: Webhook
    lane: Lane
    deadline: float
    arrived: asyncio.Future[None]


Send = Callable[[Sequence[Passenger], float], Awaitable[None]]


class Road:
    """Carries webhooks in bundles of 1..MAX_BUNDLE_WEBHOOKS, at most MAX_BUNDLE_BYTES (a larger one
    alone).

    `send(passengers, seconds)` makes them all durable or raises. A failure, or the oldest
    passenger's deadline, fails everybody who waits: they have another road to take.
    """

    def __init__(self, name: StoredVia, send: Send, *, seconds: float, bundles: Histogram) -> None:
        self.name = name
        self._send = send
        self._seconds = seconds
        self._bundles = bundles.labels(name)
        self._breaker = Breaker()
        self._waiting: deque[Passenger] = deque()
        self._on_the_way: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()

    def is_open(self) -> bool:
        return self._breaker.allows(self._loop.time())

    async def carry(self, webhook: Webhook, lane: Lane, *, since: float) -> None:
        """Return once `webhook` is durable, within the road's seconds after `since` (loop time).

        Raises RoadFailed. To be called only after `is_open` said yes.
        """
        arrived = self._loop.create_future()
        self._waiting.append(Passenger(webhook, lane, since + self._seconds, arrived))
        if len(self._waiting) == 1:
            # Not at once: whoever is handled in this same turn of the loop comes along.
            self._loop.call_soon(self._depart)
        await arrived

    def _depart(self) -> None:
        while self._waiting and len(self._on_the_way) < MAX_ON_THE_WAY:
            journey = asyncio.create_task(self._travel(self._board()))
            self._on_the_way.add(journey)
            journey.add_done_callback(self._made_room)

    def _made_room(self, journey: asyncio.Task[None]) -> None:
        self._on_the_way.discard(journey)
        self._depart()

    def _board(self) -> list[Passenger]:
        bundle: list[Passenger] = []
        size = 0
        while self._waiting and len(bundle) < MAX_BUNDLE_WEBHOOKS:
            size += len(self._waiting[0].webhook.body)
            if bundle and size > MAX_BUNDLE_BYTES:
                break
            bundle.append(self._waiting.popleft())
        return bundle

    async def _travel(self, bundle: list[Passenger]) -> None:
        self._bundles.observe(len(bundle))
        left = min(p.deadline for p in bundle) - self._loop.time()
        sending = asyncio.ensure_future(self._send(bundle, left))
        # Not wait_for: it would wait for the cancelled driver to give in, which may take longer.
        await asyncio.wait({sending}, timeout=left)
        if sending.done() and not sending.cancelled() and sending.exception() is None:
            self._breaker.succeeded()
            for passenger in bundle:
                if not passenger.arrived.done():  # cancelled: its request was given up
                    passenger.arrived.set_result(None)
            return
        sending.cancel()
        self._breaker.failed(self._loop.time())
        stranded = [*bundle, *self._waiting]
        self._waiting.clear()
        for passenger in stranded:
            if not passenger.arrived.done():
                passenger.arrived.set_exception(RoadFailed())
