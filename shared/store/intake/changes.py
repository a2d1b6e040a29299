"""Changes: the parts of a webhook. Each is stored, applied, retried or given up alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from uuid_utils.compat import uuid7

from shared.crypto import KeyRing, associated_data
from shared.domain.splitting import Change
from shared.store.due import Lease
from shared.store.pool import Conn

#: Longer than any of our transactions lasts.
COMMITTED_WITHIN = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class NewChange:
    """A change that was stored for the first time. `organization_id` is the proven owner of its
    WABA; None if there was none yet."""

    id: UUID
    webhook_id: UUID
    received_at: datetime
    change: Change
    organization_id: str | None


class SplitChange(NamedTuple):
    """A change as it was split from its webhook, not stored yet."""

    webhook_id: UUID
    received_at: datetime
    change: Change


async def insert(conn: Conn, ring: KeyRing, changes: Sequence[SplitChange]) -> list[NewChange]:
    """Store changes as processed. Return those that were new.

    Idempotent by key: a change that Meta sent before, in any webhook, is not stored again. Stamp
    each new change with the proven owner of its WABA, for ever. Do not stamp a change that was
    received before a former owner withdrew: it belongs to that owner, and `stamp` stamps it later.
    """
    changes = sorted(
        changes, key=lambda split: split.change.key
    )  # every process locks in this order
    ids = [uuid7() for _ in changes]
    stored = await conn.fetch(
        """
        INSERT INTO webhook_changes
            (id, webhook_id, received_at, key, field, event, waba_id, phone_number_id,
             subject_hash, content, state, organization_id)
        SELECT new.*, 'processed', whatsapp_connections.organization_id
        FROM unnest($1::uuid[], $2::uuid[], $3::timestamptz[], $4::bytea[], $5::text[], $6::text[],
                    $7::text[], $8::text[], $9::bytea[], $10::bytea[])
            AS new (id, webhook_id, received_at, key, field, event, waba_id, phone_number_id,
                    subject_hash, content)
            LEFT JOIN whatsapp_connections
                ON whatsapp_connections.waba_id = new.waba_id
                AND whatsapp_connections.attribution = 'tracking_code'
                AND (withdrawn_at IS NULL OR new.received_at > withdrawn_at)
        ORDER BY new.key
        ON CONFLICT (key) DO NOTHING
        RETURNING id, organization_id
        """,
        ids,
        [split.webhook_id for split in changes],
        [split.received_at for split in changes],
        [c.key for _, _, c in changes],
        [c.field for _, _, c in changes],
        [c.event for _, _, c in changes],
        [c.waba_id for _, _, c in changes],
        [c.phone_number_id for _, _, c in changes],
        [ring.subject_hash(c.subject) if c.subject else None for _, _, c in changes],
        [ring.seal(c.content, _binding(id_)) for id_, (_, _, c) in zip(ids, changes, strict=True)],
    )
    owners = {record["id"]: record["organization_id"] for record in stored}
    return [
        NewChange(id_, webhook_id, received_at, change, owners[id_])
        for id_, (webhook_id, received_at, change) in zip(ids, changes, strict=True)
        if id_ in owners
    ]


@dataclass(frozen=True, slots=True)
class LeasedChange:
    """A leased change. `content` is sealed; None if it was deleted."""

    id: UUID
    webhook_id: UUID
    received_at: datetime
    organization_id: str | None
    content: bytes | None


async def load_leased(conn: Conn, lease: Lease) -> LeasedChange | None:
    """Return the leased change, locked until the transaction ends; None if the lease is void."""
    record = await conn.fetchrow(
        """
        SELECT id, webhook_id, received_at, organization_id, content FROM webhook_changes
        WHERE id = $1 AND attempts = $2 AND state IN ('pending', 'failed')
        FOR UPDATE
        """,
        lease.id,
        lease.attempts,
    )
    return None if record is None else LeasedChange(**record)


async def mark_processed(conn: Conn, change_id: UUID) -> None:
    """Mark a loaded change as processed. Its effects are applied in the same transaction."""
    await conn.execute(
        """
        UPDATE webhook_changes SET state = 'processed', last_error = NULL, next_attempt_at = NULL
        WHERE id = $1
        """,
        change_id,
    )


async def fail(conn: Conn, lease: Lease, error: str, after: timedelta | None) -> None:
    """Record that an attempt of a locked change failed. Retry it `after` that time; None: mark it
    dead."""
    await conn.execute(
        """
        UPDATE webhook_changes
        SET state = CASE WHEN $4::interval IS NULL THEN 'dead' ELSE 'failed' END::change_state,
            attempts = $2, last_error = $3, next_attempt_at = now() + $4, lease_until = '-infinity',
            first_failed_at = coalesce(first_failed_at, now())
        WHERE id = $1
        """,
        lease.id,
        lease.attempts,
        error,
        after,
    )


#: Changes that are not stamped yet, each with its owner: the first owner who withdrew after the
#: change was received, else the proven owner. Changes without such an owner are left out.
_UNSTAMPED = """
    whatsapp_connections JOIN webhook_changes USING (waba_id)
    CROSS JOIN LATERAL (
        SELECT CASE
            WHEN webhook_changes.received_at <= whatsapp_connections.withdrawn_at THEN (
                SELECT former.organization_id FROM whatsapp_onboarding AS former
                WHERE former.waba_id = webhook_changes.waba_id
                    AND former.withdrawn_at >= webhook_changes.received_at
                ORDER BY former.withdrawn_at LIMIT 1)
            WHEN attribution = 'tracking_code' THEN whatsapp_connections.organization_id
        END AS owner
    ) AS decided
    WHERE is_stamping AND webhook_changes.organization_id IS NULL AND owner IS NOT NULL
