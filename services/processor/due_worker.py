"""Works whatever rests in the database and is due: found by a query, broker or no broker."""

from services.processor.retry_nudges import RetryNudges
from shared.actions.connection_state import recompute
from shared.actions.due_rows import DueRows
from shared.store.connections import connections
from shared.store.intake import changes
from shared.store.pool import Pool, transaction

MAX_RECOMPUTED = 100
#: Changes given to their owner at a time.
MAX_STAMPED = 1000


class DueWorker:
    """Its two kinds of work take turns: neither starves the other."""

    def __init__(self, pool: Pool, work: DueRows, nudges: RetryNudges) -> None:
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
            await recompute(conn, await connections.without_owner(conn, limit=MAX_RECOMPUTED))
        async with transaction(self._pool) as conn:
            return await changes.stamp(conn, limit=MAX_STAMPED) == MAX_STAMPED
