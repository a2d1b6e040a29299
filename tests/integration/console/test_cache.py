"""The cache gives the same answers with Redis empty, frozen or dead, in bounded time."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from shared import cache as caching
from shared.cache import Cache, open_redis
from tests.support.own_redis import own_redis
from tests.support.waiting import eventually


class Source:
    """Replace PostgreSQL: hold the true value and count the loads."""

    def __init__(self, value: str | None) -> None:
        self.value = value
        self.loads = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def load(self) -> str | None:
        self.loads += 1
        value = self.value
        await self.gate.wait()
        return value


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    async with open_redis(redis_url) as redis:
        await redis.flushdb()
        yield redis


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


def lookups(registry: CollectorRegistry, outcome: str) -> float:
    labels = {"kind": "waba", "outcome": outcome}
    return registry.get_sample_value("porteiro_cache_lookups_total", labels) or 0


async def test_a_value_that_was_loaded_is_cached(redis: Redis, registry: CollectorRegistry) -> None:
    cache, source = Cache(redis, registry), Source("ana")
    assert [await cache.get("waba", "71", source.load) for _ in range(5)] == ["ana"] * 5
    assert source.loads == 1
    assert (lookups(registry, "hit"), lookups(registry, "miss")) == (4, 1)
    assert 0 < await redis.ttl("cache:waba:71") <= caching.TTL_SECONDS


async def test_a_missing_value_is_loaded_again(redis: Redis, registry: CollectorRegistry) -> None:
    cache, source = Cache(redis, registry), Source(None)
    assert await cache.get("waba", "71", source.load) is None
    source.value = "ana"
    assert await cache.get("waba", "71", source.load) == "ana"


async def test_concurrent_lookups_load_once(redis: Redis, registry: CollectorRegistry) -> None:
    cache, source = Cache(redis, registry), Source("ana")
    source.gate.clear()
    gets = [asyncio.create_task(cache.get("waba", "71", source.load)) for _ in range(20)]

    async def all_wait() -> bool:
        return lookups(registry, "miss") + lookups(registry, "down") == 20

    await eventually(all_wait)
    source.gate.set()
    assert set(await asyncio.gather(*gets)) == {"ana"}
    assert source.loads == 1


async def test_a_change_is_visible_at_once_although_an_older_load_ends_after_it(
    redis: Redis, registry: CollectorRegistry
) -> None:
    cache, source = Cache(redis, registry), Source("ana")
    source.gate.clear()
    slow_get = asyncio.create_task(cache.get("waba", "71", source.load))

    async def is_loading() -> bool:
        return source.loads > 0

    await eventually(is_loading)
    source.value = "bia"  # committed after the slow load has read the old value
    await cache.invalidate("waba", "71")
    source.gate.set()
    assert await slow_get == "ana"
    assert await Cache(redis, CollectorRegistry()).get("waba", "71", source.load) == "bia"


@pytest.mark.parametrize("kill_signal", [signal.SIGSTOP, signal.SIGKILL], ids=["frozen", "dead"])
async def test_a_frozen_or_dead_redis_costs_little_time_and_no_answer(
    kill_signal: signal.Signals, registry: CollectorRegistry, tmp_path: Path
) -> None:
    async with own_redis(tmp_path) as (url, pid), open_redis(url) as redis:
        cache, source = Cache(redis, registry), Source("ana")
        assert await cache.get("waba", "71", source.load) == "ana"
        os.kill(pid, kill_signal)
        async with asyncio.timeout(20 * caching.REDIS_SECONDS):  # not every lookup waits for Redis
            for _ in range(50):
                assert await cache.get("waba", "71", source.load) == "ana"
                await cache.invalidate("waba", "72")
        assert lookups(registry, "down") == 50
        if kill_signal == signal.SIGSTOP:
            os.kill(pid, signal.SIGCONT)

            async def is_used_again() -> bool:
                await cache.get("waba", "71", source.load)
                return lookups(registry, "hit") > 0

            await eventually(is_used_again)
