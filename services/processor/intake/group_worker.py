"""Take groups of deliveries, store them, and ack each delivery once it is committed."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import structlog

from services.processor.intake.delivery_queue import MAX_UNACKED_SECONDS, Delivery, DeliveryQueue
from services.processor.intake.retry_nudges import RetryNudges
from services.processor.intake.webhook_groups import WebhookGroups
from services.processor.metrics import ProcessorMetrics
from services.processor.polling_loop import PollingLoop
from shared.messages import Nudge
from shared.process.crash_points import crash_point
from shared.store.errors import is_infrastructure, is_lock_timeout
from shared.store.intake.webhooks import LanedWebhook

log = structlog.get_logger()

#: Two: one splits while the other waits for PostgreSQL to commit.
WORKERS = 2
#: Seconds to wait before a group is stored again after an infrastructure error.
_PAUSE_SECONDS = (0.1, 0.5, 1.0, 2.0)


class GroupWorker:
    def __init__(
        self,
        delivery_queue: DeliveryQueue,
        groups: WebhookGroups,
        nudges: RetryNudges,
        due_loop: PollingLoop,
        relay_loop: PollingLoop,
        metrics: ProcessorMetrics,
    ) -> None:
        self._delivery_queue = delivery_queue
        self._groups = groups
        self._nudges = nudges
        self._due_loop = due_loop
        self._relay_loop = relay_loop
        self._metrics = metrics

    async def run(self) -> None:
        """Store groups until the delivery queue is closed."""
        while group := await self._delivery_queue.take():
            first_time = [d for d in group if not d.was_redelivered]
            redelivered = [d for d in group if d.was_redelivered]
            if first_time:
                await self._store_and_ack(first_time, self._groups.store)
                self._relay_loop.wake()
            if redelivered:
                await self._store_and_ack(redelivered, self._groups.store_unsplit)

    async def _store_and_ack(
        self,
        deliveries: Sequence[Delivery],
        store: Callable[[Sequence[Any]], Coroutine[Any, Any, list[Nudge]]],
    ) -> None:
        """Commit the webhooks, send their nudges, then ack each delivery alone.

        After an infrastructure error, wait and store again; count no attempt. If storing again ends
        with a lock timeout, store the webhooks unsplit, so that a locked row delays no other one.
        After MAX_UNACKED_SECONDS, return all unacked deliveries to the broker.
        """
        crash_point("delivery.received")
        webhooks = [LanedWebhook(w, d.lane) for d in deliveries for w in d.webhooks]
        loop = asyncio.get_running_loop()
        deadline = loop.time() + MAX_UNACKED_SECONDS
        interruptions = 0
        while True:
            try:
                nudges = await store(webhooks)
                break
            except Exception as error:
                if not is_infrastructure(error):
                    raise
                self._metrics.interrupted.inc()
                log.warning("group.interrupted", count=len(webhooks), exc_info=error)
                if is_lock_timeout(error) and interruptions:
                    store = self._groups.store_unsplit
            if loop.time() > deadline:
                self._delivery_queue.return_all()
                return
            await asyncio.sleep(_PAUSE_SECONDS[min(interruptions, len(_PAUSE_SECONDS) - 1)])
            interruptions += 1
        crash_point("group.committed")
        if store == self._groups.store_unsplit:
            self._due_loop.wake()
        if nudges:
            await self._nudges.send(nudges)
        for delivery in deliveries:
            await delivery.ack()
            crash_point("delivery.acked")
