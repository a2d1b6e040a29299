"""Give the WABAs of organizations that send too much the slow lane, while the lanes are behind.

Every processor adds what it stored to counts in Redis, so that all of them together know how much
an organization sends.
"""

import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple
from uuid import UUID

from redis.asyncio import Redis

from services.processor.intake.metrics import IntakeMetrics
from shared import slow_lane

WINDOW_SECONDS = 60
#: An organization's count is added to Redis when this many webhooks of it are not yet added, not
#: once a webhook: 2,000 organizations would cost 2,000 commands a second.
MIN_ADDED = 10


class OwnedWebhook(NamedTuple):
    """A webhook that was stored, and whose it is: of several organizations, several of these."""

    webhook_id: UUID
    organization_id: str
    waba_id: str


@dataclass(slots=True)
class Traffic:
    """What an organization sends: webhooks of this processor that are not yet added to Redis, and
    of all processors in this minute and in the one before. `wabas` sent them."""

    new: int = 0
    minute: int = 0
    count: int = 0
    count_before: int = 0
    wabas: set[str] = field(default_factory=set)
    wabas_before: set[str] = field(default_factory=set)

    def begin(self, minute: int) -> None:
        if minute != self.minute:
            is_next = minute == self.minute + 1
            self.count_before = self.count if is_next else 0
            if self.minute:
                self.wabas, self.wabas_before = set(), self.wabas if is_next else set()
            self.minute, self.count = minute, 0

    def in_last_minute(self, now: float) -> float:
        """Return about how many webhooks the last 60 s had, as a sliding window counter does."""
        weight = 1 - (now % WINDOW_SECONDS) / WINDOW_SECONDS
        return self.count + self.count_before * weight


class OrganizationTraffic:
    """`has_backlog` returns whether webhooks wait for others, in either lane: an organization stays
    in the slow lane as long as it keeps that one full."""

    def __init__(
        self,
        redis: Redis,
        has_backlog: Callable[[], Awaitable[bool]],
        metrics: IntakeMetrics,
        *,
        limit: int,
    ) -> None:
        self._redis = redis
        self._has_backlog = has_backlog
        self._limit = limit
        self._metrics = metrics
        self._traffic: dict[str, Traffic] = {}

    def stored(self, owned: Iterable[OwnedWebhook]) -> None:
        """Count webhooks that were stored, once for each organization."""
        counted = set()
        for webhook_id, organization_id, waba_id in owned:
            traffic = self._traffic.setdefault(organization_id, Traffic())
            traffic.wabas.add(waba_id)
            if (webhook_id, organization_id) not in counted:
                counted.add((webhook_id, organization_id))
                traffic.new += 1

    async def work_once(self) -> bool:
        """Add what is new to Redis, and mark the WABAs of organizations over their limit.

        Raise what Redis or the broker raises: the caller tries again in a second.
        """
        now = time.time()
        minute = int(now // WINDOW_SECONDS)
        for organization_id, traffic in list(self._traffic.items()):
            traffic.begin(minute)
            if not (traffic.new or traffic.count or traffic.count_before):
                del self._traffic[organization_id]
        await self._add_to_redis(minute)
        over = [t for t in self._traffic.values() if t.in_last_minute(now) > self._limit]
        waba_ids = {waba_id for t in over for waba_id in (*t.wabas, *t.wabas_before)}
        is_behind = bool(waba_ids) and await self._has_backlog()
        if is_behind:
            await slow_lane.add(self._redis, waba_ids)
        self._metrics.slow_organizations.set(len(over) if is_behind else 0)
        return False

    async def _add_to_redis(self, minute: int) -> None:
        adding = {
            organization_id: traffic.new
            for organization_id, traffic in self._traffic.items()
            if traffic.new >= MIN_ADDED
        }
        if not adding:
            return
        key = f"webhooks.of_organizations:{minute}"
        async with self._redis.pipeline(transaction=False) as pipeline:
            for organization_id, new in adding.items():
                pipeline.hincrby(key, organization_id, new)
            pipeline.expire(key, 2 * WINDOW_SECONDS)
            counts = await pipeline.execute()
        for (organization_id, new), count in zip(adding.items(), counts, strict=False):
            traffic = self._traffic[organization_id]
            traffic.count = count
            traffic.new -= new  # more may have come meanwhile
