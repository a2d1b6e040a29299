"""The cache: the same answers with Redis empty, frozen or dead, in bounded time."""

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


class Truth:
    """PostgreSQL's part: what is so, and how often it was asked."""

    def __init__(self, value: str | None) -> None:
        self.value = value
        self.asked = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def load(self) -> str | None:
        self.asked += 1
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


async def test_what_was_loaded_once_is_there(redis: Redis, registry: CollectorRegistry) -> None:
    cache, truth = Cache(redis, registry), Truth("ana")
    assert [await cache.get("waba", "71", truth.load) for _ in range(5)] == ["ana"] * 5
    assert truth.asked == 1
    assert (lookups(registry, "hit"), lookups(registry, "miss")) == (4, 1)
    assert 0 < await redis.ttl("cache:waba:71") <= caching.TTL_SECONDS


async def test_what_is_not_there_is_asked_for_again(
    redis: Redis, registry: CollectorRegistry
) -> None:
    cache, truth = Cache(redis, registry), Truth(None)
    assert await cache.get("waba", "71", truth.load) is None
    truth.value = "ana"
    assert await cache.get("waba", "71", truth.load) == "ana"


async def test_many_at_once_load_once(redis: Redis, registry: CollectorRegistry) -> None:
    cache, truth = Cache(redis, registry), Truth("ana")
    truth.gate.clear()
    asking = [asyncio.create_task(cache.get("waba", "71", truth.load)) for _ in range(20)]

    async def is_asked() -> bool:
        return truth.asked > 0

    await eventually(is_asked)
    truth.gate.set()
    assert set(await asyncio.gather(*asking)) == {"ana"}
    assert truth.asked == 1


async def test_a_change_is_seen_at_once_even_by_who_read_before_it(
    redis: Redis, registry: CollectorRegistry
) -> None:
    cache, truth = Cache(redis, registry), Truth("ana")
    truth.gate.clear()
    slow = asyncio.create_task(cache.get("waba", "71", truth.load))

    async def is_asked() -> bool:
        return truth.asked > 0

    await eventually(is_asked)
    truth.value = "bia"  # committed while the slow one holds the old value in its hand
    await cache.invalidate("waba", "71")
    truth.gate.set()
    assert await slow == "ana"
    assert await Cache(redis, CollectorRegistry()).get("waba", "71", truth.load) == "bia"


@pytest.mark.parametrize("what", [signal.SIGSTOP, signal.SIGKILL], ids=["frozen", "dead"])
async def test_a_sick_redis_costs_a_moment_and_no_answer(
    what: signal.Signals, registry: CollectorRegistry, tmp_path: Path
) -> None:
    async with own_redis(tmp_path) as (url, pid), open_redis(url) as redis:
        cache, truth = Cache(redis, registry), Truth("ana")
        assert await cache.get("waba", "71", truth.load) == "ana"
        os.kill(pid, what)
        async with asyncio.timeout(20 * caching.REDIS_SECONDS):  # not each of them waits for it
            for _ in range(50):
                assert await cache.get("waba", "71", truth.load) == "ana"
                await cache.invalidate("waba", "72")
        assert lookups(registry, "down") == 50
        if what == signal.SIGSTOP:
            os.kill(pid, signal.SIGCONT)

            async def is_used_again() -> bool:
                await cache.get("waba", "71", truth.load)
                return lookups(registry, "hit") > 0

            await eventually(is_used_again)
