"""Work beside a block: its failure stops the process, and it ends with the block."""

import asyncio
from collections.abc import Callable

import pytest

from shared.process import lifecycle
from shared.process.lifecycle import Stop, running


async def for_ever() -> None:
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
            await for_ever()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    stop = Stop()
    async with running(work(), stop):
        await started.wait()
        assert not cancelled.is_set()

    assert cancelled.is_set()
    assert not stop.is_set()


async def test_work_that_can_finish_is_asked_to_and_awaited() -> None:
    asked, done = asyncio.Event(), []

    async def work() -> None:
        await asked.wait()
        await asyncio.sleep(0)
        done.append("what it held")

    async with running(work(), Stop(), finish=asked.set):
        assert not done

    assert done == ["what it held"]


async def test_when_told_to_stop_all_are_asked_at_once() -> None:
    stop, asked = Stop(), []

    def finish(name: str) -> Callable[[], None]:
        return lambda: asked.append(name)

    async with (
        running(for_ever(), stop, finish=finish("one")),
        running(for_ever(), stop, finish=finish("other")),
    ):
        stop.set()
        assert asked == ["one", "other"]
        stop.set()
        assert asked == ["one", "other"]
        stop._finish_until = 0  # as if they had had their time


async def test_work_that_does_not_finish_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifecycle, "FINISH_SECONDS", 0)
    cancelled = []

    async def work() -> None:
        try:
            await for_ever()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    async with running(work(), Stop(), finish=lambda: None):
        await asyncio.sleep(0)

    assert cancelled


async def test_an_error_of_the_block_is_not_hidden() -> None:
    with pytest.raises(KeyError):
        async with running(for_ever(), Stop()):
            raise KeyError
