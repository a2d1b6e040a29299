"""One claim of whatever is due, worked to its end."""

from datetime import timedelta

import orjson
import structlog

from shared.actions.failing import Failing
from shared.actions.group import Groups
from shared.actions.settling import take_in
from shared.crash import crash_point
from shared.crypto import KeyRing
from shared.domain.account import tell
from shared.messages import Nudge
from shared.store import changes, events, webhooks
from shared.store.changes import Tried
from shared.store.due import Claim, Due, due, hand_back
from shared.store.errors import is_infrastructure
from shared.store.pool import Connection, Pool, transaction

log = structlog.get_logger()


class ContentLost(Exception):
    """The change's content is no more: its effects cannot be made from it."""


class Work:
    """Safe to be done by many at once: each row is claimed by one of them."""

    def __init__(self, pool: Pool, ring: KeyRing, groups: Groups, failing: Failing) -> None:
        self._pool = pool
        self._ring = ring
        self._groups = groups
        self._failing = failing

    async def work_once(self, *, overdue: timedelta = timedelta(0)) -> tuple[int, list[Nudge]]:
        """Work one claim; how many rows it held (none: nothing is due), and nudges to send.

        Raises the servers' errors; what was claimed is then handed back, or its lease lapses.
        """
        async with transaction(self._pool) as connection:
            await self._failing.bury_exhausted(connection)
            claimed = await due(connection, overdue=overdue)
        crash_point("due.claimed")
        nudges: list[Nudge] = []
        try:
            if claimed.webhooks:
                nudges += await self._groups.split_laid_down(claimed.webhooks)
            for claim in claimed.changes:
                nudges += await self._try_change(claim)
        except Exception as error:
            if is_infrastructure(error):
                await self._hand_back(claimed)
            raise
        return len(claimed.webhooks) + len(claimed.changes), nudges

    async def _try_change(self, claim: Claim) -> list[Nudge]:
        nudge = None
        async with transaction(self._pool) as connection:
            tried = await changes.load(connection, self._ring, claim)
            if tried is None:
                return []
            try:
                async with connection.transaction():
                    await _apply(connection, tried)
            except Exception as error:
                if is_infrastructure(error):
                    raise
                nudge = await self._failing.fail_change(connection, claim, error)
            else:
                await changes.process(connection, tried.id)
                await webhooks.settle(connection, {tried.webhook_id: 1})
                if tried.organization_id:
                    await events.add_of_changes(connection, [tried.id])
            crash_point("change.settling")
        crash_point("change.settled")
        return [nudge] if nudge else []

    async def _hand_back(self, claimed: Due) -> None:
        """An outage is no try. If it lasts, the lease lapses instead and one try is lost."""
        async with transaction(self._pool) as connection:
            await hand_back(connection, claimed)


async def _apply(connection: Connection, tried: Tried) -> None:
    if tried.content is None:
        raise ContentLost
    if telling := tell(orjson.loads(tried.content), tried.received_at):
        await take_in(connection, [telling])
