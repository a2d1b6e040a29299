"""Run work beside a block: its failure stops the process, and it ends with the block."""

import asyncio
from collections.abc import Callable

import pytest

from shared.process import lifecycle
from shared.process.lifecycle import Stop, running


async def run_forever() -> None:
    await asyncio.Event().wait()


async def fail() -> None:
    raise LookupError("the work failed")


async def test_work_that_fails_stops_the_process_with_its_failure() -> None:
    stop = Stop()

    with pytest.raises(LookupError, match="the work failed"):
        async with running(fail(), stop):
            await stop.wait()


async def test_work_that_ends_by_itself_stops_nothing() -> None:
    stop, worked = Stop(), asyncio.Event()

    async def work() -> None:
        worked.set()

    async with running(work(), stop):
        await worked.wait()

    assert not stop.is_set()


async def test_work_is_cancelled_after_the_block() -> None:
    started, cancelled = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        started.set()
        try:
            await run_forever()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    stop = Stop()
    async with running(work(), stop):
        await started.wait()
        assert not cancelled.is_set()

    assert cancelled.is_set()
    assert not stop.is_set()


async def test_work_that_can_finish_is_asked_to_finish_and_awaited() -> None:
    asked, done = asyncio.Event(), []

    async def work() -> None:
        await asked.wait()
        await asyncio.sleep(0)
        done.append("the last piece")

    async with running(work(), Stop(), finish=asked.set):
        assert not done

    assert done == ["the last piece"]


async def test_at_a_stop_all_work_is_asked_to_finish_at_once() -> None:
    stop, asked = Stop(), []

    def finish(name: str) -> Callable[[], None]:
        return lambda: asked.append(name)

    async with (
        running(run_forever(), stop, finish=finish("first")),
        running(run_forever(), stop, finish=finish("second")),
    ):
        stop.set()
        assert asked == ["first", "second"]
        stop.set()
        assert asked == ["first", "second"]
        stop._finish_until = 0  # as if their time to finish was over


async def test_work_that_does_not_finish_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifecycle, "FINISH_SECONDS", 0)
    cancelled = []

    async def work() -> None:
        try:
            await run_forever()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    async with running(work(), Stop(), finish=lambda: None):
        await asyncio.sleep(0)

    assert cancelled


async def test_an_error_of_the_block_is_not_hidden() -> None:
    with pytest.raises(KeyError):
        async with running(run_forever(), Stop()):
            raise KeyError
