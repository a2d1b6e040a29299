"""A batching sink that fails or is late fails every webhook that waits, and nothing else."""

import asyncio

import pytest

from services.ingress import sinks
from services.ingress.sinks import MAX_BATCHES_IN_FLIGHT, BatchingSink, SinkFailed
from tests.support.fake_sink import FakeSink, batching_sink, outcomes, submit, submit_until_busy


async def test_a_failure_fails_the_bundle_and_the_webhooks_that_wait(
    sink: BatchingSink, fake_sink: FakeSink
) -> None:
    [sent, *elsewhere], [bundle, *others] = await submit_until_busy(sink, fake_sink)
    waiting = submit(sink, b"x", b"y")
    await asyncio.sleep(0)

    bundle.fail()

    assert await outcomes([sent, *waiting]) == [SinkFailed] * 3
    assert not sink.is_available()
    for other in others:
        other.succeed()
    assert set(await outcomes(elsewhere)) == {None}
    assert sink.is_available()


async def test_a_timeout_fails_the_bundle_and_the_webhooks_that_wait(fake_sink: FakeSink) -> None:
    sink = batching_sink(fake_sink, seconds=0.05)
    tasks, _ = await submit_until_busy(sink, fake_sink)
    waiting = submit(sink, b"x", b"y")

    assert await outcomes([*tasks, *waiting]) == [SinkFailed] * (MAX_BATCHES_IN_FLIGHT + 2)
    assert not sink.is_available()


async def test_a_send_that_is_late_is_cancelled(fake_sink: FakeSink) -> None:
    sink = batching_sink(fake_sink, seconds=0.01)
    tasks = submit(sink, b"a")
    bundle = await fake_sink.next_bundle()

    assert await outcomes(tasks) == [SinkFailed]

    assert bundle.outcome.cancelled()


async def test_a_webhook_that_comes_too_late_fails_at_once(sink: BatchingSink) -> None:
    assert await outcomes(submit(sink, b"a", age=61)) == [SinkFailed]


async def test_a_bundle_has_the_time_that_its_oldest_webhook_has_left(
    sink: BatchingSink, fake_sink: FakeSink
) -> None:
    tasks = [*submit(sink, b"new"), *submit(sink, b"old", age=50)]

    bundle = await fake_sink.next_bundle()
    bundle.succeed()
    await outcomes(tasks)

    assert bundle.bodies == [b"new", b"old"]
    assert bundle.seconds < 11


async def test_after_a_failure_one_trial_decides(
    sink: BatchingSink, fake_sink: FakeSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sinks, "OPEN_SECONDS", 0.0)
    tasks = submit(sink, b"a")
    (await fake_sink.next_bundle()).fail()
    await outcomes(tasks)

    assert sink.is_available()
    assert not sink.is_available()

    tasks = submit(sink, b"trial")
    (await fake_sink.next_bundle()).succeed()
    assert await outcomes(tasks) == [None]
    assert sink.is_available()
    assert sink.is_available()


async def test_a_cancelled_request_does_not_stop_its_bundle(
    sink: BatchingSink, fake_sink: FakeSink
) -> None:
    tasks = submit(sink, b"a", b"b")
    bundle = await fake_sink.next_bundle()

    tasks[0].cancel()
    await asyncio.sleep(0)
    bundle.succeed()

    assert await outcomes(tasks) == [asyncio.CancelledError, None]
    assert sink.is_available()


async def test_a_request_cancelled_before_a_failure_does_not_change_what_the_others_get(
    sink: BatchingSink, fake_sink: FakeSink
) -> None:
    tasks = submit(sink, b"a", b"b")
    bundle = await fake_sink.next_bundle()

    tasks[0].cancel()
    await asyncio.sleep(0)
    bundle.fail()

    assert await outcomes(tasks) == [asyncio.CancelledError, SinkFailed]
