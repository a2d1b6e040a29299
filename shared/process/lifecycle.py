"""Start a process in order, stop it in reverse order, and never hang."""

import asyncio
import faulthandler
import gc
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from typing import Any

import structlog
import uvloop

from shared.errors import StartupRefused
from shared.process import telemetry

log = structlog.get_logger()

#: Seconds from the stop signal to a hard exit. Shorter than the pods' terminationGracePeriodSeconds
#: (30). In order: requests in progress (10 s), publishers and consumers (5 s), connections (5 s).
STOP_SECONDS = 25
#: How long background work may take to finish after a stop; one limit for all of it together.
FINISH_SECONDS = 5
#: How long a starting process waits for the first check of its servers before it serves anyway.
FIRST_CHECK_SECONDS = 8
#: A webhook creates about a hundred short-lived objects and no cycles. With Python's default of 700
#: the collector took a twentieth of the ingress's time (measured).
GC_THRESHOLD = (20_000, 20, 50)
#: EX_CONFIG of `sysexits.h`: the process found a fault and refuses to start.
EXIT_REFUSED = 78


class Stop:
    """Set by a signal, or by the failure of a background task. `wait` raises that failure."""

    def __init__(self, on_set: Callable[[], None] = lambda: None) -> None:
        self._on_set = on_set
        self._finishes: list[Callable[[], None]] = []
        self._finish_until: float | None = None
        self._event = asyncio.Event()
        self._failure: BaseException | None = None

    def set(self, failure: BaseException | None = None) -> None:
        if not self._event.is_set():
            self._on_set()
            self._finish_until = time.monotonic() + FINISH_SECONDS
            for finish in self._finishes:
                finish()
        self._failure = self._failure or failure
        self._event.set()

    def is_set(self) -> bool:
        return self._event.is_set()

    def on_stop(self, finish: Callable[[], None]) -> None:
        """Call `finish` when this is set. All are called at once, to finish in parallel."""
        self._finishes.append(finish)

    @property
    def finish_seconds(self) -> float:
        """How much is left of FINISH_SECONDS."""
        if self._finish_until is None:
            return FINISH_SECONDS
        return max(0, self._finish_until - time.monotonic())

    async def wait(self) -> None:
        """Return when the process must stop in good order. Raise what a background task raised."""
        await self._event.wait()
        if self._failure is not None:
            raise self._failure

    async def wait_for(self, *events: asyncio.Event, seconds: float) -> None:
        """Wait until all `events` or this are set, at most `seconds`. Raise like `wait`."""
        stopped = asyncio.ensure_future(self.wait())
        ready = asyncio.ensure_future(_all_set(events))
        try:
            await asyncio.wait({stopped, ready}, timeout=seconds, return_when="FIRST_COMPLETED")
            if stopped.done():
                stopped.result()
        finally:
            stopped.cancel()
            ready.cancel()
            await asyncio.gather(stopped, ready, return_exceptions=True)


async def _all_set(events: Iterable[asyncio.Event]) -> None:
    for event in events:
        await event.wait()


@asynccontextmanager
async def running(
    work: Coroutine[Any, Any, None], stop: Stop, *, finish: Callable[[], None] | None = None
) -> AsyncIterator[None]:
    """Run `work` while the block runs. If it fails, the process stops with its failure.

    When the block ends, `work` is cancelled. With `finish`, which asks `work` to end by itself, it
    is cancelled only if it still runs FINISH_SECONDS after the stop. `finish` must be safe to call
    twice.
    """
    if finish is not None:
        stop.on_stop(finish)
    task = asyncio.ensure_future(work)

    def done(task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (failure := task.exception()) is not None:
            stop.set(failure)

    task.add_done_callback(done)
    try:
        yield
    finally:
        if finish is not None:
            finish()
            await asyncio.wait({task}, timeout=stop.finish_seconds)
        while not task.done():  # a driver may swallow a cancellation as its own
            task.cancel()
            await asyncio.wait({task}, timeout=1)


def run(service: str, main: Callable[[Stop], Awaitable[None]]) -> None:
    """Run `main`. SIGTERM and SIGINT set its Stop; `main` must then return within STOP_SECONDS.

    Exit with 78 on StartupRefused, with 1 on another failure or if that time is over.
    """
    telemetry.configure(service)
    gc.freeze()  # imported objects stay for good: the collector skips them
    gc.set_threshold(*GC_THRESHOLD)
    uvloop.run(_until_signalled(main))


async def _until_signalled(main: Callable[[Stop], Awaitable[None]]) -> None:
    stop = Stop(on_set=lambda: faulthandler.dump_traceback_later(STOP_SECONDS, exit=True))
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    try:
        await main(stop)
    except StartupRefused as refusal:
        for fault in refusal.faults:
            log.critical("process.refused", fault=fault)
        sys.exit(EXIT_REFUSED)
    except Exception:
        log.critical("process.failed", exc_info=True)
        sys.exit(1)
    finally:
        faulthandler.cancel_dump_traceback_later()
    log.info("process.stopped")
