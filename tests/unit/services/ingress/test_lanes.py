"""Choose a webhook's lane: slow for a WABA over its limit, fast for all others."""

import time
from typing import cast

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisUnreachable

from services.ingress.receiver import Lanes
from shared import slow_lane


class FakeRedis:
    """Only the command that Lanes uses. `slow` is the answer; None means unreachable."""

    def __init__(self, slow: set[str] | None) -> None:
        self._slow = slow

    async def smembers(self, key: str) -> set[str]:
        assert key == slow_lane.KEY
        if self._slow is None:
            raise RedisUnreachable
        return self._slow


async def lanes_after(*copies: set[str]) -> Lanes:
    lanes = Lanes()
    for slow in copies:
        await lanes.refresh(cast("Redis", FakeRedis(slow)))
    return lanes


BODY = b'{"object":"whatsapp_business_account","entry":[{"id":"7314","changes":[]}]}'


async def test_every_waba_takes_the_fast_lane_at_first() -> None:
    assert (await lanes_after()).lane_of(BODY) == "fast"


async def test_a_waba_over_its_limit_takes_the_slow_lane() -> None:
    lanes = await lanes_after({"1", "7314"})

    assert lanes.lane_of(BODY) == "slow"
    assert lanes.lane_of(BODY.replace(b"7314", b"731")) == "fast"
    assert lanes.lane_of(BODY.replace(b"7314", b"73140")) == "fast"


async def test_a_waba_that_left_the_set_is_fast_again() -> None:
    lanes = await lanes_after({"7314"}, set())

    assert lanes.lane_of(BODY) == "fast"


async def test_without_redis_the_last_copy_is_used_as_long_as_the_set_would_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lanes = await lanes_after({"7314"})

    with pytest.raises(RedisUnreachable):
        await lanes.refresh(cast("Redis", FakeRedis(None)))

    assert lanes.lane_of(BODY) == "slow"
    later = time.monotonic() + slow_lane.EXPIRES_SECONDS + 1
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert lanes.lane_of(BODY) == "fast"


@pytest.mark.parametrize(
    ("body", "lane"),
    [
        (b'{ "entry" : [ {\n "id" : "7314" } ] }', "slow"),
        (b'{"entry":[{"id":"1"},{"id":"7314"}]}', "fast"),
        (b'{"entry":[{"time":1,"id":"7314"}]}', "fast"),
        (b'{"entry":[{"id":7314}]}', "fast"),
        (b'{"text":"\\"entry\\":[{\\"id\\":\\"7314\\"}]"}', "fast"),
        (b"", "fast"),
        (b"\xff\x00", "fast"),
    ],
)
async def test_the_lane_follows_the_first_entrys_id_where_meta_writes_it(
    body: bytes, lane: str
) -> None:
    assert (await lanes_after({"7314"})).lane_of(body) == lane
