"""A process's life: started in order, stopped in reverse, never hanging."""

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

#: Seconds from the stop signal to a hard exit; shorter than the pods' terminationGracePeriodSeconds
#: (30): in-flight requests (10 s), then publishers and consumers (5 s), then connections (5 s).
STOP_SECONDS = 25
#: How long all work that can finish what it holds may take to do so.
FINISH_SECONDS = 5
#: How long a starting process waits to learn which of its servers are up before it serves anyway.
FIRST_CHECK_SECONDS = 8
#: A webhook makes some hundred short-lived objects and no cycles; at Python's own 700 the collector
#: took a twentieth of the door's time (measured).
GC_THRESHOLD = (20_000, 20, 50)
#: What `sysexits.h` calls EX_CONFIG: the process found something wrong and will not start.
EXIT_REFUSED = 78


class Stop:
    """Set by a signal, or by the failure of a background task, which `wait` then raises."""

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

    def ask(self, finish: Callable[[], None]) -> None:
        """Call `finish` at once when this is set: all that can finish do so side by side."""
        self._finishes.append(finish)

    @property
    def finish_seconds(self) -> float:
        """What is left of FINISH_SECONDS."""
        if self._finish_until is None:
            return FINISH_SECONDS
        return max(0, self._finish_until - time.monotonic())

    async def wait(self) -> None:
        """Return when the process shall stop in good order; raise what a background task raised."""
        await self._event.wait()
        if self._failure is not None:
            raise self._failure

    async def wait_for(self, *events: asyncio.Event, seconds: float) -> None:
        """Wait until all `events` are set, at most `seconds`; raise like `wait` if told to stop."""
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
    """`work` runs beside the block; if it fails, the process stops with its failure.

    After the block it is cancelled; if it can be asked to `finish`, which it must stand to be asked
    twice, only after FINISH_SECONDS from the stop.
    """
    if finish is not None:
        stop.ask(finish)
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
        while not task.done():  # a driver may take the cancellation for its own and swallow it
            task.cancel()
            await asyncio.wait({task}, timeout=1)


def run(service: str, main: Callable[[Stop], Awaitable[None]]) -> None:
    """Run `main` until SIGTERM or SIGINT; exits 78 on a Refusal, 1 on any other failure."""
    telemetry.configure(service)
    gc.freeze()  # what the imports made stays for good: never look at it again
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
