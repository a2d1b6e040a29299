"""Whatever is due: claimed, and worked to its end."""

import asyncio
from contextlib import suppress
from datetime import timedelta

import orjson
import structlog

from shared.actions.connection_state import take_in
from shared.actions.failures import Failing, Failure
from shared.actions.webhook_groups import IMPATIENT, Groups
from shared.crypto import KeyRing
from shared.domain.account_changes import tell
from shared.messages import Nudge
from shared.process.crash_points import crash_point
from shared.store import due, events
from shared.store.due import Claim, Claimed
from shared.store.errors import is_held_up, is_infrastructure
from shared.store.intake import changes, webhooks
from shared.store.intake.changes import Tried
from shared.store.pool import Conn, Pool, transaction

log = structlog.get_logger()


class ContentLost(Exception):
    """The change's content is no more: its effects cannot be made from it."""

    code = "content_lost"


class Work:
    """Safe to be done by many processes at once: each row is claimed by one of them."""

    def __init__(self, pool: Pool, ring: KeyRing, groups: Groups, failing: Failing) -> None:
        self._pool = pool
        self._ring = ring
        self._groups = groups
        self._failing = failing
        self._held: Claimed | None = None

    async def work_once(self, *, overdue: timedelta = timedelta(0)) -> tuple[int, list[Nudge]]:
        """Work one claim of each kind; how many rows they held (none: nothing is due), and nudges
        to send.

        Raises the servers' errors, unless only these rows were held up. What was claimed is then
        handed back, now or next time: neither an outage nor being told to stop is a try. Only where
        this process ends before, the lease lapses and the try counts.
        """
        await self._hand_back()
        worked = 0
        nudges: list[Nudge] = []
        for kind in due.WEBHOOK_KINDS:
            async with transaction(self._pool) as conn:
                self._held = claimed = await due.claim(conn, kind, overdue=overdue)
            if claimed.claims:
                crash_point("due.claimed")
                nudges += await self._work(claimed)
            self._held = None
            worked += len(claimed.claims)
        return worked, nudges

    async def _work(self, claimed: Claimed) -> list[Nudge]:
        kind = claimed.kind
        try:
            if kind == "fresh":
                return await self._groups.split_laid_down(claimed.claims)
            [claim] = claimed.claims
            if self._failing.is_exhausted(claim):
                return await self._bury(claimed, claim)
            if kind == "tried":
                return await self._groups.split_laid_down([claim])
            return await self._try_change(claim)
        except (Exception, asyncio.CancelledError) as error:
            if isinstance(error, asyncio.CancelledError) or is_infrastructure(error):
                log.warning("due.handed_back", count=len(claimed.claims), exc_info=error)
                with suppress(Exception):
                    await self._hand_back()
            if is_held_up(error) and self._held is None:
                return []
            raise

    async def _try_change(self, claim: Claim) -> list[Nudge]:
        failures: list[Failure] = []
        async with transaction(self._pool) as conn:
            await conn.execute(IMPATIENT)
            tried = await changes.load(conn, claim)
            if tried is None:
                return []
            try:
                async with conn.transaction():
                    await self._apply(conn, tried)
            except Exception as error:
                if is_infrastructure(error):
                    raise
                failures.append(await self._failing.fail_change(conn, claim, error))
            else:
                await changes.process(conn, tried.id)
                await webhooks.settle(conn, {tried.webhook_id: 1})
                if tried.organization_id:
                    await events.add_of_changes(conn, [tried.id])
            crash_point("change.settling")
        crash_point("change.settled")
        return self._failing.tell(failures)

    async def _apply(self, conn: Conn, tried: Tried) -> None:
        if tried.content is None:
            raise ContentLost
        content = changes.open_content(self._ring, tried.id, tried.content)
        if telling := tell(orjson.loads(content), tried.received_at):
            await take_in(conn, [telling])

    async def _bury(self, claimed: Claimed, claim: Claim) -> list[Nudge]:
        kind, last = claimed.kind, Claim(claim.id, claim.attempts - 1)
        async with transaction(self._pool) as conn:
            await due.hand_back(conn, claimed)  # a burial is no try
            if kind == "change":
                failures = await self._failing.bury_change(conn, last)
            else:
                failures = await self._failing.bury_webhook(conn, last)
        return self._failing.tell(failures)

    async def _hand_back(self) -> None:
        if self._held is not None:
            async with transaction(self._pool) as conn:
                await due.hand_back(conn, self._held)
            self._held = None
