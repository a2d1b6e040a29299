"""Make webhooks durable in batches: webhooks that wait at the same moment are sent together."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from prometheus_client import Histogram

from services.ingress.breaker import CircuitBreaker
from shared.messages import MAX_BUNDLE_BYTES, MAX_BUNDLE_WEBHOOKS, Webhook
from shared.store.intake.webhooks import Lane, StoredVia

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
