"""The limiter counts in Redis with all processes, and alone while Redis is away."""

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from shared import limits
from shared.cache import open_redis
from shared.limits import Limit, Limiter
from tests.support.own_redis import own_redis

FIVE = Limit("address", 5)


def fallbacks(registry: CollectorRegistry) -> float:
    return registry.get_sample_value("porteiro_limiter_fallback_total", {"limit": "address"}) or 0


async def allowed(limiter: Limiter, caller: str, requests: int, limit: Limit = FIVE) -> int:
    return [await limiter.count(limit, caller) for _ in range(requests)].count(None)


async def test_two_processes_share_a_window(redis_url: str) -> None:
    async with open_redis(redis_url) as one, open_redis(redis_url) as other:
        first, second = Limiter(one, CollectorRegistry()), Limiter(other, CollectorRegistry())
        assert await allowed(first, "ana", 3) == 3
        assert await allowed(second, "ana", 3) == 2
        assert await allowed(first, "ana", 1) == 0
        assert await allowed(second, "bia", 5) == 5


async def test_a_refusal_says_how_long_and_of_which_limit(redis_url: str) -> None:
    registry = CollectorRegistry()
    async with open_redis(redis_url) as redis:
        limiter = Limiter(redis, registry)
        assert await allowed(limiter, "ana", 5) == 5
        over = await limiter.count(FIVE, "ana")
    assert over is not None
    headers = over.headers()
    assert 1 <= int(headers["Retry-After"]) <= 60
    assert headers["RateLimit-Policy"] == '"address";q=5;w=60'
    assert headers["RateLimit"] == f'"address";r=0;t={headers["Retry-After"]}'
    assert registry.get_sample_value("porteiro_requests_limited_total", {"limit": "address"}) == 1


@pytest.mark.parametrize("fault", [signal.SIGKILL, signal.SIGSTOP])
async def test_without_redis_each_process_keeps_its_own_window(
    tmp_path: Path, fault: signal.Signals
) -> None:
    registry = CollectorRegistry()
    async with own_redis(tmp_path) as (url, pid), open_redis(url) as redis:
        limiter = Limiter(redis, registry)
        assert await allowed(limiter, "ana", 2) == 2
        assert fallbacks(registry) == 0
        os.kill(pid, fault)
        assert await allowed(limiter, "ana", 5) == 3
        assert fallbacks(registry) == 3
        assert (
            registry.get_sample_value("porteiro_requests_limited_total", {"limit": "address"}) == 2
        )


async def test_a_frozen_redis_is_asked_again_when_it_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "PAUSE_SECONDS", 0.0)
    registry = CollectorRegistry()
    async with own_redis(tmp_path) as (url, pid), open_redis(url) as redis:
        limiter = Limiter(redis, registry)
        os.kill(pid, signal.SIGSTOP)
        assert await allowed(limiter, "ana", 1) == 1
        os.kill(pid, signal.SIGCONT)
        before = fallbacks(registry)
        async with asyncio.timeout(10):
            while True:
                await limiter.count(Limit("address", 1000), "bia")
                if fallbacks(registry) == before:
                    break
                before = fallbacks(registry)


async def test_a_flushed_redis_starts_a_new_window_and_the_own_one_holds(redis_url: str) -> None:
    async with open_redis(redis_url) as redis:
        limiter = Limiter(redis, CollectorRegistry())
        assert await allowed(limiter, "ana", 5) == 5
        await redis.flushdb()
        assert await allowed(limiter, "ana", 1) == 0


async def test_many_at_once_are_all_answered(redis_url: str) -> None:
    """Redis is asked by some of them; the others count here alone, and no one waits for long."""
    registry = CollectorRegistry()
    limit = Limit("address", 1500)
    async with open_redis(redis_url) as redis:
        limiter = Limiter(redis, registry)
        answers = await asyncio.gather(*(limiter.count(limit, "ana") for _ in range(2000)))
    assert answers.count(None) == 1500
    assert fallbacks(registry) > 0


class Clock:
    now = 0.0


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 1)), max_size=40))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_no_minute_has_more_than_the_limit_of_each_process(steps: list[tuple[int, int]]) -> None:
    """A model, with a Redis that is away: the exact window of each process."""

    async def play() -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(limits, "_now", lambda: Clock.now)
            away: Any = Redis(port=1)
            limiters = [Limiter(away, CollectorRegistry()) for _ in range(2)]
            for limiter in limiters:
                limiter._paused_until = 1e9
            Clock.now = 0.0
            times: list[list[float]] = [[], []]
            for seconds, which in steps:
                Clock.now += seconds
                lately = [at for at in times[which] if at > Clock.now - 60]
                over = await limiters[which].count(Limit("address", 3), "ana")
                assert (over is None) == (len(lately) < 3)
                if over is None:
                    times[which].append(Clock.now)

    asyncio.run(play())
