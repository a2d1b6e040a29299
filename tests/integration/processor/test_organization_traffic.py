"""An organization that sends too much gets the slow lane, while webhooks wait and no longer."""

from collections.abc import AsyncIterator, Iterator
from itertools import count
from typing import Any
from uuid import UUID

import pytest
import time_machine
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis
from redis.asyncio.client import Pipeline

from services.ingress.receiver import Lanes
from services.processor.intake.metrics import IntakeMetrics
from services.processor.intake.organization_traffic import OrganizationTraffic, OwnedWebhook
from shared import slow_lane
from shared.cache import open_redis

LIMIT = 100
#: The middle of a minute.
NOON = 1_790_000_010.0
_NUMBERS = count(1)


class Backlog:
    """Whether webhooks wait."""

    exists = True

    async def __call__(self) -> bool:
        return self.exists


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    async with open_redis(redis_url) as redis:
        yield redis


@pytest.fixture
def clock() -> Iterator[time_machine.Traveller]:
    with time_machine.travel(NOON, tick=False) as traveller:
        yield traveller


def traffic_of(redis: Redis, backlog: Backlog | None = None) -> OrganizationTraffic:
    metrics = IntakeMetrics(CollectorRegistry())
    return OrganizationTraffic(redis, backlog or Backlog(), metrics, limit=LIMIT)


def webhooks(organization_id: str, number: int, waba_id: str = "71") -> list[OwnedWebhook]:
    return [OwnedWebhook(UUID(int=next(_NUMBERS)), organization_id, waba_id) for _ in range(number)]


async def test_an_organization_over_its_limit_is_slow_while_webhooks_wait(
    redis: Redis, clock: time_machine.Traveller
) -> None:
    backlog = Backlog()
    traffic = traffic_of(redis, backlog)
    traffic.stored([*webhooks("loud", 60, "71"), *webhooks("loud", 60, "72")])
    traffic.stored(webhooks("quiet", LIMIT, "73"))
    backlog.exists = False
    await traffic.work_once()
    assert await slow_lane.read(redis) == set()
    backlog.exists = True
    await traffic.work_once()
    assert await slow_lane.read(redis) == {"71", "72"}
    assert 0 < await redis.pttl(slow_lane.KEY) <= 1000 * slow_lane.EXPIRES_SECONDS
    clock.shift(120)
    await redis.delete(slow_lane.KEY)
    await traffic.work_once()  # it sends no more
    assert await slow_lane.read(redis) == set()
    assert traffic._traffic == {}


async def test_two_processors_add_up_what_they_stored(
    redis: Redis, clock: time_machine.Traveller
) -> None:
    first, second = traffic_of(redis), traffic_of(redis)
    for traffic in (first, second):
        traffic.stored(webhooks("loud", 60))
        await traffic.work_once()
    assert await slow_lane.read(redis) == {"71"}


async def test_a_webhook_with_many_changes_counts_once(
    redis: Redis, clock: time_machine.Traveller
) -> None:
    traffic = traffic_of(redis)
    [webhook] = webhooks("bundler", 1)
    traffic.stored([webhook] * 1000)
    await traffic.work_once()
    assert await slow_lane.read(redis) == set()


async def test_the_minute_before_weighs_what_is_left_of_it(
    redis: Redis, clock: time_machine.Traveller
) -> None:
    traffic = traffic_of(redis)
    traffic.stored(webhooks("loud", 120))
    await traffic.work_once()
    await redis.delete(slow_lane.KEY)
    into_the_minute = NOON % 60
    clock.shift(60 - into_the_minute + 5)  # 55/60 of 120 are 110
    await traffic.work_once()
    assert await slow_lane.read(redis) == {"71"}
    await redis.delete(slow_lane.KEY)
    clock.shift(10)  # 45/60 of 120 are 90
    await traffic.work_once()
    assert await slow_lane.read(redis) == set()


async def test_2000_organizations_at_90_a_minute_are_not_slow(
    redis: Redis, clock: time_machine.Traveller
) -> None:
    """Each second of two minutes each sends one or two webhooks, and webhooks wait all the time."""
    traffic = traffic_of(redis)
    for second in range(120):
        for number in range(0, 2000, 1):
            if second % 2 or number % 2:
                traffic.stored(webhooks(f"organization-{number}", 1 + (second % 4 == 3)))
        await traffic.work_once()
        assert await slow_lane.read(redis) == set()
        clock.shift(1)


async def test_the_ingress_reads_what_the_processor_writes(redis: Redis) -> None:
    traffic, lanes = traffic_of(redis), Lanes()
    traffic.stored(webhooks("loud", LIMIT + 1, "7314"))
    await traffic.work_once()
    await lanes.refresh(redis)
    body = b'{"object":"whatsapp_business_account","entry":[{"id":"7314","changes":[]}]}'
    assert lanes.lane_of(body) == "slow"
    assert lanes.lane_of(body.replace(b"7314", b"7315")) == "fast"


async def test_a_waba_that_moved_is_not_slowed_by_its_former_owner(
    redis: Redis, clock: time_machine.Traveller
) -> None:
    traffic = traffic_of(redis)
    traffic.stored(webhooks("loud", 10, "71"))
    await traffic.work_once()
    for _ in range(2):
        clock.shift(60)
        traffic.stored(webhooks("loud", 60, "72"))
        await traffic.work_once()
    traffic.stored(webhooks("loud", 60, "72"))
    await traffic.work_once()
    assert await slow_lane.read(redis) == {"72"}


async def test_what_is_stored_while_redis_is_asked_counts(
    redis: Redis, clock: time_machine.Traveller, monkeypatch: pytest.MonkeyPatch
) -> None:
    traffic = traffic_of(redis)
    traffic.stored(webhooks("loud", 60))
    execute = Pipeline.execute

    async def slow_execute(pipeline: Pipeline, *arguments: Any) -> Any:
        traffic.stored(webhooks("loud", 25))
        return await execute(pipeline, *arguments)

    monkeypatch.setattr(Pipeline, "execute", slow_execute)
    await traffic.work_once()
    monkeypatch.undo()
    await traffic.work_once()
    assert traffic._traffic["loud"].count == 60 + 25
