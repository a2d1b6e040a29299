"""Ask for work at an interval, and at once after a nudge."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

import structlog
from aio_pika.abc import AbstractIncomingMessage

from shared.errors import StartupRefused
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
        failure: type[Exception] | None = None  # each kind is logged once, until work succeeds
        while not self._is_stopping:
            self._woken.clear()
            try:
                has_worked = await self._work()
                failure = None
                if has_worked:
                    continue
            except StartupRefused:
                raise
            except Exception as error:
                if type(error) is not failure:
                    level = logging.WARNING if is_infrastructure(error) else logging.ERROR
                    log.log(level, "loop.interrupted", kind=self._name, exc_info=error)
                failure = type(error)
            try:
                await asyncio.wait_for(self._woken.wait(), self._seconds)
            except TimeoutError:
                continue
