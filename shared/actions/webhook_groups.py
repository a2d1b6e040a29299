"""A group of webhooks becomes rows in one transaction; what fails for its content fails alone."""

from collections.abc import Awaitable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

import structlog

from shared.actions.change_effects import apply_new_changes
from shared.actions.failures import Failure, FailureRecorder
from shared.actions.metrics import IntakeMetrics
from shared.crypto import KeyRing
from shared.domain.splitting import Change, split
from shared.messages import Nudge, Webhook
from shared.process.crash_points import crash_point
from shared.store import events
from shared.store.due import Lease
from shared.store.errors import is_infrastructure, is_lock_timeout
from shared.store.intake import changes, webhooks
from shared.store.intake.webhooks import Lane, WebhookRow
from shared.store.pool import Conn, Pool, transaction

log = structlog.get_logger()

#: Bodies that are split together: parsed they take some ten times as much.
MAX_GROUP_BYTES = 8_000_000
#: How long rows that others wait behind wait for a lock; what it holds up is handed back.
SHORT_LOCK_TIMEOUT = "SET LOCAL lock_timeout = '200ms'"


@dataclass(frozen=True, slots=True)
class StoredChanges:
    """What became of a group's changes, and of the webhooks that could not be split."""

    failures: Sequence[Failure]
    new: int = 0
    known: int = 0


@dataclass(frozen=True, slots=True)
class SplitWebhook:
    """A webhook and what it holds; `error` is why it could not be split at the `attempt`-th try."""

    webhook: Webhook
    lane: Lane
    changes: Sequence[Change] = ()
    error: Exception | None = None
    attempt: int = 1

    @property
    def lease(self) -> Lease:
        return Lease(self.webhook.id, self.attempt)


def split_webhook(webhook: Webhook, lane: Lane, attempt: int = 1) -> SplitWebhook:
    """Total: a body that cannot be split, for whatever reason, is a result too."""
    try:
        found = split(webhook.body, is_test=webhook.kind == "test")
        return SplitWebhook(webhook, lane, found, attempt=attempt)
    except Exception as error:
        return SplitWebhook(webhook, lane, error=error, attempt=attempt)


def _groups(leases: Sequence[Lease], sizes: Mapping[UUID, int]) -> Iterator[list[Lease]]:
    """In their order, each of at most MAX_GROUP_BYTES of bodies, or of one webhook."""
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


async def _in_turn(tries: Iterable[Awaitable[list[Nudge]]]) -> list[Nudge]:
    """One after the other; at last raises for one that was held up, if any was."""
    nudges: list[Nudge] = []
    timed_out: Exception | None = None
    for one in tries:
        try:
            nudges += await one
        except Exception as error:
            if not is_lock_timeout(error):
                raise
            timed_out = error
    if timed_out is not None:
        raise timed_out
    return nudges


