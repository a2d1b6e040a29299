"""A road: webhooks that wait at the same moment travel together, within their bounds."""

import asyncio

from services.ingress.batching_sink import BatchingSink
from shared.messages import MAX_BUNDLE_BYTES, MAX_BUNDLE_WEBHOOKS
from tests.support.fake_sink import Ferry, board, fill, outcomes


async def test_a_webhook_that_comes_alone_travels_alone(sink: BatchingSink, ferry: Ferry) -> None:
    tasks = board(sink, b"a")

    trip = await ferry.departed()
    assert trip.bodies == [b"a"]
    assert not tasks[0].done()

    trip.arrive()
    assert await outcomes(tasks) == [None]


async def test_those_who_wait_at_the_same_moment_travel_together(
    sink: BatchingSink, ferry: Ferry
) -> None:
    tasks = board(sink, b"a", b"b", b"c")

    trip = await ferry.departed()
    trip.arrive()

    assert trip.bodies == [b"a", b"b", b"c"]
    assert await outcomes(tasks) == [None, None, None]


async def test_whoever_comes_while_the_road_is_busy_fills_the_next_bundle(
    sink: BatchingSink, ferry: Ferry
) -> None:
    tasks, [first, *others] = await fill(sink, ferry)
    tasks += board(sink, b"x", b"y")
    await asyncio.sleep(0)
    tasks += board(sink, b"z")
    await asyncio.sleep(0)

    first.arrive()
    next_trip = await ferry.departed()

    assert next_trip.bodies == [b"x", b"y", b"z"]
    for trip in (*others, next_trip):
        trip.arrive()
    assert set(await outcomes(tasks)) == {None}


async def test_a_bundle_holds_no_more_webhooks_than_its_bound(
    sink: BatchingSink, ferry: Ferry
) -> None:
    tasks = board(sink, *[b"a"] * (2 * MAX_BUNDLE_WEBHOOKS + 1))

    sizes = []
    for _ in range(3):
        trip = await ferry.departed()
        sizes.append(len(trip.bodies))
        trip.arrive()

    assert sizes == [MAX_BUNDLE_WEBHOOKS, MAX_BUNDLE_WEBHOOKS, 1]
    assert set(await outcomes(tasks)) == {None}


async def test_a_bundle_holds_no_more_bytes_than_its_bound_and_a_larger_webhook_goes_alone(
    sink: BatchingSink, ferry: Ferry
) -> None:
    half, large = MAX_BUNDLE_BYTES // 2, MAX_BUNDLE_BYTES + 1
    sizes = [half, half, 1, large, 1, half, half]

    tasks = board(sink, *(bytes(size) for size in sizes))

    bundles = []
    for _ in range(5):
        trip = await ferry.departed()
        bundles.append([len(body) for body in trip.bodies])
        trip.arrive()
    assert bundles == [[half, half], [1], [large], [1, half], [half]]
    assert set(await outcomes(tasks)) == {None}
