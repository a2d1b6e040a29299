"""Ask for work at an interval, and at once after a nudge."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog
from aio_pika.abc import AbstractIncomingMessage

from shared.errors import StartupRefused
from shared.process.server_faults import server_fault
from shared.store.errors import is_infrastructure

log = structlog.get_logger()


class PollingLoop:
    """Call `work` again and again. `work` does one lease or step.

    If `work` returns True, more may be due, and the loop calls it again at once. Else, or after an
    error, it calls it after `seconds` or when woken. No error ends the loop but StartupRefused.
    """

    def __init__(self, name: str, work: Callable[[], Awaitable[bool]], *, seconds: float) -> None:
        self._name = name
        self._work = work
        self._seconds = seconds
        self._woken = asyncio.Event()
        self._is_stopping = False

    def wake(self) -> None:
        """Call `work` at once, because something may be due."""
        self._woken.set()

    async def on_nudge(self, _: AbstractIncomingMessage) -> None:
        """Wake the loop. The nudge's content does not matter: the rows say what is due."""
        self._woken.set()

    def stop(self) -> None:
        """Start no more work. `run` returns after the current call of `work`."""
        self._is_stopping = True
        self._woken.set()

    async def run(self) -> None:
        failure: type[Exception] | None = None
        while not self._is_stopping:
            self._woken.clear()
            try:
                has_worked = await self._work()
                if failure is not None:
                    log.info("loop.resumed", kind=self._name)
                failure = None
                if has_worked:
                    continue
            except StartupRefused:
                raise
            except Exception as error:
                failure = self._log(error, failure)
            try:
                await asyncio.wait_for(self._woken.wait(), self._seconds)
            except TimeoutError:
                continue

    def _log(self, error: Exception, last: type[Exception] | None) -> type[Exception]:
        """Log each kind of error once until work succeeds, and a server's fault only as the first.
        Return the kind."""
        if not is_infrastructure(error):
            if type(error) is not last:
                log.error("loop.interrupted", kind=self._name, exc_info=error)
        elif last is None:
            reason = server_fault(error)
            log.warning("loop.interrupted", kind=self._name, reason=reason, exc_info=error)
        return type(error)
