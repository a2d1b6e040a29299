"""Read Meta's usage headers, whatever they contain."""

from hypothesis import given
from hypothesis import strategies as st
from pytest import MonkeyPatch

from shared.cache import open_redis
from shared.graph import usage as usage_module
from shared.graph.usage import (
    APP_USAGE,
    BUSINESS_USAGE,
    MAX_PAUSE_SECONDS,
    PAUSE_SECONDS,
    AppUsage,
    Usage,
    app_usage,
)


def pauses(headers: dict[str, str], place: str = "71") -> tuple[float, float]:
    """Return how many seconds the calls of `place` pause, and those of any other place."""
    usage = Usage()
    usage.record(headers, place, 0.0)
    return usage.seconds_left(place, 0.0), usage.seconds_left("another", 0.0)


def test_the_apps_usage_holds_up_no_customers_call_and_a_businesss_only_its_own() -> None:
    assert pauses({APP_USAGE: '{"call_count": 89, "total_time": 90}'}) == (0, 0)
    business = '{"9": [{"call_count": 10}, {"total_cputime": 91}]}'
    assert pauses({BUSINESS_USAGE: business}) == (PAUSE_SECONDS, 0)


def test_the_pause_meta_asks_for_is_used_up_to_a_limit() -> None:
    usage = '{"9": [{"call_count": 100, "estimated_time_to_regain_access": %s}]}'
    assert pauses({BUSINESS_USAGE: usage % 7}) == (420, 0)
    assert pauses({BUSINESS_USAGE: usage % 1e307}) == (MAX_PAUSE_SECONDS, 0)


async def test_the_apps_limit_is_one_for_all_processes(
    redis_url: str, monkeypatch: MonkeyPatch
) -> None:
    monkeypatch.setattr(usage_module, "REDIS_SECONDS", 20.0)  # this is no test of the deadline
    async with open_redis(redis_url) as redis:
        one, other = AppUsage(redis), AppUsage(redis)
        await one.record(50.0, 300.0, 0.0)
        assert 290 < await other.seconds_left(50.0, 1000.0) <= 300
        assert await other.seconds_left(90.0, 1000.0) == 0
        await other.record(20.0, 300.0, 1000.0)
        assert await other.seconds_left(50.0, 1000.0) == 0


async def test_what_one_process_saw_does_not_outlive_what_all_know(redis_url: str) -> None:
    async with open_redis(redis_url) as redis:
        usage = AppUsage(redis)
        await usage.record(95.0, 300.0, 0.0)
        await redis.flushdb()
        assert await usage.seconds_left(50.0, 1.0) == 0


async def test_without_redis_each_process_knows_what_it_saw() -> None:
    async with open_redis("redis://127.0.0.1:1/0") as redis:
        usage = AppUsage(redis)
        await usage.record(95.0, 300.0, 0.0)
        assert await usage.seconds_left(90.0, 100.0) == 200
        assert await usage.seconds_left(90.0, 300.0) == 0


@given(st.text() | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(str))
def test_no_header_makes_it_fail(header: str) -> None:
    pauses({BUSINESS_USAGE: header})
    app_usage({APP_USAGE: header})
