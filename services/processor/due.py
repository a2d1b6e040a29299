"""Works whatever rests in the database and is due: found by a query, broker or no broker."""

import asyncio

import structlog
from aio_pika.abc import AbstractIncomingMessage

from services.processor.nudges import Nudges
from shared.actions.settling import settle
from shared.actions.working import Work
from shared.store import changes, connections
from shared.store.errors import is_infrastructure
from shared.store.pool import Pool, transaction

log = structlog.get_logger()

ASK_SECONDS = 2.0
MAX_SETTLED = 100
#: Changes given to their owner at a time.
MAX_STAMPED = 1000


class DueLoop:
    """Its two kinds of work take turns: neither starves the other."""

    def __init__(self, pool: Pool, work: Work, nudges: Nudges) -> None:
        self._pool = pool
        self._work = work
        self._nudges = nudges
        self._nudged = asyncio.Event()
        self._is_stopping = False

    def nudge(self) -> None:
        """Something may be due: ask at once."""
        self._nudged.set()

    async def hear(self, _: AbstractIncomingMessage) -> None:
        """A nudge came home: whatever it was for, the rows say what is due."""
        self._nudged.set()

    def stop(self) -> None:
        """Claim no more; `run` returns after what it holds."""
        self._is_stopping = True
        self._nudged.set()

    async def run(self) -> None:
        while not self._is_stopping:
            self._nudged.clear()
            try:
                if await self._work_once() | await self._give_to_owners():
                    continue
            except Exception as error:
                if not is_infrastructure(error):
                    raise
                log.warning("due.interrupted", exc_info=error)
            try:
                await asyncio.wait_for(self._nudged.wait(), ASK_SECONDS)
            except TimeoutError:
                continue

    async def _work_once(self) -> bool:
        worked, nudges = await self._work.work_once()
        await self._nudges.send(nudges)
        return worked > 0

    async def _give_to_owners(self) -> bool:
        """Find owners for orphans, and give owners what came before them; whether more is left."""
        async with transaction(self._pool) as connection:
            await settle(connection, await connections.undecided(connection, limit=MAX_SETTLED))
        async with transaction(self._pool) as connection:
            return await changes.stamp(connection, limit=MAX_STAMPED) == MAX_STAMPED
