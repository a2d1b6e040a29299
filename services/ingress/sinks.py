"""The two sinks of the ingress: RabbitMQ, and PostgreSQL when RabbitMQ fails."""

from collections.abc import Sequence

from services.ingress.batching_sink import PendingWebhook
from shared.broker.publisher import Publisher
from shared.broker.topology import RAW, RAW_SLOW
from shared.crypto import KeyRing
from shared.messages import encode_webhook, join_bundle
from shared.process.crash_points import crash_point
from shared.store.intake import webhooks
from shared.store.pool import Pool, transaction

QUEUES: dict[webhooks.Lane, str] = {"fast": RAW, "slow": RAW_SLOW}


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
