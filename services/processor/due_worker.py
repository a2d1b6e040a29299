"""Works whatever rests in the database and is due: found by a query, broker or no broker."""

from services.processor.retry_nudges import Nudges
from shared.actions.connection_state import settle
from shared.actions.due_rows import Work
from shared.store.connections import connections
from shared.store.intake import changes
from shared.store.pool import Pool, transaction

MAX_SETTLED = 100
#: Changes given to their owner at a time.
MAX_STAMPED = 1000


class DueWork:
    """Its two kinds of work take turns: neither starves the other."""

    def __init__(self, pool: Pool, work: Work, nudges: Nudges) -> None:
        self._pool = pool
        self._work = work
        self._nudges = nudges

    async def work_once(self) -> bool:
        """Whether more may be due."""
        return await self._work_once() | await self._give_to_owners()

    async def _work_once(self) -> bool:
        worked, nudges = await self._work.work_once()
        await self._nudges.send(nudges)
        return worked > 0

    async def _give_to_owners(self) -> bool:
        """Find owners for orphans, and give owners what came before them; whether more is left."""
        async with transaction(self._pool) as conn:
            await settle(conn, await connections.undecided(conn, limit=MAX_SETTLED))
        async with transaction(self._pool) as conn:
            return await changes.stamp(conn, limit=MAX_STAMPED) == MAX_STAMPED
