"""Give a verified webhook an id and a lane, and make it durable by the first sink that can."""

import asyncio
import re
import time
from collections.abc import Sequence

from redis.asyncio import Redis
from uuid_utils.compat import uuid7

from services.ingress.answers import LastAnswers
from services.ingress.clock import DatabaseClock
from services.ingress.metrics import IngressMetrics
from services.ingress.sinks import BatchingSink, SinkFailed
from shared import slow_lane
from shared.messages import Webhook, WebhookKind
from shared.process.crash_points import crash_point
from shared.store.intake.webhooks import Lane

#: Seconds between two copies of the set. A webhook never waits for Redis.
COPY_SECONDS = 1.0

#: Meta writes an entry's id first. A webhook whose entry does not match takes the fast lane: a lane
#: affects only speed.
_FIRST_ENTRY = re.compile(rb'"entry"\s*:\s*\[\s*\{\s*"id"\s*:\s*"([0-9]{1,20})"')


class NotStored(Exception):
    """No sink made the webhook durable in time, so Meta must send it again."""


class Lanes:
    """Choose a webhook's lane: slow for WABAs in the Redis set, else fast."""

    def __init__(self) -> None:
        self._slow: frozenset[str] = frozenset()
        self._read_at = 0.0

    async def refresh(self, redis: Redis) -> None:
        """Copy the set from Redis. Raise what the driver raises: then the last copy holds as long
        as the set would."""
        self._slow = await slow_lane.read(redis)
        self._read_at = time.monotonic()

    def lane_of(self, body: bytes) -> Lane:
        if not self._slow or time.monotonic() > self._read_at + slow_lane.EXPIRES_SECONDS:
            return "fast"
        entry = _FIRST_ENTRY.search(body)
        return "slow" if entry and entry[1].decode() in self._slow else "fast"


class Receiver:
    """Try `sinks` in order. Each sink has its own deadline; the last deadline is under 1 s."""

    def __init__(
        self,
        sinks: Sequence[BatchingSink],
        lanes: Lanes,
        clock: DatabaseClock,
        answers: LastAnswers,
        metrics: IngressMetrics,
    ) -> None:
        self._answers = answers
        self._clock = clock
        self._sinks = sinks
        self._lanes = lanes
        self._metrics = metrics
        self._loop = asyncio.get_running_loop()

    async def store(self, kind: WebhookKind, signature: str, body: bytes) -> None:
        """Return once the webhook is durable. Raise NotStored if no sink could do it in time."""
        since = self._loop.time()
        webhook = Webhook(uuid7(), self._clock.now(), kind, signature, body)
        lane = self._lanes.lane_of(body)
        crash_point("webhook.received")
        for sink in self._sinks:
            if not sink.is_available():
                continue
            try:
                await sink.store(webhook, lane, since=since)
            except SinkFailed:
                continue
            crash_point("webhook.stored")
            self._answers.stored()
            self._metrics.accepted.labels(sink.name, lane).inc()
            self._metrics.answer_seconds.observe(self._loop.time() - since)
            return
        self._answers.not_stored()
        raise NotStored
