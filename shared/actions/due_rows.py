"""Whatever is due: claimed, and worked to its end."""

import asyncio
from contextlib import suppress
from datetime import timedelta

import orjson
import structlog

from shared.actions.connection_state import apply_effects
from shared.actions.failures import Failure, FailureRecorder
from shared.actions.webhook_groups import SHORT_LOCK_TIMEOUT, WebhookGroups
from shared.crypto import KeyRing
from shared.domain.account_changes import read_change
from shared.messages import Nudge
from shared.process.crash_points import crash_point
from shared.store import due, events
from shared.store.due import Lease, LeasedRows
from shared.store.errors import is_infrastructure, is_lock_timeout
from shared.store.intake import changes, webhooks
from shared.store.intake.changes import LeasedChange
from shared.store.pool import Conn, Pool, transaction

log = structlog.get_logger()


class ContentLost(Exception):
    """The change's content is no more: its effects cannot be made from it."""

    code = "content_lost"


class DueRows:
    """Safe to be done by many processes at once: each row is claimed by one of them."""

    def __init__(
        self, pool: Pool, ring: KeyRing, groups: WebhookGroups, recorder: FailureRecorder
    ) -> None:
        self._pool = pool
        self._ring = ring
        self._groups = groups
        self._recorder = recorder
        self._held: LeasedRows | None = None

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
                self._held = leased = await due.lease(conn, kind, overdue=overdue)
            if leased.leases:
                crash_point("due.leased")
                nudges += await self._work(leased)
            self._held = None
            worked += len(leased.leases)
        return worked, nudges

    async def _work(self, leased: LeasedRows) -> list[Nudge]:
        kind = leased.kind
        try:
            if kind == "fresh":
                return await self._groups.split_stored(leased.leases)
            [lease] = leased.leases
            if self._recorder.is_exhausted(lease):
                return await self._give_up(leased, lease)
            if kind == "tried":
                return await self._groups.split_stored([lease])
            return await self._try_change(lease)
        except (Exception, asyncio.CancelledError) as error:
            if isinstance(error, asyncio.CancelledError) or is_infrastructure(error):
                log.warning("due.released", count=len(leased.leases), exc_info=error)
                with suppress(Exception):
                    await self._hand_back()
            if is_lock_timeout(error) and self._held is None:
                return []
            raise

    async def _try_change(self, lease: Lease) -> list[Nudge]:
        failures: list[Failure] = []
        async with transaction(self._pool) as conn:
            await conn.execute(SHORT_LOCK_TIMEOUT)
            tried = await changes.load_leased(conn, lease)
            if tried is None:
                return []
            try:
                async with conn.transaction():
                    await self._apply(conn, tried)
            except Exception as error:
                if is_infrastructure(error):
                    raise
                failures.append(await self._recorder.fail_change(conn, lease, error))
            else:
                await changes.mark_processed(conn, tried.id)
                await webhooks.close_changes(conn, {tried.webhook_id: 1})
                if tried.organization_id:
                    await events.add_for_changes(conn, [tried.id])
            crash_point("change.processing")
        crash_point("change.processed")
        return self._recorder.report(failures)

    async def _apply(self, conn: Conn, tried: LeasedChange) -> None:
        if tried.content is None:
            raise ContentLost
        content = changes.open_content(self._ring, tried.id, tried.content)
        if effects := read_change(orjson.loads(content), tried.received_at):
            await apply_effects(conn, [effects])

    async def _give_up(self, leased: LeasedRows, lease: Lease) -> list[Nudge]:
        kind, last = leased.kind, Lease(lease.id, lease.attempts - 1)
        async with transaction(self._pool) as conn:
            await due.release(conn, leased)  # a burial is no try
            if kind == "change":
                failures = await self._recorder.give_up_change(conn, last)
            else:
                failures = await self._recorder.give_up_webhook(conn, last)
        return self._recorder.report(failures)

    async def _hand_back(self) -> None:
        if self._held is not None:
            async with transaction(self._pool) as conn:
                await due.release(conn, self._held)
            self._held = None
