"""The hybrid cache: ask Redis first, then PostgreSQL. Only PostgreSQL is the truth."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Literal

import structlog
from prometheus_client import CollectorRegistry, Counter
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

log = structlog.get_logger()

#: What is cached: tracking code -> organization, and WABA -> organization.
CacheKind = Literal["onboarding", "waba"]

TTL_SECONDS = 60
#: A changed value is not cached again for INVALIDATED_SECONDS, and a value that took longer than
#: MAX_LOAD_SECONDS to load is not cached at all. So a value read before a change is never cached
#: after it.
INVALIDATED_SECONDS = 2
MAX_LOAD_SECONDS = 1.0
#: A failing Redis costs one lookup REDIS_SECONDS; then no lookup asks Redis for PAUSE_SECONDS.
REDIS_SECONDS = 0.1
PAUSE_SECONDS = 1.0
#: Marks an invalidated key in Redis.
_INVALIDATED = ""

Loader = Callable[[], Awaitable[str | None]]


class Cache:
    """Return what `load` returns, at most TTL_SECONDS old. Run one load at a time for each key."""

    def __init__(self, redis: Redis, registry: CollectorRegistry) -> None:
        self._redis = redis
        self._lookups = Counter(
            "porteiro_cache_lookups",
            "hit, miss, or down: Redis was not asked or did not answer",
            ["kind", "outcome"],
            registry=registry,
        )
        self._loading: dict[str, asyncio.Task[str | None]] = {}
        self._paused_until = 0.0

    async def get(self, kind: CacheKind, key: str, load: Loader) -> str | None:
        """Return the value of `key`. Raise what `load` raises.

        None is not cached, because the value may be created at any moment.
        """
        name = f"cache:{kind}:{key}"
        cached, is_up = await self._read(name)
        if cached:
            self._lookups.labels(kind, "hit").inc()
            return cached
        self._lookups.labels(kind, "miss" if is_up else "down").inc()
        loading = self._loading.get(name)
        if loading is None:
            may_store = is_up and cached is None  # neither without Redis nor just after a change
            loading = asyncio.create_task(self._load(name, load, may_store=may_store))
            self._loading[name] = loading
            loading.add_done_callback(lambda _: self._loading.pop(name, None))
        return await asyncio.shield(loading)

    async def invalidate(self, kind: CacheKind, key: str) -> None:
        """Drop the cached value. Call this after the commit that changed it.

        If Redis is unreachable, the old value may stay for TTL_SECONDS.
        """
        name = f"cache:{kind}:{key}"
        await self._call(lambda: self._redis.set(name, _INVALIDATED, px=INVALIDATED_SECONDS * 1000))

    async def _load(self, name: str, load: Loader, *, may_store: bool) -> str | None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + MAX_LOAD_SECONDS
        value = await load()
        if value and may_store and loop.time() < deadline:
            # NX: a mark set by `invalidate` during the load stays.
            await self._call(lambda: self._redis.set(name, value, ex=TTL_SECONDS, nx=True))
        return value

    async def _read(self, name: str) -> tuple[str | None, bool]:
        value, is_up = await self._call(lambda: self._redis.get(name))
        return (value if isinstance(value, str) else None), is_up

    async def _call(self, command: Callable[[], Awaitable[object]]) -> tuple[object, bool]:
        """Return the answer of Redis, and whether Redis answered."""
        now = asyncio.get_running_loop().time()
        if now < self._paused_until:
            return None, False
        try:
            async with asyncio.timeout(REDIS_SECONDS):
                return await command(), True
        except (RedisError, OSError, TimeoutError):
            self._paused_until = now + PAUSE_SECONDS
            return None, False


@asynccontextmanager
async def open_redis(url: str) -> AsyncIterator[Redis]:
    """Open a client that connects on first use, and fails within a second without a retry."""
    redis = Redis.from_url(
        url,
        decode_responses=True,
        socket_timeout=0.5,
        socket_connect_timeout=0.5,
        retry=Retry(NoBackoff(), 0),
    )
    try:
        yield redis
    finally:
        await redis.aclose()
