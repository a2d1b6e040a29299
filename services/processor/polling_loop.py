"""Ask for work at an interval, and at once after a nudge."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

import structlog
from aio_pika.abc import AbstractIncomingMessage

from shared.store.errors import is_infrastructure

log = structlog.get_logger()


class PollingLoop:
    """Call `work` again and again. `work` does one lease or step.

    If `work` returns True, more may be due, and the loop calls it again at once. Else, or after an
    error, it calls it after `seconds` or when woken. No error ends the loop.
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
        while not self._is_stopping:
            self._woken.clear()
            try:
                if await self._work():
                    continue
            except Exception as error:
                level = logging.WARNING if is_infrastructure(error) else logging.ERROR
                log.log(level, "loop.interrupted", kind=self._name, exc_info=error)
            try:
                await asyncio.wait_for(self._woken.wait(), self._seconds)
            except TimeoutError:
                continue
