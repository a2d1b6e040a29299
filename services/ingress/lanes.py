"""Choose a webhook's lane: slow for WABAs in the Redis set `wabas.slow`, else fast."""

import re

from redis.asyncio import Redis

from shared.store.intake.webhooks import Lane

#: The Redis set of WABA ids whose webhooks take the slow lane. No service writes it yet.
SLOW_WABAS_KEY = "wabas.slow"
#: Seconds between two copies of the set. A webhook never waits for Redis.
COPY_SECONDS = 1.0

#: Meta writes an entry's id first. A webhook whose entry does not match takes the fast lane: a lane
#: affects only speed.
_FIRST_ENTRY = re.compile(rb'"entry"\s*:\s*\[\s*\{\s*"id"\s*:\s*"([0-9]{1,20})"')


class Lanes:
    def __init__(self) -> None:
        self._slow: frozenset[str] = frozenset()

    async def refresh(self, redis: Redis) -> None:
        """Copy the set from Redis. Raise what the driver raises, and then keep the last copy."""
        self._slow = frozenset(map(str, await redis.smembers(SLOW_WABAS_KEY)))

    def lane_of(self, body: bytes) -> Lane:
        if not self._slow:
            return "fast"
        entry = _FIRST_ENTRY.search(body)
        return "slow" if entry and entry[1].decode() in self._slow else "fast"