"""


async def stamp(conn: Conn, *, limit: int) -> int:
    """Stamp changes that have no organization yet with their owner. Return how many.

    They were received before the owner of their WABA was proven, or before a former owner withdrew.
    Add an event for each stamped change that is processed. A connection is searched until
    COMMITTED_WITHIN after the proof or withdrawal of its owner: a transaction that stored a change
    at the same time did not see the new owner, but has ended by that time.
    """
    count: int = await conn.fetchval(
        f"""
        WITH unstamped AS (
            SELECT webhook_changes.id, owner FROM {_UNSTAMPED}
            ORDER BY waba_id, webhook_changes.id LIMIT $1
            FOR UPDATE OF webhook_changes SKIP LOCKED
        ), stamped AS (
            UPDATE webhook_changes SET organization_id = unstamped.owner
            FROM unstamped WHERE webhook_changes.id = unstamped.id
            RETURNING webhook_changes.*
        ), added AS (
            INSERT INTO events (id, type, organization_id, waba_id)
            SELECT id, 'change.' || coalesce(field, 'unknown'), organization_id, waba_id
            FROM stamped WHERE state = 'processed'
        )
        SELECT count(*) FROM stamped
        """,
        limit,
    )
    if count:
        return count
    await conn.execute(
        f"""
        UPDATE whatsapp_connections SET is_stamping = false
        WHERE is_stamping AND owned_since < now() - $1::interval
            AND waba_id NOT IN (SELECT waba_id FROM {_UNSTAMPED})
        """,
        COMMITTED_WITHIN,
    )
    return 0


async def read_content(conn: Conn, ring: KeyRing, change_id: UUID) -> bytes | None:
    """Return the change's part of its webhook; None if it was deleted. May raise Undecryptable."""
    envelope = await conn.fetchval("SELECT content FROM webhook_changes WHERE id = $1", change_id)
    return None if envelope is None else open_content(ring, change_id, envelope)


def open_content(ring: KeyRing, change_id: UUID, envelope: bytes) -> bytes:
    """Return the content that this envelope of the change seals. May raise Undecryptable."""
    return ring.open(envelope, _binding(change_id))


def _binding(change_id: UUID) -> bytes:
    return associated_data("webhook_changes", change_id.bytes, "content")
