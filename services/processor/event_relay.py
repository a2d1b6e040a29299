"""Events out: from their rows to the exchange `whatsapp.events`, at least once each."""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

import structlog

from services.processor.metrics import ProcessorMetrics
from shared.broker.publisher import NotPublished, Publisher, Unrouted
from shared.broker.topology import EVENTS
from shared.cache import Cache
from shared.crypto import KeyRing, Undecryptable
from shared.messages import encode_event
from shared.process.crash_points import crash_point
from shared.store import events
from shared.store.events import LeasedEvent
from shared.store.pool import Pool, transaction

log = structlog.get_logger()

#: A third of a claim's lease.
PUBLISH_SECONDS = 10.0
#: What the broker would not take, and what cannot be read until somebody mends the keys, rests so
#: long, and holds up nothing else.
RESTS = {"failed": timedelta(seconds=3), "undecryptable": timedelta(minutes=10)}


class EventRelay:
    def __init__(
        self,
        pool: Pool,
        ring: KeyRing,
        publisher: Publisher,
        cache: Cache,
        metrics: ProcessorMetrics,
    ) -> None:
        self._pool = pool
        self._ring = ring
        self._publisher = publisher
        self._cache = cache
        self._metrics = metrics

    async def work_once(self) -> bool:
        """Whether there is more, and the broker takes it."""
        return self._publisher.is_up and await self._relay_once()

    async def _relay_once(self) -> bool:
        async with transaction(self._pool) as conn:
            leased = await events.lease(conn)
        if not leased:
            return False
        crash_point("events.leased")
        ends = await asyncio.gather(*map(self._publish, leased))
        crash_point("events.published")
        await self._mark(leased, ends)
        crash_point("events.marked")
        for end in ends:
            self._metrics.events.labels(end).inc()
        return "failed" not in ends

    async def _publish(self, due: LeasedEvent) -> str:
        if due.revision is not None and due.waba_id is not None:
            await self._cache.invalidate(
                "waba", due.waba_id
            )  # a connection changed, and it is committed
        try:
            event = events.unseal(due, self._ring)
            await self._publisher.publish(
                event.type,
                encode_event(event),
                exchange=EVENTS,
                message_id=str(event.id),
                timeout=PUBLISH_SECONDS,
            )
        except Undecryptable:
            log.error("event.undecryptable", event_id=due.id)
            return "undecryptable"
        except Unrouted:
            return "unrouted"
        except NotPublished:
            return "failed"
        return "routed"

    async def _mark(self, leased: Sequence[LeasedEvent], ends: Sequence[str]) -> None:
        ids: defaultdict[str, list[UUID]] = defaultdict(list)
        for event, end in zip(leased, ends, strict=True):
            ids[end].append(event.id)
        async with transaction(self._pool) as conn:
            await events.mark_published(
                conn, ids["routed"] + ids["unrouted"], unrouted=ids["unrouted"]
            )
            for end, rest in RESTS.items():
                await events.put_off(conn, ids[end], rest)
