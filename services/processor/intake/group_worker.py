"""Take groups of deliveries, store them, and ack each delivery once it is committed."""

from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import structlog
from tenacity import (
    AsyncRetrying,
    retry_if_exception_type,
    stop_after_delay,
    wait_exponential,
)

from services.processor.intake.delivery_queue import MAX_UNACKED_SECONDS, Delivery, DeliveryQueue
from services.processor.intake.newer_messages import NewerMessages
from services.processor.intake.retry_nudges import RetryNudges
from services.processor.intake.webhook_groups import WebhookGroups
from services.processor.metrics import ProcessorMetrics
from shared.errors import StartupRefused
from shared.messages import Nudge
from shared.polling_loop import PollingLoop
from shared.process.crash_points import crash_point
from shared.store.errors import NotConnected, is_infrastructure
from shared.store.intake.webhooks import LanedWebhook

log = structlog.get_logger()

#: Two: one splits while the other waits for PostgreSQL to commit.
WORKERS = 2
#: How often PostgreSQL may refuse a delivery that is stored alone. Then it is refused for good.
MAX_REFUSALS = 4
_Store = Callable[[Sequence[LanedWebhook]], Coroutine[Any, Any, list[Nudge]]]


def until_connected() -> AsyncRetrying:
    """Return the policy for a group while there is no handle: again, until it must be returned."""
    return AsyncRetrying(
        retry=retry_if_exception_type(NotConnected),
        wait=wait_exponential(multiplier=0.1, max=2),
        stop=stop_after_delay(MAX_UNACKED_SECONDS),
        reraise=True,
    )


class GroupWorker:
    def __init__(
        self,
        delivery_queue: DeliveryQueue,
        groups: WebhookGroups,
        newer_messages: NewerMessages,
        nudges: RetryNudges,
        due_loop: PollingLoop,
        relay_loop: PollingLoop,
        metrics: ProcessorMetrics,
    ) -> None:
        self._delivery_queue = delivery_queue
        self._groups = groups
        self._newer_messages = newer_messages
        self._nudges = nudges
        self._due_loop = due_loop
        self._relay_loop = relay_loop
        self._metrics = metrics

    async def run(self) -> None:
        """Store groups until the delivery queue is closed."""
        while group := await self._delivery_queue.take():
            suspects = [delivery for delivery in group if delivery.is_suspect]
            if others := [delivery for delivery in group if not delivery.is_suspect]:
                await self._store_and_ack(others, self._groups.store)
                self._relay_loop.wake()
            if suspects:
                await self._store_and_ack(suspects, self._groups.store_unsplit)
                self._due_loop.wake()
            if group[0].interruptions:
                self._delivery_queue.end_isolated()

    async def _store_and_ack(self, deliveries: Sequence[Delivery], store: _Store) -> None:
        """Commit the webhooks, send their nudges, then ack each delivery alone.

        While PostgreSQL is away, wait; after MAX_UNACKED_SECONDS, return all unacked deliveries to
        the broker. If anything else interrupts the group, each delivery is stored alone, unsplit.
        """
        crash_point("delivery.received")
        webhooks = [LanedWebhook(w, d.lane) for d in deliveries for w in d.webhooks]
        newer = [delivery.newer for delivery in deliveries if delivery.newer is not None]
        try:
            if newer:
                await until_connected()(self._newer_messages.keep, newer)
            nudges: list[Nudge] = await until_connected()(store, webhooks)
        except StartupRefused:
            raise
        except NotConnected:
            self._delivery_queue.return_all()
            return
        except Exception as error:
            self._metrics.interrupted.inc()
            log.warning("group.interrupted", count=len(webhooks), exc_info=error)
            await self._isolate(deliveries, error)
            return
        crash_point("group.committed")
        if nudges:
            await self._nudges.send(nudges)
        for delivery in deliveries:
            await delivery.ack()
            crash_point("delivery.acked")

    async def _isolate(self, deliveries: Sequence[Delivery], error: Exception) -> None:
        # Class 42: the schema or our rights are wrong, which no delivery brings about.
        is_schema = str(getattr(error, "sqlstate", "")).startswith("42")
        is_refused = not is_infrastructure(error) and not is_schema
        for delivery in deliveries:
            if is_refused and delivery.refusals >= MAX_REFUSALS:
                await delivery.refuse()
            else:
                self._delivery_queue.put_back(delivery, is_refused=is_refused)
