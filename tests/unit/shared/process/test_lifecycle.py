"""Stop: set once, waited for in order; a failure in the background is never silent."""

import asyncio

import pytest

from shared.errors import StartupRefused
from shared.process.lifecycle import Stop


async def test_waiting_ends_when_the_stop_is_set() -> None:
    stop = Stop()
    assert not stop.is_set()

    stop.set()
    await stop.wait()

    assert stop.is_set()


async def test_waiting_raises_the_first_failure_of_a_background_task() -> None:
    stop = Stop()
    stop.set(LookupError("first"))
    stop.set(KeyError("second"))

    with pytest.raises(LookupError, match="first"):
        await stop.wait()


async def test_a_failure_after_a_signal_is_still_raised() -> None:
    stop = Stop()
    stop.set()
    stop.set(LookupError("while stopping"))

    with pytest.raises(LookupError):
        await stop.wait()


async def test_waiting_for_events_ends_when_all_are_set() -> None:
    first, second = asyncio.Event(), asyncio.Event()
    waiting = asyncio.create_task(Stop().wait_for(first, second, seconds=60))

    first.set()
    second.set()

    await waiting


async def test_waiting_for_events_ends_after_its_seconds() -> None:
    await Stop().wait_for(asyncio.Event(), seconds=0)


async def test_waiting_for_events_ends_at_a_stop() -> None:
    stop = Stop()
    stop.set()

    await stop.wait_for(asyncio.Event(), seconds=60)


async def test_waiting_for_events_raises_a_failure() -> None:
    stop = Stop()
    stop.set(LookupError())

    with pytest.raises(LookupError):
        await stop.wait_for(asyncio.Event(), seconds=60)


def test_a_refusal_names_every_fault() -> None:
    refusal = StartupRefused(fault for fault in ("A is missing", "B is malformed"))

    assert refusal.faults == ["A is missing", "B is malformed"]
    assert str(refusal) == "A is missing; B is malformed"
