"""Works follow-ups: those that are due, found by a query, and at once when a nudge says so."""

import asyncio

import structlog
from aio_pika.abc import AbstractIncomingMessage

from shared.actions.following import FollowUps
from shared.store.errors import is_infrastructure

log = structlog.get_logger()

ASK_SECONDS = 2.0
#: Each waits for Meta most of its time.
WORKERS = 4


class FollowUpLoop:
    """One of WORKERS; a nudge wakes them all, and each asks for itself."""

    def __init__(self, follow_ups: FollowUps, nudged: asyncio.Event) -> None:
        self._follow_ups = follow_ups
        self._nudged = nudged
        self._is_stopping = False

    def stop(self) -> None:
        """Claim no more; `run` returns after what it holds."""
        self._is_stopping = True
        self._nudged.set()

    async def run(self) -> None:
        while not self._is_stopping:
            self._nudged.clear()
            try:
                if await self._follow_ups.work_once():
                    continue
            except Exception as error:
                if not is_infrastructure(error):
                    raise
                log.warning("follow_up.interrupted", exc_info=error)
            try:
                await asyncio.wait_for(self._nudged.wait(), ASK_SECONDS)
            except TimeoutError:
                continue


async def hear(nudged: asyncio.Event, _: AbstractIncomingMessage) -> None:
    """A nudge: whatever it was for, the rows say what is due."""
    nudged.set()
