"""Lease the webhooks and changes that are due, and attempt them."""

import asyncio
from contextlib import suppress

import orjson
import structlog

from services.processor.intake.failures import Failure, FailureRecorder
from services.processor.intake.retry_nudges import RetryNudges
from services.processor.intake.webhook_groups import WebhookGroups
from shared.actions.reported_changes import apply_effects, lock_connections
from shared.crypto import KeyRing
from shared.domain.account_changes import read_change
from shared.messages import Nudge
from shared.process.crash_points import crash_point
from shared.store import due, events
from shared.store.due import Lease, LeasedRows
from shared.store.errors import is_infrastructure, is_lock_timeout
from shared.store.intake import changes, webhooks
from shared.store.intake.changes import LeasedChange
from shared.store.pool import Conn, Pool, transaction, wait_shortly_for_locks

log = structlog.get_logger()


class ContentLost(Exception):
    """The change's content was deleted, so its effects cannot be applied."""

    code = "content_lost"


class DueRows:
    """Work on due rows. Many processes may do so at once: each row is leased by one of them."""

    def __init__(
        self,
        pool: Pool,
        ring: KeyRing,
        groups: WebhookGroups,
        recorder: FailureRecorder,
        nudges: RetryNudges,
        *,
        app_id: str,
    ) -> None:
        self._pool = pool
        self._nudges = nudges
        self._app_id = app_id
        self._ring = ring
        self._groups = groups
        self._recorder = recorder
        self._leased: LeasedRows | None = None

    async def work_once(self) -> bool:
        """Lease due rows of each kind once, attempt them, and send nudges for what failed.

        Return False if nothing was due. The query finds rows, so this works without RabbitMQ too.

        Raise infrastructure errors, except a lock timeout whose rows were released. The leased rows
        are then released, at once or by the next call, so an outage or a shutdown does not count as
        an attempt. If the process ends before that, the lease lapses and the attempt counts.
        """
        await self._release()
        worked = 0
        nudges: list[Nudge] = []
        for kind in due.INTAKE_KINDS:
            async with transaction(self._pool) as conn:
                self._leased = leased = await due.lease(conn, kind)
            if leased.leases:
                crash_point("due.leased")
                nudges += await self._attempt(leased)
            self._leased = None
            worked += len(leased.leases)
        await self._nudges.send(nudges)
        return worked > 0

    async def _attempt(self, leased: LeasedRows) -> list[Nudge]:
        kind = leased.kind
        try:
            if kind == "fresh":
                return await self._groups.split_stored(leased.leases)
            [lease] = leased.leases
            if self._recorder.is_exhausted(lease):
                return await self._give_up(leased, lease)
            if kind == "tried":
                return await self._groups.split_stored([lease])
            return await self._attempt_change(lease)
        except (Exception, asyncio.CancelledError) as error:
            if isinstance(error, asyncio.CancelledError) or is_infrastructure(error):
                log.warning("due.released", count=len(leased.leases), exc_info=error)
                with suppress(Exception):
                    await self._release()
            if is_lock_timeout(error) and self._leased is None:
                return []
            raise

    async def _attempt_change(self, lease: Lease) -> list[Nudge]:
        failures: list[Failure] = []
        async with transaction(self._pool) as conn:
            await wait_shortly_for_locks(conn)
            change = await changes.load_leased(conn, lease)
            if change is None:
                return []
            try:
                async with conn.transaction():
                    await self._apply(conn, change)
            except Exception as error:
                if is_infrastructure(error):
                    raise
                failures.append(await self._recorder.fail_change(conn, lease, error))
            else:
                await changes.mark_processed(conn, change.id)
                await webhooks.close_changes(conn, {change.webhook_id: 1})
                if change.organization_id:
                    await events.add_for_changes(conn, [change.id])
            crash_point("change.processing")
        crash_point("change.processed")
        return self._recorder.report(failures)

    async def _apply(self, conn: Conn, change: LeasedChange) -> None:
        if change.content is None:
            raise ContentLost
        content = changes.open_content(self._ring, change.id, change.content)
        effects = read_change(orjson.loads(content), change.received_at, app_id=self._app_id)
        if effects:
            await apply_effects(conn, [effects], await lock_connections(conn, [effects]))

    async def _give_up(self, leased: LeasedRows, lease: Lease) -> list[Nudge]:
        kind, last = leased.kind, Lease(lease.id, lease.attempts - 1)
        async with transaction(self._pool) as conn:
            await due.release(conn, leased)  # giving up is not an attempt
            if kind == "change":
                failures = await self._recorder.give_up_change(conn, last)
            else:
                failures = await self._recorder.give_up_webhook(conn, last)
        return self._recorder.report(failures)

    async def _release(self) -> None:
        if self._leased is not None:
            async with transaction(self._pool) as conn:
                await due.release(conn, self._leased)
            self._leased = None
