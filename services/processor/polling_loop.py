"""Work that is asked for again and again, and at once when nudged."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog
from aio_pika.abc import AbstractIncomingMessage

from shared.store.errors import is_infrastructure

log = structlog.get_logger()


class PollingLoop:
    """`work` takes one claim or step and says whether there may be more at once; `seconds` pass
    between two askings otherwise. The servers' errors are waited out, any other ends the loop."""

    def __init__(self, name: str, work: Callable[[], Awaitable[bool]], *, seconds: float) -> None:
        self._interrupted = f"{name}.interrupted"
        self._work = work
        self._seconds = seconds
        self._woken = asyncio.Event()
        self._is_stopping = False

    def wake(self) -> None:
        """There may be something: ask at once."""
        self._woken.set()

    async def on_nudge(self, _: AbstractIncomingMessage) -> None:
        """A nudge came home: whatever it was for, the rows say what is due."""
        self._woken.set()

    def stop(self) -> None:
        """Claim no more; `run` returns after what it holds."""
        self._is_stopping = True
        self._woken.set()

    async def run(self) -> None:
        while not self._is_stopping:
            self._woken.clear()
            try:
                if await self._work():
                    continue
            except Exception as error:
                if not is_infrastructure(error):
                    raise
                log.warning(self._interrupted, exc_info=error)
            try:
                await asyncio.wait_for(self._woken.wait(), self._seconds)
            except TimeoutError:
                continue
