"""Works whatever rests in the database and is due: found by a query, broker or no broker."""

import asyncio
from collections.abc import Sequence
from uuid import UUID

import structlog

from services.processor.group import Groups
from shared.actions.settling import settle
from shared.store import changes, connections, webhooks
from shared.store.errors import is_infrastructure
from shared.store.pool import Pool, transaction

log = structlog.get_logger()

ASK_SECONDS = 2.0
MAX_CLAIMED = 100
MAX_SETTLED = 100
#: Changes given to their owner at a time.
MAX_STAMPED = 1000


class DueLoop:
    """Every try is claimed first, in a transaction of its own, so a crash counts as a try."""

    def __init__(self, pool: Pool, groups: Groups) -> None:
        self._pool = pool
        self._groups = groups
        self._nudged = asyncio.Event()
        self._is_stopping = False

    def nudge(self) -> None:
        """Something was just laid down: ask at once."""
        self._nudged.set()

    def stop(self) -> None:
        """Claim no more; `run` returns after what it holds."""
        self._is_stopping = True
        self._nudged.set()

    async def run(self) -> None:
        while not self._is_stopping:
            self._nudged.clear()
            try:
                while not self._is_stopping and await self.work_once():
                    pass
                while not self._is_stopping and await self._give_to_owners():
                    pass
            except Exception as error:
                if not is_infrastructure(error):
                    raise
                log.warning("due.interrupted", exc_info=error)
            try:
                await asyncio.wait_for(self._nudged.wait(), ASK_SECONDS)
            except TimeoutError:
                continue

    async def work_once(self) -> bool:
        """Work one claim; False if nothing was due."""
        async with transaction(self._pool) as connection:
            for dead in await webhooks.bury_exhausted(connection):
                log.warning("webhook.dead", webhook_id=dead, reason="never finished being split")
            # Together at first; what somebody claimed and did not finish, alone.
            claimed = await webhooks.claim_unsplit(
                connection, first_tries=True, limit=MAX_CLAIMED
            ) or await webhooks.claim_unsplit(connection, first_tries=False, limit=1)
        if claimed:
            await self._split(claimed)
        return bool(claimed)

    async def _give_to_owners(self) -> bool:
        """Find owners for orphans, and give owners what came before them; whether more is left."""
        async with transaction(self._pool) as connection:
            await settle(connection, await connections.undecided(connection, limit=MAX_SETTLED))
        async with transaction(self._pool) as connection:
            return await changes.stamp(connection, limit=MAX_STAMPED) == MAX_STAMPED

    async def _split(self, ids: Sequence[UUID]) -> None:
        try:
            await self._groups.split_laid_down(ids)
        except Exception as error:
            if is_infrastructure(error):
                await self._hand_back(ids)
            raise

    async def _hand_back(self, ids: Sequence[UUID]) -> None:
        """An outage is no try. If it lasts, the lease lapses instead and one try is lost."""
        async with transaction(self._pool) as connection:
            await webhooks.hand_back(connection, ids)
