"""A group of webhooks becomes rows in one transaction; what fails for its content fails alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

import structlog

from services.processor.effects import make_effects
from services.processor.metrics import ProcessorMetrics
from shared.crash import crash_point
from shared.crypto import KeyRing
from shared.domain.splitting import Change, Unparsable, split
from shared.messages import Webhook
from shared.store import changes, webhooks
from shared.store.errors import describe, is_infrastructure
from shared.store.pool import Connection, Pool, transaction
from shared.store.webhooks import Arrival, Lane

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Split:
    """A webhook and what it holds; `error` says why it could not be split."""

    webhook: Webhook
    lane: Lane
    changes: Sequence[Change] = ()
    error: str | None = None


def split_webhook(webhook: Webhook, lane: Lane) -> Split:
    """Total: a body that cannot be split, for whatever reason, is a result too."""
    try:
        return Split(webhook, lane, split(webhook.body, is_test=webhook.kind == "test"))
    except Unparsable as error:
        return Split(webhook, lane, error=f"unparsable: {error}")
    except Exception as error:
        log.error("webhook.not_split", webhook_id=webhook.id, exc_info=error)
        return Split(webhook, lane, error=describe(error))


class Groups:
    """Stores groups of webhooks. Every method is idempotent and may raise infrastructure errors."""

    def __init__(self, pool: Pool, ring: KeyRing, metrics: ProcessorMetrics) -> None:
        self._pool = pool
        self._ring = ring
        self._metrics = metrics

    async def store(self, arrived: Sequence[tuple[Webhook, Lane]]) -> None:
        """First deliveries from the broker: rows, bodies and changes at once."""
        splits = [split_webhook(*one) for one in arrived]
        try:
            new = await self._store(splits)
        except Exception as error:
            if is_infrastructure(error):
                raise
            log.warning("group.failed", count=len(splits), exc_info=error)
            new = set()
            for one in splits:
                new |= await self._store_alone(one)
        self._count([one for one in splits if one.webhook.id in new])

    async def lay_down(self, arrived: Sequence[tuple[Webhook, Lane]]) -> None:
        """Redelivered: somebody may have died of them, so they are only kept, to be tried later."""
        async with transaction(self._pool) as connection:
            await webhooks.insert(
                connection,
                self._ring,
                [Arrival(w, lane, "broker", "unsplit") for w, lane in arrived],
            )

    async def split_laid_down(self, ids: Sequence[UUID]) -> None:
        """Split webhooks that are claimed: together or, if that fails, each alone."""
        try:
            await self._split_laid_down(ids)
        except Exception as error:
            if is_infrastructure(error):
                raise
            log.warning("group.failed", count=len(ids), exc_info=error)
            for one in ids:
                await self._split_alone(one)

    async def _store(self, splits: Sequence[Split]) -> set[UUID]:
        arrivals = [
            Arrival(s.webhook, s.lane, "broker", "dead" if s.error else "split", s.error)
            for s in splits
        ]
        async with transaction(self._pool) as connection:
            new = await webhooks.insert(connection, self._ring, arrivals)
            await self._insert_changes(connection, [s for s in splits if s.webhook.id in new])
            crash_point("group.stored")
        return new

    async def _store_alone(self, one: Split) -> set[UUID]:
        try:
            return await self._store([one])
        except Exception as error:
            if is_infrastructure(error):
                raise
            return await self._store([Split(one.webhook, one.lane, error=describe(error))])

    async def _split_laid_down(self, ids: Sequence[UUID]) -> None:
        async with transaction(self._pool) as connection:
            loaded = await webhooks.load_unsplit(connection, self._ring, ids)
            splits = [split_webhook(*one) for one in loaded]
            await self._insert_changes(connection, splits)
            for one in splits:
                if one.error:
                    await webhooks.mark_dead(connection, one.webhook.id, one.error)
            await webhooks.mark_split(connection, [s.webhook.id for s in splits if not s.error])
        self._count(splits)

    async def _split_alone(self, webhook_id: UUID) -> None:
        try:
            await self._split_laid_down([webhook_id])
        except Exception as error:
            if is_infrastructure(error):
                raise
            async with transaction(self._pool) as connection:
                await webhooks.mark_dead(connection, webhook_id, describe(error))

    async def _insert_changes(self, connection: Connection, splits: Sequence[Split]) -> None:
        rows = [(s.webhook.id, s.webhook.received_at, c) for s in splits for c in s.changes]
        if rows:
            new = await changes.insert(connection, self._ring, rows)
            await make_effects(connection, new)
            self._metrics.changes.labels("new").inc(len(new))
            self._metrics.changes.labels("known").inc(len(rows) - len(new))

    def _count(self, splits: Sequence[Split]) -> None:
        now = datetime.now(UTC)
        self._metrics.group_webhooks.observe(len(splits))
        for one in splits:
            self._metrics.webhooks.labels("dead" if one.error else "split").inc()
            self._metrics.rest_seconds.observe((now - one.webhook.received_at).total_seconds())
            if one.error:
                log.warning("webhook.dead", webhook_id=one.webhook.id, reason=one.error)