class WebhookGroups:
    """Stores groups of webhooks. Every method is idempotent and may raise infrastructure errors.

    The nudges a method returns are to be sent, if anybody can.
    """

    def __init__(
        self, pool: Pool, ring: KeyRing, recorder: FailureRecorder, metrics: IntakeMetrics
    ) -> None:
        self._pool = pool
        self._ring = ring
        self._recorder = recorder
        self._metrics = metrics

    async def store(self, arrived: Sequence[tuple[Webhook, Lane]]) -> list[Nudge]:
        """First deliveries from the broker: rows, bodies and changes at once."""
        splits = [split_webhook(*one) for one in arrived]
        try:
            return await self._store(splits)
        except Exception as error:
            if is_infrastructure(error):
                raise
            log.warning("group.failed", count=len(splits), exc_info=error)
            return [nudge for one in splits for nudge in await self._store_alone(one)]

    async def store_unsplit(self, arrived: Sequence[tuple[Webhook, Lane]]) -> list[Nudge]:
        """Redelivered: somebody may have died of them, so they are only kept, to be tried later."""
        async with transaction(self._pool) as conn:
            await webhooks.insert(
                conn,
                self._ring,
                [WebhookRow(w, lane, "broker", "unsplit") for w, lane in arrived],
            )
            crash_point("group.storing_unsplit")
        return []

    async def split_stored(self, leases: Sequence[Lease]) -> list[Nudge]:
        """Split webhooks that are claimed: together, as many as memory bears, or, if that fails,
        each alone.

        Raises a lock timeout (see `is_lock_timeout`) if a lock of somebody's stopped some of them;
        the others are split by then.
        """
        async with transaction(self._pool) as conn:
            sizes = await webhooks.sizes(conn, [lease.id for lease in leases])
        return await _in_turn(map(self._split_group, _groups(leases, sizes)))

    async def _split_group(self, leases: Sequence[Lease]) -> list[Nudge]:
        try:
            return await self._split_stored(leases)
        except Exception as error:
            if is_infrastructure(error) and not (is_lock_timeout(error) and len(leases) > 1):
                raise
            log.warning("group.failed", count=len(leases), exc_info=error)
            return await _in_turn(map(self._split_alone, leases))

    async def _store(self, splits: Sequence[SplitWebhook]) -> list[Nudge]:
        arrivals = [
            WebhookRow(s.webhook, s.lane, "broker", "unsplit" if s.error else "split")
            for s in splits
        ]
        async with transaction(self._pool) as conn:
            new = await webhooks.insert(conn, self._ring, arrivals)
            splits = [s for s in splits if s.webhook.id in new]
            kept = await self._insert_changes(conn, splits)
            crash_point("group.storing")
        return self._count(splits, kept)

    async def _store_alone(self, one: SplitWebhook) -> list[Nudge]:
        try:
            return await self._store([one])
        except Exception as error:
            if is_infrastructure(error):
                raise
            return await self._store([SplitWebhook(one.webhook, one.lane, error=error)])

    async def _split_stored(self, leases: Sequence[Lease]) -> list[Nudge]:
        attempts = {lease.id: lease.attempts for lease in leases}
        async with transaction(self._pool) as conn:
            await conn.execute(SHORT_LOCK_TIMEOUT)
            loaded = await webhooks.load_unsplit(conn, self._ring, list(attempts))
            splits = [split_webhook(w, lane, attempts[w.id]) for w, lane in loaded]
            await webhooks.mark_split(conn, [s.webhook.id for s in splits if not s.error])
            kept = await self._insert_changes(conn, splits)
            crash_point("group.splitting")
        return self._count(splits, kept)

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
        """The changes of what was split, their effects and events; a failure of what was not."""
        failures = [
            failure
            for s in splits
            if s.error
            for failure in await self._recorder.fail_webhook(conn, s.lease, s.error)
        ]
        rows = [(s.webhook.id, s.webhook.received_at, c) for s in splits for c in s.changes]
        if not rows:
            return StoredChanges(failures)
        new = await changes.insert(conn, self._ring, rows)
        failures += (failed := await apply_new_changes(conn, new, self._recorder))
        failed_ids = {one.id for one in failed}
        owned = [n.id for n in new if n.organization_id and n.id not in failed_ids]
        if owned:
            await events.add_for_changes(conn, owned)
        return StoredChanges(failures, new=len(new), known=len(rows) - len(new))

    def _count(self, splits: Sequence[SplitWebhook], kept: StoredChanges) -> list[Nudge]:
        """After the commit."""
        now = datetime.now(UTC)
        self._metrics.changes.labels("new").inc(kept.new)
        self._metrics.changes.labels("known").inc(kept.known)
        self._metrics.group_webhooks.observe(len(splits))
        self._metrics.webhooks.inc(sum(1 for one in splits if not one.error))
        for one in splits:
            self._metrics.stored_seconds.observe((now - one.webhook.received_at).total_seconds())
        return self._recorder.report(kept.failures)
