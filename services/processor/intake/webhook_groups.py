"""Store a group of webhooks and their changes in one transaction.

A webhook whose content fails does not stop the others: it fails alone.
"""

from collections.abc import (
    Awaitable,
    Callable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar
from uuid import UUID

import structlog

from services.processor.intake.awaited_webhooks import AwaitedWebhooks
from services.processor.intake.change_effects import apply_new_changes, lock_for_effects
from services.processor.intake.failures import Failure, FailureRecorder
from services.processor.intake.metrics import IntakeMetrics
from services.processor.intake.organization_traffic import OwnedWebhook
from services.processor.intake.split_webhooks import SplitWebhook, split_in_parts
from shared.crypto import KeyRing, SubjectHasher
from shared.errors import StartupRefused
from shared.messages import Nudge
from shared.process.crash_points import crash_point
from shared.store import events, people
from shared.store.connections import follow_ups
from shared.store.due import Lease
from shared.store.errors import NotConnected, is_infrastructure
from shared.store.intake import changes, webhooks
from shared.store.intake.changes import SplitChange
from shared.store.intake.webhooks import LanedWebhook, WebhookRow
from shared.store.pool import Conn, Pool, be_brief, transaction

log = structlog.get_logger()
T = TypeVar("T")

#: Interruptions among the rows of a group: then the rest are released, to be leased alone.
MAX_INTERRUPTIONS = 3
#: How many bytes of bodies are split together at most. Parsed, they need some ten times as much
#: memory.
MAX_GROUP_BYTES = 8_000_000


@dataclass(frozen=True, slots=True)
class StoredChanges:
    """How many changes of a group were new and how many were stored before, what failed, and whose
    the new ones are."""

    failures: Sequence[Failure]
    new: int = 0
    already_stored: int = 0
    owned: Sequence[OwnedWebhook] = ()


def _groups(leases: Sequence[Lease], sizes: Mapping[UUID, int]) -> Iterator[list[Lease]]:
    """Yield the leases in their order, in groups.

    The bodies of a group have at most MAX_GROUP_BYTES, or the group has a single webhook.
    """
    group: list[Lease] = []
    room = MAX_GROUP_BYTES
    for lease in leases:
        size = sizes.get(lease.id, 0)
        if group and size > room:
            yield group
            group, room = [], MAX_GROUP_BYTES
        group.append(lease)
        room -= size
    if group:
        yield group


async def _run_in_turn(
    attempt: Callable[[T], Awaitable[list[Nudge]]], items: Iterable[T]
) -> list[Nudge]:
    """Attempt the items in turn. An interruption does not stop the others: it is raised last.

    After MAX_INTERRUPTIONS of them, or without a handle, it is raised at once.
    """
    nudges: list[Nudge] = []
    interruptions: list[Exception] = []
    for item in items:
        try:
            nudges += await attempt(item)
        except Exception as error:
            interruptions.append(error)
            if isinstance(error, NotConnected) or len(interruptions) == MAX_INTERRUPTIONS:
                break
    if interruptions:
        raise interruptions[0]  # a row may have brought the server down that is away now
    return nudges


class WebhookGroups:
    """Stores groups of webhooks. Every method is idempotent and may raise infrastructure errors.

    The caller should send the nudges that a method returns, but nothing is lost if it cannot.
    """

    def __init__(
        self,
        pool: Pool,
        ring: KeyRing,
        hasher: SubjectHasher,
        recorder: FailureRecorder,
        metrics: IntakeMetrics,
        count_owned: Callable[[Sequence[OwnedWebhook]], None],
        *,
        app_id: str,
    ) -> None:
        self._app_id = app_id
        self._count_owned = count_owned
        self.awaited = AwaitedWebhooks(pool)
        self._pool = pool
        self._ring = ring
        self._hasher = hasher
        self._recorder = recorder
        self._metrics = metrics

    async def store(self, received: Sequence[LanedWebhook]) -> list[Nudge]:
        """Store webhooks of first deliveries: their rows, bodies and changes in one transaction.

        If they have many changes, in several.
        """
        nudges: list[Nudge] = []
        async for splits in split_in_parts((w, lane, 1) for w, lane in received):
            try:
                nudges += await self._store(splits)
            except Exception as error:
                if is_infrastructure(error) or isinstance(error, StartupRefused):
                    raise
                log.warning("group.failed", count=len(splits), exc_info=error)
                nudges += [nudge for s in splits for nudge in await self._store_alone(s)]
        return nudges

    async def store_unsplit(self, received: Sequence[LanedWebhook]) -> list[Nudge]:
        """Store webhooks unsplit: they are split later, from their rows. Return no nudges.

        For webhooks that may have crashed a process, and for those whose group was interrupted.
        """
        async with transaction(self._pool) as conn:
            await webhooks.insert(
                conn,
                self._ring,
                [WebhookRow(w, lane, "broker", "unsplit") for w, lane in received],
            )
            crash_point("group.storing_unsplit")
        return []

    async def split_stored(self, leases: Sequence[Lease]) -> list[Nudge]:
        """Split leased webhooks: in groups of at most MAX_GROUP_BYTES or, if a group fails, each
        webhook alone.

        Raise what interrupted some of them. Others are split before it is raised.
        """
        async with transaction(self._pool) as conn:
            sizes = await webhooks.sizes(conn, [lease.id for lease in leases])
        return await _run_in_turn(self._split_group, _groups(leases, sizes))

    async def _split_group(self, leases: Sequence[Lease]) -> list[Nudge]:
        try:
            return await self._split_stored(leases)
        except Exception as error:
            if isinstance(error, NotConnected) or (is_infrastructure(error) and len(leases) == 1):
                raise
            log.warning("group.failed", count=len(leases), exc_info=error)
            try:
                return await _run_in_turn(self._split_alone, leases)
            except NotConnected:
                if is_infrastructure(error):
                    raise error from None  # likewise
                raise

    async def _store(self, splits: Sequence[SplitWebhook]) -> list[Nudge]:
        rows = [
            WebhookRow(s.webhook, s.lane, "broker", "unsplit" if s.error else "split")
            for s in splits
        ]
        async with transaction(self._pool) as conn:
            new = await webhooks.insert(conn, self._ring, rows)
            splits = [s for s in splits if s.webhook.id in new]
            stored = await self._insert_changes(conn, splits)
            crash_point("group.storing")
        return self._report(splits, stored)

    async def _store_alone(self, result: SplitWebhook) -> list[Nudge]:
        try:
            return await self._store([result])
        except Exception as error:
            if is_infrastructure(error):
                raise
            return await self._store([SplitWebhook(result.webhook, result.lane, error=error)])

    async def _split_stored(self, leases: Sequence[Lease]) -> list[Nudge]:
        attempts = {lease.id: lease.attempts for lease in leases}
        async with transaction(self._pool) as conn:
            await be_brief(conn)
            loaded = await webhooks.load_unsplit(conn, self._ring, list(attempts))
            done: list[SplitWebhook] = []
            parts: list[StoredChanges] = []
            async for splits in split_in_parts((w, lane, attempts[w.id]) for w, lane in loaded):
                await webhooks.mark_split(conn, [s.webhook.id for s in splits if not s.error])
                parts.append(await self._insert_changes(conn, splits))
                done += [s._replace(changes=()) for s in splits]
            crash_point("group.splitting")
        return self._report(
            done,
            StoredChanges(
                [failure for part in parts for failure in part.failures],
                new=sum(part.new for part in parts),
                already_stored=sum(part.already_stored for part in parts),
                owned=[owned for part in parts for owned in part.owned],
            ),
        )

    async def _split_alone(self, lease: Lease) -> list[Nudge]:
        try:
            return await self._split_stored([lease])
        except Exception as error:
            if is_infrastructure(error):
                raise
            async with transaction(self._pool) as conn:
                failures = await self._recorder.fail_webhook(conn, lease, error)
            return self._recorder.report(failures)

    async def _insert_changes(self, conn: Conn, splits: Sequence[SplitWebhook]) -> StoredChanges:
        """Insert the changes of split webhooks, apply their effects and add their events. Record a
        failure of each webhook that could not be split."""
        failures = [
            failure
            for s in splits
            if s.error
            for failure in await self._recorder.fail_webhook(conn, s.lease, s.error)
        ]
        rows = [
            SplitChange(s.webhook.id, s.webhook.received_at, c) for s in splits for c in s.changes
        ]
        if not rows:
            return StoredChanges(failures)
        self.awaited.heard({row.change.waba_id for row in rows if row.change.waba_id})
        effects = await lock_for_effects(conn, rows, app_id=self._app_id)
        new = await changes.insert(conn, self._ring, rows)
        await people.add(conn, self._hasher, new)
        failed = await apply_new_changes(conn, new, effects, self._recorder)
        failures += failed
        failed_ids = {failure.id for failure in failed}
        owned = [row.id for row in new if row.organization_id and row.id not in failed_ids]
        if owned:
            await events.add_for_changes(conn, owned)
        if owed := {row.change.waba_id for row in new if row.is_owed and row.change.waba_id}:
            await follow_ups.add(conn, "attribute", owed)
        return StoredChanges(
            failures,
            new=len(new),
            already_stored=len(rows) - len(new),
            owned=[
                OwnedWebhook(row.webhook_id, row.organization_id, row.change.waba_id)
                for row in new
                if row.organization_id and row.change.waba_id
            ],
        )

    def _report(self, splits: Sequence[SplitWebhook], stored: StoredChanges) -> list[Nudge]:
        """Count and log what is stored. Call it after the commit. Return the nudges to send."""
        now = datetime.now(UTC)
        self._metrics.changes.labels("new").inc(stored.new)
        self._metrics.changes.labels("known").inc(stored.already_stored)
        self._count_owned(stored.owned)
        self._metrics.group_webhooks.observe(len(splits))
        self._metrics.webhooks.inc(sum(1 for s in splits if not s.error))
        for s in splits:
            self._metrics.stored_seconds.observe((now - s.webhook.received_at).total_seconds())
        return self._recorder.report(stored.failures) if stored.failures else []
