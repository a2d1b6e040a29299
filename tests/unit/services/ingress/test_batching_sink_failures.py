"""A road that fails or is late tells everybody who waits, and hurts nobody else."""

import asyncio

import pytest

from services.ingress import breaker
from services.ingress.batching_sink import MAX_BATCHES_IN_FLIGHT, BatchingSink, SinkFailed
from tests.support.fake_sink import Ferry, board, fill, outcomes, road_of


async def test_a_failure_fails_those_who_travelled_and_those_who_waited(
    sink: BatchingSink, ferry: Ferry
) -> None:
    [travelled, *elsewhere], [trip, *others] = await fill(sink, ferry)
    waiting = board(sink, b"x", b"y")
    await asyncio.sleep(0)

    trip.sink()

    assert await outcomes([travelled, *waiting]) == [SinkFailed] * 3
    assert not sink.is_open()
    for other in others:
        other.arrive()
    assert set(await outcomes(elsewhere)) == {None}
    assert sink.is_open()


async def test_lateness_fails_those_who_travelled_and_those_who_waited(ferry: Ferry) -> None:
    sink = road_of(ferry, seconds=0.05)
    tasks, _ = await fill(sink, ferry)
    waiting = board(sink, b"x", b"y")

    assert await outcomes([*tasks, *waiting]) == [SinkFailed] * (MAX_BATCHES_IN_FLIGHT + 2)
    assert not sink.is_open()


async def test_a_sending_that_is_late_is_given_up(ferry: Ferry) -> None:
    sink = road_of(ferry, seconds=0.01)
    tasks = board(sink, b"a")
    trip = await ferry.departed()

    assert await outcomes(tasks) == [SinkFailed]

    assert trip.outcome.cancelled()


async def test_a_webhook_that_comes_too_late_fails_at_once(sink: BatchingSink) -> None:
    assert await outcomes(board(sink, b"a", age=61)) == [SinkFailed]


async def test_a_bundle_has_as_long_as_its_oldest_passenger(
    sink: BatchingSink, ferry: Ferry
) -> None:
    tasks = [*board(sink, b"new"), *board(sink, b"old", age=50)]

    trip = await ferry.departed()
    trip.arrive()
    await outcomes(tasks)

    assert trip.bodies == [b"new", b"old"]
    assert trip.seconds < 11


async def test_after_a_failure_one_trial_decides(
    sink: BatchingSink, ferry: Ferry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(breaker, "OPEN_SECONDS", 0.0)
    tasks = board(sink, b"a")
    (await ferry.departed()).sink()
    await outcomes(tasks)

    assert sink.is_open()
    assert not sink.is_open()

    tasks = board(sink, b"trial")
    (await ferry.departed()).arrive()
    assert await outcomes(tasks) == [None]
    assert sink.is_open()
    assert sink.is_open()


async def test_a_passenger_who_gives_up_harms_nobody_and_travels_all_the_same(
    sink: BatchingSink, ferry: Ferry
) -> None:
    tasks = board(sink, b"a", b"b")
    trip = await ferry.departed()

    tasks[0].cancel()
    await asyncio.sleep(0)
    trip.arrive()

    assert await outcomes(tasks) == [asyncio.CancelledError, None]
    assert sink.is_open()


async def test_a_passenger_who_gives_up_before_a_failure_harms_nobody(
    sink: BatchingSink, ferry: Ferry
) -> None:
    tasks = board(sink, b"a", b"b")
    trip = await ferry.departed()

    tasks[0].cancel()
    await asyncio.sleep(0)
    trip.sink()

    assert await outcomes(tasks) == [asyncio.CancelledError, SinkFailed]
