"""A road to durability: webhooks that wait at the same moment travel together."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from prometheus_client import Histogram

from services.ingress.breaker import CircuitBreaker
from shared.messages import MAX_BUNDLE_BYTES, MAX_BUNDLE_WEBHOOKS, Webhook
from shared.store.intake.webhooks import Lane, StoredVia

#: Bundles of one road on their way at once. Few: while they travel, the next ones fill.
MAX_BATCHES_IN_FLIGHT = 2


class SinkFailed(Exception):
    """Not known to be durable in time; the webhook may still arrive by this road."""


@dataclass(frozen=True, slots=True)
class PendingWebhook:
    webhook: Webhook
    lane: Lane
    deadline: float
    stored: asyncio.Future[None]


Send = Callable[[Sequence[PendingWebhook], float], Awaitable[None]]


class BatchingSink:
    """Carries webhooks in bundles of 1..MAX_BUNDLE_WEBHOOKS, at most MAX_BUNDLE_BYTES (a larger one
    alone).

    `send(pending, seconds)` makes them all durable or raises. A failure, or the oldest
    passenger's deadline, fails everybody who waits: they have another road to take.
    """

    def __init__(self, name: StoredVia, send: Send, *, seconds: float, bundles: Histogram) -> None:
        self.name = name
        self._send = send
        self._seconds = seconds
        self._bundles = bundles.labels(name)
        self._breaker = CircuitBreaker()
        self._waiting: deque[PendingWebhook] = deque()
        self._in_flight: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()

    def is_open(self) -> bool:
        return self._breaker.allows(self._loop.time())

    async def store(self, webhook: Webhook, lane: Lane, *, since: float) -> None:
        """Return once `webhook` is durable, within the road's seconds after `since` (loop time).

        Raises RoadFailed. To be called only after `is_open` said yes.
        """
        stored = self._loop.create_future()
        self._waiting.append(PendingWebhook(webhook, lane, since + self._seconds, stored))
        if len(self._waiting) == 1:
            # Not at once: whoever is handled in this same turn of the loop comes along.
            self._loop.call_soon(self._start_sending)
        await stored

    def _start_sending(self) -> None:
        while self._waiting and len(self._in_flight) < MAX_BATCHES_IN_FLIGHT:
            sending_batch = asyncio.create_task(self._send_batch(self._next_batch()))
            self._in_flight.add(sending_batch)
            sending_batch.add_done_callback(self._batch_done)

    def _batch_done(self, sending_batch: asyncio.Task[None]) -> None:
        self._in_flight.discard(sending_batch)
        self._start_sending()

    def _next_batch(self) -> list[PendingWebhook]:
        bundle: list[PendingWebhook] = []
        size = 0
        while self._waiting and len(bundle) < MAX_BUNDLE_WEBHOOKS:
            size += len(self._waiting[0].webhook.body)
            if bundle and size > MAX_BUNDLE_BYTES:
                break
            bundle.append(self._waiting.popleft())
        return bundle

    async def _send_batch(self, bundle: list[PendingWebhook]) -> None:
        self._bundles.observe(len(bundle))
        left = min(p.deadline for p in bundle) - self._loop.time()
        sending = asyncio.ensure_future(self._send(bundle, left))
        # Not wait_for: it would wait for the cancelled driver to give in, which may take longer.
        await asyncio.wait({sending}, timeout=left)
        if sending.done() and not sending.cancelled() and sending.exception() is None:
            self._breaker.succeeded()
            for waiting in bundle:
                if not waiting.stored.done():  # cancelled: its request was given up
                    waiting.stored.set_result(None)
            return
        sending.cancel()
        self._breaker.failed(self._loop.time())
        failed = [*bundle, *self._waiting]
        self._waiting.clear()
        for waiting in failed:
            if not waiting.stored.done():
                waiting.stored.set_exception(SinkFailed())
