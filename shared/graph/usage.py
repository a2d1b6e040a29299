"""Meta's usage headers: pause calls before a limit is hit, because calls at a limit prolong it.

Calls with the app's own token use the limit of the app, which all processes share; calls with a
customer's token use the limit of the customer's WABA (Graph API rate limiting page, 2026). So what
pauses the app holds up no customer's call.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Any

import orjson
from redis.asyncio import Redis
from redis.exceptions import RedisError

#: Both headers count in percent of the limit (Graph API rate limiting page, 2026).
APP_USAGE = "X-App-Usage"
BUSINESS_USAGE = "X-Business-Use-Case-Usage"
MAX_PERCENT = 90
#: How long calls pause from MAX_PERCENT on if Meta gives no time. Its windows are 1 hour.
PAUSE_SECONDS = 300.0
MAX_PAUSE_SECONDS = 72 * 3600.0
MAX_KEYS = 10_000
#: Where the app's usage is in Redis, and how long a call waits for Redis.
APP_KEY = "graph:app_usage"
REDIS_SECONDS = 0.1


class AppUsage:
    """How much of the app's limit is used, as any process saw it last: a percentage in Redis that
    expires when calls may go on. While Redis is away, each process knows what it saw itself."""

    def __init__(self, redis: Redis | None = None) -> None:
        self._redis = redis
        self._percent = 0.0
        self._until = 0.0

    async def seconds_left(self, max_percent: float, now: float) -> float:
        """Return how long a call must wait that may use at most `max_percent`; 0: it may go."""
        percent, seconds = await self._known(now)
        return seconds if percent >= max_percent else 0.0

    async def _known(self, now: float) -> tuple[float, float]:
        """Return the percentage, and for how many more seconds it counts."""
        if self._redis is not None:
            try:
                async with asyncio.timeout(REDIS_SECONDS):
                    stored = await self._redis.get(APP_KEY)
                    left = await self._redis.pttl(APP_KEY)
                return (float(stored), left / 1000) if stored and left > 0 else (0.0, 0.0)
            except (RedisError, OSError, TimeoutError, ValueError):
                pass
        return self._percent, max(0.0, self._until - now)

    async def record(self, percent: float, seconds: float, now: float) -> None:
        """Note what Meta's answer says; it counts for `seconds`."""
        self._percent, self._until = percent, now + seconds
        if self._redis is not None:
            try:
                async with asyncio.timeout(REDIS_SECONDS):
                    await self._redis.set(APP_KEY, percent, px=max(1, int(seconds * 1000)))
            except (RedisError, OSError, TimeoutError):
                pass


def app_usage(headers: Mapping[str, str]) -> tuple[float, float] | None:
    """Return the percentage of the app's limit that is used, and for how many seconds that counts;
    None if the answer does not tell."""
    row = _parsed(headers.get(APP_USAGE))
    if not isinstance(row, dict):
        return None
    return _used(row), _pause(row) or PAUSE_SECONDS


class Usage:
    """Until when calls pause, for a WABA or a business; in the loop's time."""

    def __init__(self) -> None:
        self._until: OrderedDict[str, float] = OrderedDict()

    def seconds_left(self, limited_by: str, now: float) -> float:
        """Return how long the next call must wait, 0 if it may go."""
        return max(0.0, self._until.get(limited_by, 0.0) - now)

    def pause(self, limited_by: str, seconds: float, now: float) -> None:
        self._until[limited_by] = max(self._until.get(limited_by, 0.0), now + seconds)
        self._until.move_to_end(limited_by)
        if len(self._until) > MAX_KEYS:
            self._until.popitem(last=False)

    def record(self, headers: Mapping[str, str], limited_by: str, now: float) -> float | None:
        """Record an answer's headers. Return how long calls pause if a limit is near, else None."""
        by_business = _parsed(headers.get(BUSINESS_USAGE))
        lists = by_business.values() if isinstance(by_business, dict) else ()
        rows = [row for rows in lists if isinstance(rows, list) for row in rows]
        if (seconds := _longest_pause(rows)) is not None:
            self.pause(limited_by, seconds, now)
        return seconds


def _longest_pause(rows: Iterable[Any]) -> float | None:
    pauses = [_pause(row) for row in rows if isinstance(row, dict)]
    return max((pause for pause in pauses if pause is not None), default=None)


def _pause(row: dict[str, Any]) -> float | None:
    minutes = _number(row.get("estimated_time_to_regain_access"))
    if minutes > 0:
        return min(minutes * 60, MAX_PAUSE_SECONDS)
    return PAUSE_SECONDS if _used(row) >= MAX_PERCENT else None


def _used(row: dict[str, Any]) -> float:
    return max(_number(row.get(name)) for name in ("call_count", "total_time", "total_cputime"))


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else 0.0


def _parsed(header: str | None) -> Any:
    try:
        return orjson.loads(header) if header else None
    except orjson.JSONDecodeError:
        return None
