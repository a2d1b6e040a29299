"""Publish events from their rows to the exchange `whatsapp.events`, each at least once."""

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import partial
from uuid import UUID

import structlog

from services.processor.metrics import ProcessorMetrics
from services.processor.quarantine import Quarantine
from shared.broker.publisher import NotPublished, Properties, Publisher, Unrouted
from shared.broker.topology import EVENTS
from shared.cache import Cache
from shared.crypto import KeyRing, Undecryptable
from shared.messages import encode_event
from shared.process.crash_points import crash_point
from shared.store import events
from shared.store.errors import NotConnected
from shared.store.events import LeasedEvent
from shared.store.pool import Conn, Pool, transaction

log = structlog.get_logger()

#: A third of the lease of an event.
PUBLISH_SECONDS = 10.0
#: How long an event is put off, so that it does not delay others. `failed`: the broker did not
#: accept it. `undecryptable`: it cannot be read until an operator repairs the keys. `faulty`: a
#: fault of ours.
PUT_OFF_BY = {
    "failed": timedelta(seconds=3),
    "undecryptable": timedelta(minutes=10),
    "faulty": timedelta(minutes=10),
}


class EventRelay:
    def __init__(
        self,
        pool: Pool,
        bodies: KeyRing,
        tokens: KeyRing,
        publisher: Publisher,
        cache: Cache,
        metrics: ProcessorMetrics,
    ) -> None:
        self._pool = pool
        self._bodies = bodies
        self._tokens = tokens
        self._publisher = publisher
        self._cache = cache
        self._metrics = metrics
        self._quarantine = Quarantine("event", events.lease, events.first_due)

    async def work_once(self) -> bool:
        """Publish one batch. Return whether there may be more and the broker accepts events."""
        return self._publisher.is_up and await self._relay_once()

    async def _relay_once(self) -> bool:
        leased = await self._quarantine.lease(self._pool)
        if not leased:
            return False
        crash_point("events.leased")
        outcomes = await asyncio.gather(*map(self._publish, leased))
        crash_point("events.published")
        await self._mark(leased, outcomes)
        crash_point("events.marked")
        for outcome in outcomes:
            self._metrics.events.labels(outcome).inc()
        return "failed" not in outcomes

    async def _publish(self, leased: LeasedEvent) -> str:
        """Publish one event. Return the outcome."""
        if leased.revision is not None and leased.waba_id is not None:
            # The event of a connection whose change is committed.
            await self._cache.invalidate("waba", leased.waba_id)
        try:
            event = events.unseal(leased, self._bodies, self._tokens)
            await self._publisher.publish(
                event.type,
                encode_event(event),
                exchange=EVENTS,
                properties=Properties(str(event.id), event.type, event.occurred_at),
                timeout=PUBLISH_SECONDS,
            )
        except Undecryptable:
            log.error("event.undecryptable", event_id=str(leased.id))
            return "undecryptable"
        except Unrouted:
            return "unrouted"
        except NotPublished:
            return "failed"
        except Exception as error:
            log.error("event.faulty", event_id=str(leased.id), exc_info=error)
            return "faulty"
        return "routed"

    async def _mark(self, leased: Sequence[LeasedEvent], outcomes: Sequence[str]) -> None:
        """Mark events together or, if that fails, each alone, so that one delays no other."""
        outcome_of = {event.id: outcome for event, outcome in zip(leased, outcomes, strict=True)}
        try:
            async with transaction(self._pool) as conn:
                await self._mark_on(conn, outcome_of)
        except NotConnected:
            raise
        except Exception:
            alone = {
                event_id: partial(self._mark_on, outcome_of={event_id: outcome})
                for event_id, outcome in outcome_of.items()
            }
            await self._quarantine.run_alone(self._pool, alone)

    async def _mark_on(self, conn: Conn, outcome_of: Mapping[UUID, str]) -> None:
        ids: defaultdict[str, list[UUID]] = defaultdict(list)
        for event_id, outcome in outcome_of.items():
            ids[outcome].append(event_id)
        if published := ids["routed"] + ids["unrouted"]:
            await events.mark_published(conn, published, unrouted=ids["unrouted"])
        for outcome in PUT_OFF_BY.keys() & ids.keys():
            await events.put_off(conn, ids[outcome], PUT_OFF_BY[outcome])
