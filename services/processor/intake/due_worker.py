"""Process the rows that are due. A query finds them, so this works without RabbitMQ too."""

from services.processor.intake.due_rows import DueRows
from services.processor.intake.retry_nudges import RetryNudges
from shared.actions.connection_state import recompute
from shared.store.connections import connections
from shared.store.intake import changes
from shared.store.pool import Pool, transaction

#: Connections without an owner that are recomputed in one transaction.
MAX_RECOMPUTED = 100
#: Changes that are stamped with their organization in one transaction.
MAX_STAMPED = 1000


class DueWorker:
    """Attempt due rows and assign owners in turns, so that neither delays the other for long."""

    def __init__(self, pool: Pool, due_rows: DueRows, nudges: RetryNudges) -> None:
        self._pool = pool
        self._due_rows = due_rows
        self._nudges = nudges

    async def work_once(self) -> bool:
        """Do one turn of both. Return whether more may be due."""
        return await self._attempt_due_rows() | await self._assign_owners()

    async def _attempt_due_rows(self) -> bool:
        row_count, nudges = await self._due_rows.work_once()
        await self._nudges.send(nudges)
        return row_count > 0

    async def _assign_owners(self) -> bool:
        """Recompute connections without an owner, and stamp changes that came before their owner.

        Return whether more changes may be left.
        """
        async with transaction(self._pool) as conn:
            waba_ids = await connections.without_owner(conn, limit=MAX_RECOMPUTED)
            await recompute(conn, await connections.lock(conn, waba_ids))
        async with transaction(self._pool) as conn:
            return await changes.stamp(conn, limit=MAX_STAMPED) == MAX_STAMPED
