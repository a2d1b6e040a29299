"""Make webhooks durable: in RabbitMQ, and in PostgreSQL when RabbitMQ fails.

Webhooks that wait at the same moment are sent together. A sink that fails is skipped for a while.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from prometheus_client import Histogram

from shared.broker.publisher import Publisher
from shared.broker.topology import RAW, RAW_SLOW
from shared.crypto import KeyRing
from shared.messages import (
    MAX_BUNDLE_BYTES,
    MAX_BUNDLE_WEBHOOKS,
    Webhook,
    encode_webhook,
    join_bundle,
)
from shared.process.crash_points import crash_point
from shared.store.intake import webhooks
from shared.store.intake.webhooks import Lane, StoredVia
from shared.store.pool import Pool, transaction

QUEUES: dict[Lane, str] = {"fast": RAW, "slow": RAW_SLOW}
#: Seconds for which a sink is skipped after a failure.
OPEN_SECONDS = 1.0
#: Batches that one sink sends at the same time. Few, so that the next batches fill meanwhile.
MAX_BATCHES_IN_FLIGHT = 2


class SinkFailed(Exception):
    """The sink did not confirm the webhook in time. The webhook may still become durable later."""


@dataclass(frozen=True, slots=True)
class PendingWebhook:
    webhook: Webhook
    lane: Lane
    deadline: float
    stored: asyncio.Future[None]


Send = Callable[[Sequence[PendingWebhook], float], Awaitable[None]]


class BatchingSink:
    """Send webhooks in batches of 1..MAX_BUNDLE_WEBHOOKS and at most MAX_BUNDLE_BYTES.

    A larger webhook is sent alone. `send(pending, seconds)` makes all of them durable or raises.
    If it fails, or the oldest webhook of the batch reaches its deadline, the whole batch and all
    webhooks that wait for this sink fail: the receiver then tries its next sink.
    """

    def __init__(
        self, name: StoredVia, send: Send, *, seconds: float, batch_sizes: Histogram
    ) -> None:
        self.name = name
        self._send = send
        self._seconds = seconds
        self._batch_sizes = batch_sizes.labels(name)
        self._breaker = CircuitBreaker()
        self._waiting: deque[PendingWebhook] = deque()
        self._in_flight: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()

    def is_available(self) -> bool:
        """Return whether the sink accepts a webhook now (see CircuitBreaker.allows)."""
        return self._breaker.allows(self._loop.time())

    async def store(self, webhook: Webhook, lane: Lane, *, since: float) -> None:
        """Return once `webhook` is durable, within the sink's seconds after `since` (loop time).

        Raise SinkFailed otherwise. Call this only after `is_available` returned True.
        """
        stored = self._loop.create_future()
        self._waiting.append(PendingWebhook(webhook, lane, since + self._seconds, stored))
        if len(self._waiting) == 1:
            # Later in this turn of the event loop, so that its other webhooks join the batch.
            self._loop.call_soon(self._start_sending)
        await stored

    def _start_sending(self) -> None:
        while self._waiting and len(self._in_flight) < MAX_BATCHES_IN_FLIGHT:
            task = asyncio.create_task(self._send_batch(self._next_batch()))
            self._in_flight.add(task)
            task.add_done_callback(self._batch_done)

    def _batch_done(self, task: asyncio.Task[None]) -> None:
        self._in_flight.discard(task)
        self._start_sending()

    def _next_batch(self) -> list[PendingWebhook]:
        batch: list[PendingWebhook] = []
        size = 0
        while self._waiting and len(batch) < MAX_BUNDLE_WEBHOOKS:
            size += len(self._waiting[0].webhook.body)
            if batch and size > MAX_BUNDLE_BYTES:
                break
            batch.append(self._waiting.popleft())
        return batch

    async def _send_batch(self, batch: list[PendingWebhook]) -> None:
        self._batch_sizes.observe(len(batch))
        seconds_left = min(p.deadline for p in batch) - self._loop.time()
        sending = asyncio.ensure_future(self._send(batch, seconds_left))
        # Not wait_for: it also waits until the driver has handled the cancellation.
        await asyncio.wait({sending}, timeout=seconds_left)
        if sending.done() and not sending.cancelled() and sending.exception() is None:
            self._breaker.succeeded()
            for pending in batch:
                if not pending.stored.done():  # it is done if its request was cancelled
                    pending.stored.set_result(None)
            return
        sending.cancel()
        self._breaker.failed(self._loop.time())
        failed = [*batch, *self._waiting]
        self._waiting.clear()
        for pending in failed:
            if not pending.stored.done():
                pending.stored.set_exception(SinkFailed())


class BrokerSink:
    """Publish webhooks as bundles. Durable means: confirmed by RabbitMQ and not returned."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher

    async def send(self, pending: Sequence[PendingWebhook], seconds: float) -> None:
        for lane, queue in QUEUES.items():
            items = [encode_webhook(p.webhook) for p in pending if p.lane == lane]
            if items:
                await self._publisher.publish(queue, join_bundle(items), timeout=seconds)
                crash_point("bundle.published")


class DatabaseSink:
    """Store webhooks unsplit. Durable means: committed; the processor finds and splits them."""

    def __init__(self, pool: Pool, ring: KeyRing) -> None:
        self._pool = pool
        self._ring = ring

    async def send(self, pending: Sequence[PendingWebhook], seconds: float) -> None:
        rows = [webhooks.WebhookRow(p.webhook, p.lane, "database", "unsplit") for p in pending]
        async with transaction(self._pool, wait=seconds) as conn:
            await webhooks.insert(conn, self._ring, rows)
            crash_point("bundle.storing")
        crash_point("bundle.stored")


class CircuitBreaker:
    """Closed: every webhook may pass. A failure opens it for OPEN_SECONDS.

    Then it is half-open: one trial at a time passes. Success closes it, failure opens it again.
    """

    def __init__(self) -> None:
        self._open_until = 0.0
        self._is_closed = True
        self._on_trial = False

    def allows(self, now: float) -> bool:
        """Return whether a webhook may use the sink now. If not closed, True starts the trial."""
        if self._is_closed:
            return True
        if self._on_trial or now < self._open_until:
            return False
        self._on_trial = True
        return True

    def succeeded(self) -> None:
        self._is_closed = True
        self._on_trial = False

    def failed(self, now: float) -> None:
        self._is_closed = False
        self._on_trial = False
        self._open_until = now + OPEN_SECONDS
