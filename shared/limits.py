"""Rate limits over a sliding minute, which all processes count together in Redis.

This process counts too. So a limit holds in each process while Redis is away or late, and Redis is
not asked about whoever is over the limit here already.
"""

import asyncio
import math
import time
from collections import OrderedDict, deque
from dataclasses import dataclass
from typing import Any

from limits import RateLimitItemPerMinute
from limits.aio.storage import RedisStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from prometheus_client import CollectorRegistry, Counter
from redis.asyncio import Redis
from redis.exceptions import RedisError

WINDOW_SECONDS = 60
#: A window remembers this many callers, and forgets the least recently seen.
MAX_CALLERS = 10_000
#: Redis is asked by at most MAX_ASKING callers at a time, each for ASK_SECONDS; after a failure by
#: nobody for PAUSE_SECONDS.
MAX_ASKING = 32
ASK_SECONDS = 0.05
PAUSE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Limit:
    """About `amount` requests a minute by one caller. `name` is a metric's label.

    In one process no minute has more. All together may allow up to half as many again for a moment:
    Redis weighs its counts of the last two minutes.
    """

    name: str
    amount: int


@dataclass(frozen=True, slots=True)
class OverLimit:
    """A request that is over the limit. It may come again after `seconds`, rounded up."""

    limit: Limit
    seconds: int

    def headers(self) -> dict[str, str]:
        """Return the fields of the answer 429.

        RFC 9110, 10.2.3, and draft-ietf-httpapi-ratelimit-headers-10 (Sep 2025).
        """
        name = self.limit.name
        return {
            "Retry-After": str(self.seconds),
            "RateLimit-Policy": f'"{name}";q={self.limit.amount};w={WINDOW_SECONDS}',
            "RateLimit": f'"{name}";r=0;t={self.seconds}',
        }


class SlidingWindow:
    """Count the requests of each caller in this process, exactly."""

    def __init__(self) -> None:
        self._times: OrderedDict[tuple[str, str], deque[float]] = OrderedDict()

    def seconds_left(self, limit: Limit, caller: str, now: float) -> float:
        """Count a request and return 0, or return how long the caller must wait.

        A refused request is not counted.
        """
        self._forget(now)
        key = (limit.name, caller)
        times = self._times.setdefault(key, deque())
        self._times.move_to_end(key)
        while times and times[0] <= now - WINDOW_SECONDS:
            times.popleft()
        if len(times) >= limit.amount:
            return times[0] + WINDOW_SECONDS - now
        times.append(now)
        return 0.0

    def _forget(self, now: float) -> None:
        """Forget who came no more for a minute and, beyond MAX_CALLERS, who came longest ago."""
        while self._times:
            times = next(iter(self._times.values()))
            if len(self._times) < MAX_CALLERS and times and times[-1] > now - WINDOW_SECONDS:
                return
            self._times.popitem(last=False)

    def take_back(self, limit: Limit, caller: str) -> None:
        """Forget the last request that was counted: it was refused after all."""
        if times := self._times.get((limit.name, caller)):
            times.pop()


class Limiter:
    """Count requests, in this process and in Redis."""

    def __init__(self, redis: Redis, registry: CollectorRegistry) -> None:
        pool: Any = redis.connection_pool
        storage = RedisStorage(
            "async+redis://", implementation="redispy", connection_pool=pool, key_prefix="limits"
        )
        self._shared = SlidingWindowCounterRateLimiter(storage)
        self._own = SlidingWindow()
        self._asking = 0
        self._paused_until = 0.0
        self._over = Counter(
            "porteiro_requests_limited",
            "Requests over a limit",
            ["limit"],
            registry=registry,
        )
        self._fallback = Counter(
            "porteiro_limiter_fallback",
            "Requests that this process alone counted: Redis was away, late or asked too much",
            ["limit"],
            registry=registry,
        )

    async def count(self, limit: Limit, caller: str) -> OverLimit | None:
        """Count a request of this caller. Return None if it is allowed; else it is not counted.

        Wait for Redis at most ASK_SECONDS. Never raise what Redis raises.
        """
        seconds = self._own.seconds_left(limit, caller, _now())
        if not seconds:
            seconds = await self._ask(limit, caller)
            if not seconds:
                return None
            self._own.take_back(limit, caller)
        self._over.labels(limit.name).inc()
        return OverLimit(limit, max(1, math.ceil(seconds)))

    async def _ask(self, limit: Limit, caller: str) -> float:
        """Count the request in Redis. Return the seconds to wait, 0 if it is allowed."""
        if self._asking < MAX_ASKING and _now() >= self._paused_until:
            self._asking += 1
            try:
                async with asyncio.timeout(ASK_SECONDS):
                    return await self._ask_redis(limit, caller)
            except (RedisError, OSError, TimeoutError):
                self._paused_until = _now() + PAUSE_SECONDS
            finally:
                self._asking -= 1
        self._fallback.labels(limit.name).inc()
        return 0.0

    async def _ask_redis(self, limit: Limit, caller: str) -> float:
        item = RateLimitItemPerMinute(limit.amount, namespace=limit.name)
        if await self._shared.hit(item, caller):
            return 0.0
        try:
            stats = await self._shared.get_window_stats(item, caller)
        except (RedisError, OSError, asyncio.CancelledError):
            return 1.0  # it is refused, however late the rest is
        return max(1.0, stats.reset_time - time.time())


def _now() -> float:
    return asyncio.get_running_loop().time()
