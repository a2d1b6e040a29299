"""Which queue a webhook takes: WABAs over their limit take the slow lane."""

import re

from redis.asyncio import Redis

from shared.store.intake.webhooks import Lane

#: The set of WABA ids over their limit, written by the processor, which knows owners; it expires.
SLOW_WABAS_KEY = "wabas.slow"
#: Seconds between two copies. A webhook never waits for Redis.
COPY_SECONDS = 1.0

#: Meta writes an entry's id first. A lane is a matter of speed alone: a webhook whose entry is not
#: found so takes the fast one.
_FIRST_ENTRY = re.compile(rb'"entry"\s*:\s*\[\s*\{\s*"id"\s*:\s*"([0-9]{1,20})"')


class Lanes:
    def __init__(self) -> None:
        self._slow: frozenset[str] = frozenset()

    async def copy(self, redis: Redis) -> None:
        """Take over the set as it is now. Raises what the driver raises; the last copy stays."""
        self._slow = frozenset(map(str, await redis.smembers(SLOW_WABAS_KEY)))

    def lane_of(self, body: bytes) -> Lane:
        if not self._slow:
            return "fast"
        found = _FIRST_ENTRY.search(body)
        return "slow" if found and found[1].decode() in self._slow else "fast"
