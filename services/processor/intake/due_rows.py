"""Lease the webhooks and changes that are due, and attempt them."""

import asyncio
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import structlog

from services.processor.intake.failures import Failure, FailureRecorder
from services.processor.intake.retry_nudges import RetryNudges
from services.processor.intake.webhook_groups import WebhookGroups
from services.processor.quarantine import Quarantine
from shared.actions.reported_changes import apply_effects, lock_connections
from shared.crypto import KeyRing
from shared.domain.account_changes import read_change
from shared.domain.exact_json import read_content
from shared.messages import Nudge
from shared.process.crash_points import crash_point
from shared.store import due, events
from shared.store.due import IntakeKind, Lease, LeasedRows
from shared.store.errors import NotConnected, is_infrastructure
from shared.store.intake import changes, webhooks
from shared.store.intake.changes import LeasedChange
from shared.store.pool import Conn, Pool, be_brief, transaction

log = structlog.get_logger()


class Interrupted(NamedTuple):
    """Rows whose attempts were interrupted. `is_counted`: perhaps by one of them."""

    leased: LeasedRows
    is_counted: bool


class ContentLost(Exception):
    """The change's content was deleted, so its effects cannot be applied."""

    code = "content_lost"


class DueRows:
    """Work on due rows of one kind. Many may do so at once: each row is leased by one of them."""

    def __init__(
        self,
        kind: IntakeKind,
        pool: Pool,
        ring: KeyRing,
        groups: WebhookGroups,
        recorder: FailureRecorder,
        nudges: RetryNudges,
        *,
        app_id: str,
    ) -> None:
        self._kind = kind
        self._pool = pool
        self._nudges = nudges
        self._app_id = app_id
        self._ring = ring
        self._groups = groups
        self._recorder = recorder
        self._unreleased: Interrupted | None = None
        self._quarantine = Quarantine(
            kind, partial(due.lease, kind=kind), partial(due.first_due, kind=kind)
        )

    async def work_once(self) -> bool:
        """Lease due rows, attempt them, and send nudges for what failed.

        Return False if nothing was due. The query finds rows, so this works without RabbitMQ too.

        Rows whose attempts are interrupted are released, at once or by the next call, so an outage
        or a shutdown does not count as an attempt. If the process ends before that, the lease
        lapses and the attempt counts. Raise what keeps rows from being leased or released.
        """
        await self._release()
        leased = await self._quarantine.lease(self._pool)
        if not leased.leases:
            return False
        crash_point("due.leased")
        try:
            nudges = await self._attempt(leased)
        except (Exception, asyncio.CancelledError) as error:
            is_stopping = isinstance(error, asyncio.CancelledError)
            is_ours = not is_stopping and not isinstance(error, NotConnected)
            log.warning("due.released", count=len(leased.leases), exc_info=error)
            self._unreleased = Interrupted(leased, is_counted=is_ours)
            with suppress(Exception):
                await self._release()
                if not is_stopping:
                    return True
            raise
        await self._nudges.send(nudges)
        return True

    async def _attempt(self, leased: LeasedRows) -> list[Nudge]:
        if self._kind == "fresh":
            return await self._groups.split_stored(leased.leases)
        [lease] = leased.leases
        if self._recorder.is_exhausted(lease):
            return await self._give_up(leased, lease)
        if self._kind == "tried":
            return await self._groups.split_stored([lease])
        return await self._attempt_change(lease)

    async def _attempt_change(self, lease: Lease) -> list[Nudge]:
        failures: list[Failure] = []
        async with transaction(self._pool) as conn:
            await be_brief(conn)
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
        effects = read_change(read_content(content), change.received_at, app_id=self._app_id)
        if effects:
            await apply_effects(conn, [effects], await lock_connections(conn, [effects]))

    async def _give_up(self, leased: LeasedRows, lease: Lease) -> list[Nudge]:
        last = Lease(lease.id, lease.attempts - 1)
        async with transaction(self._pool) as conn:
            await due.release(conn, leased, is_interrupted=False)  # giving up is not an attempt
            if self._kind == "change":
                failures = await self._recorder.give_up_change(conn, last)
            else:
                failures = await self._recorder.give_up_webhook(conn, last)
        return self._recorder.report(failures)

    async def _release(self) -> None:
        """Release rows together or, if that fails, each alone, so that one delays no other."""
        if self._unreleased is None:
            return
        leased, is_counted = self._unreleased
        release = partial(due.release, is_interrupted=is_counted)
        try:
            async with transaction(self._pool) as conn:
                await release(conn, leased)
            self._unreleased = None
        except NotConnected:
            raise
        except Exception:
            self._unreleased = None  # once more, then the leases lapse
            alone = {
                lease.id: partial(release, leased=replace(leased, leases=[lease]))
                for lease in leased.leases
            }
            await self._quarantine.run_alone(self._pool, alone)
