"""A road that fails or is late tells everybody who waits, and hurts nobody else."""

import asyncio

import pytest

from services.ingress import breaker
from services.ingress.batching_sink import MAX_ON_THE_WAY, Road, RoadFailed
from tests.support.fake_sink import Ferry, board, fill, outcomes, road_of


async def test_a_failure_fails_those_who_travelled_and_those_who_waited(
    road: Road, ferry: Ferry
) -> None:
    [travelled, *elsewhere], [trip, *others] = await fill(road, ferry)
    waiting = board(road, b"x", b"y")
    await asyncio.sleep(0)

    trip.sink()

    assert await outcomes([travelled, *waiting]) == [RoadFailed] * 3
    assert not road.is_open()
    for other in others:
        other.arrive()
    assert set(await outcomes(elsewhere)) == {None}
    assert road.is_open()


async def test_lateness_fails_those_who_travelled_and_those_who_waited(ferry: Ferry) -> None:
    road = road_of(ferry, seconds=0.05)
    tasks, _ = await fill(road, ferry)
    waiting = board(road, b"x", b"y")

    assert await outcomes([*tasks, *waiting]) == [RoadFailed] * (MAX_ON_THE_WAY + 2)
    assert not road.is_open()


async def test_a_sending_that_is_late_is_given_up(ferry: Ferry) -> None:
    road = road_of(ferry, seconds=0.01)
    tasks = board(road, b"a")
    trip = await ferry.departed()

    assert await outcomes(tasks) == [RoadFailed]

    assert trip.outcome.cancelled()


async def test_a_webhook_that_comes_too_late_fails_at_once(road: Road) -> None:
    assert await outcomes(board(road, b"a", age=61)) == [RoadFailed]


async def test_a_bundle_has_as_long_as_its_oldest_passenger(road: Road, ferry: Ferry) -> None:
    tasks = [*board(road, b"new"), *board(road, b"old", age=50)]

    trip = await ferry.departed()
    trip.arrive()
    await outcomes(tasks)

    assert trip.bodies == [b"new", b"old"]
    assert trip.seconds < 11


async def test_after_a_failure_one_trial_decides(
    road: Road, ferry: Ferry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(breaker, "OPEN_SECONDS", 0.0)
    tasks = board(road, b"a")
    (await ferry.departed()).sink()
    await outcomes(tasks)

    assert road.is_open()
    assert not road.is_open()

    tasks = board(road, b"trial")
    (await ferry.departed()).arrive()
    assert await outcomes(tasks) == [None]
    assert road.is_open()
    assert road.is_open()


async def test_a_passenger_who_gives_up_harms_nobody_and_travels_all_the_same(
    road: Road, ferry: Ferry
) -> None:
    tasks = board(road, b"a", b"b")
    trip = await ferry.departed()

    tasks[0].cancel()
    await asyncio.sleep(0)
    trip.arrive()

    assert await outcomes(tasks) == [asyncio.CancelledError, None]
    assert road.is_open()


async def test_a_passenger_who_gives_up_before_a_failure_harms_nobody(
    road: Road, ferry: Ferry
) -> None:
    tasks = board(road, b"a", b"b")
    trip = await ferry.departed()

    tasks[0].cancel()
    await asyncio.sleep(0)
    trip.sink()

    assert await outcomes(tasks) == [asyncio.CancelledError, RoadFailed]
