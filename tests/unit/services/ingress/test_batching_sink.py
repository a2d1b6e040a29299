"""A batching sink sends webhooks that wait at the same moment in one bundle, within its bounds."""

import asyncio

from services.ingress.sinks import BatchingSink
from shared.messages import MAX_BUNDLE_BYTES, MAX_BUNDLE_WEBHOOKS
from tests.support.fake_sink import FakeSink, outcomes, submit, submit_until_busy


async def test_a_webhook_that_comes_alone_is_sent_alone(
    sink: BatchingSink, fake_sink: FakeSink
) -> None:
    tasks = submit(sink, b"a")

    bundle = await fake_sink.next_bundle()
    assert bundle.bodies == [b"a"]
    assert not tasks[0].done()

    bundle.succeed()
    assert await outcomes(tasks) == [None]


async def test_webhooks_that_wait_at_the_same_moment_are_sent_together(
    sink: BatchingSink, fake_sink: FakeSink
) -> None:
    tasks = submit(sink, b"a", b"b", b"c")

    bundle = await fake_sink.next_bundle()
    bundle.succeed()

    assert bundle.bodies == [b"a", b"b", b"c"]
    assert await outcomes(tasks) == [None, None, None]


async def test_webhooks_that_come_while_the_sink_is_busy_fill_the_next_bundle(
    sink: BatchingSink, fake_sink: FakeSink
) -> None:
    tasks, [first, *others] = await submit_until_busy(sink, fake_sink)
    tasks += submit(sink, b"x", b"y")
    await asyncio.sleep(0)
    tasks += submit(sink, b"z")
    await asyncio.sleep(0)

    first.succeed()
    next_bundle = await fake_sink.next_bundle()

    assert next_bundle.bodies == [b"x", b"y", b"z"]
    for bundle in (*others, next_bundle):
        bundle.succeed()
    assert set(await outcomes(tasks)) == {None}


async def test_a_bundle_has_no_more_webhooks_than_its_bound(
    sink: BatchingSink, fake_sink: FakeSink
) -> None:
    tasks = submit(sink, *[b"a"] * (2 * MAX_BUNDLE_WEBHOOKS + 1))

    sizes = []
    for _ in range(3):
        bundle = await fake_sink.next_bundle()
        sizes.append(len(bundle.bodies))
        bundle.succeed()

    assert sizes == [MAX_BUNDLE_WEBHOOKS, MAX_BUNDLE_WEBHOOKS, 1]
    assert set(await outcomes(tasks)) == {None}


async def test_a_bundle_has_no_more_bytes_than_its_bound_and_a_larger_webhook_is_sent_alone(
    sink: BatchingSink, fake_sink: FakeSink
) -> None:
    half, large = MAX_BUNDLE_BYTES // 2, MAX_BUNDLE_BYTES + 1
    sizes = [half, half, 1, large, 1, half, half]

    tasks = submit(sink, *(bytes(size) for size in sizes))

    bundle_sizes = []
    for _ in range(5):
        bundle = await fake_sink.next_bundle()
        bundle_sizes.append([len(body) for body in bundle.bodies])
        bundle.succeed()
    assert bundle_sizes == [[half, half], [1], [large], [1, half], [half]]
    assert set(await outcomes(tasks)) == {None}
