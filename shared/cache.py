"""The hybrid cache: Redis first, PostgreSQL behind it, and never the truth."""

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

#: Tracking code -> organization, WABA -> organization.
CacheKind = Literal["onboarding", "waba"]

TTL_SECONDS = 60
#: What was changed is not cached again so long, and what took longer to load than KEPT_SECONDS is
#: not cached at all: so nobody puts back what was read before the change.
INVALIDATED_SECONDS = 2
MAX_LOAD_SECONDS = 1.0
#: A sick Redis costs one lookup so much, and then nobody for REST_SECONDS.
REDIS_SECONDS = 0.1
PAUSE_SECONDS = 1.0
_CHANGED = ""

Loader = Callable[[], Awaitable[str | None]]


class Cache:
    """Answers with what `load` gives, at most TTL_SECONDS old; one load at a time for one key."""

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
        """Raises what `load` raises. None is not kept: what is not there may come any moment."""
        name = f"cache:{kind}:{key}"
        found, is_up = await self._read(name)
        if found:
            self._lookups.labels(kind, "hit").inc()
            return found
        self._lookups.labels(kind, "miss" if is_up else "down").inc()
        loading = self._loading.get(name)
        if loading is None:
            loading = asyncio.create_task(self._load(name, load, keep=is_up and found is None))
            self._loading[name] = loading
            loading.add_done_callback(lambda _: self._loading.pop(name, None))
        return await asyncio.shield(loading)

    async def invalidate(self, kind: CacheKind, key: str) -> None:
        """After the commit that changed it. With Redis away its old value may last TTL_SECONDS."""
        name = f"cache:{kind}:{key}"
        await self._call(lambda: self._redis.set(name, _CHANGED, px=INVALIDATED_SECONDS * 1000))

    async def _load(self, name: str, load: Loader, *, keep: bool) -> str | None:
        loop = asyncio.get_running_loop()
        until = loop.time() + MAX_LOAD_SECONDS
        found = await load()
        if found and keep and loop.time() < until:  # NX: if it was changed meanwhile, that stands
            await self._call(lambda: self._redis.set(name, found, ex=TTL_SECONDS, nx=True))
        return found

    async def _read(self, name: str) -> tuple[str | None, bool]:
        found, is_up = await self._call(lambda: self._redis.get(name))
        return (found if isinstance(found, str) else None), is_up

    async def _call(self, command: Callable[[], Awaitable[object]]) -> tuple[object, bool]:
        """Redis's answer, and whether it gave one."""
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
    """A client that connects when first used, and fails within a second instead of trying again."""
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
