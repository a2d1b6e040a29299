"""Takes groups from the intake, stores them, and settles each delivery once it is committed."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import structlog

from services.processor.delivery_queue import MAX_UNACKED_SECONDS, Delivery, DeliveryQueue
from services.processor.metrics import ProcessorMetrics
from services.processor.polling_loop import PollingLoop
from services.processor.retry_nudges import RetryNudges
from shared.actions.webhook_groups import WebhookGroups
from shared.messages import Nudge
from shared.process.crash_points import crash_point
from shared.store.errors import is_infrastructure, is_lock_timeout

log = structlog.get_logger()

#: Two: while one waits for PostgreSQL's commit the other splits.
WORKERS = 2
#: Seconds between two tries of a group that PostgreSQL could not take.
_PAUSES = (0.1, 0.5, 1.0, 2.0)


class GroupWorker:
    def __init__(
        self,
        intake: DeliveryQueue,
        groups: WebhookGroups,
        nudges: RetryNudges,
        due: PollingLoop,
        relay: PollingLoop,
        metrics: ProcessorMetrics,
    ) -> None:
        self._intake = intake
        self._groups = groups
        self._nudges = nudges
        self._due = due
        self._relay = relay
        self._metrics = metrics

    async def run(self) -> None:
        """Work until the intake is closed."""
        while group := await self._intake.take():
            fresh = [d for d in group if not d.was_redelivered]
            tried = [d for d in group if d.was_redelivered]
            if fresh:
                await self._store_and_ack(fresh, self._groups.store)
                self._relay.wake()
            if tried:
                await self._store_and_ack(tried, self._groups.store_unsplit)

    async def _store_and_ack(
        self,
        deliveries: Sequence[Delivery],
        keep: Callable[[Sequence[Any]], Coroutine[Any, Any, list[Nudge]]],
    ) -> None:
        """Commit, send what follows, then ack each alone.

        The servers' troubles are waited out, nothing counted. A group that is held up again and
        again, by somebody's lock on what some of it needs, is laid down: the others go on.
        """
        crash_point("delivery.received")
        arrived = [(w, d.lane) for d in deliveries for w in d.webhooks]
        loop = asyncio.get_running_loop()
        until = loop.time() + MAX_UNACKED_SECONDS
        tries = 0
        while True:
            try:
                nudges = await keep(arrived)
                break
            except Exception as error:
                if not is_infrastructure(error):
                    raise
                self._metrics.interrupted.inc()
                log.warning("group.interrupted", count=len(arrived), exc_info=error)
                if is_lock_timeout(error) and tries:
                    keep = self._groups.store_unsplit
            if loop.time() > until:
                self._intake.return_all()
                return
            await asyncio.sleep(_PAUSES[min(tries, len(_PAUSES) - 1)])
            tries += 1
        crash_point("group.committed")
        if keep == self._groups.store_unsplit:
            self._due.wake()
        await self._nudges.send(nudges)
        for delivery in deliveries:
            await delivery.ack()
            crash_point("delivery.acked")
