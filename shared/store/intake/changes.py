"""The changes webhooks are split into: the unit that is stored, applied, retried and parked."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from uuid_utils.compat import uuid7

from shared.crypto import KeyRing, associated_data
from shared.domain.splitting import Change
from shared.store.due import Lease
from shared.store.pool import Conn

#: Longer than any of our transactions lives.
COMMITTED_WITHIN = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class NewChange:
    """A change that was stored for the first time. Its owner is one that was proven before."""

    id: UUID
    webhook_id: UUID
    received_at: datetime
    change: Change
    organization_id: str | None


async def insert(
    conn: Conn, ring: KeyRing, changes: Sequence[tuple[UUID, datetime, Change]]
) -> list[NewChange]:
    """Store changes (webhook id, received_at, change) as processed; those that were new.

    Idempotent by key: a change that Meta sent before, in whatever webhook, adds nothing. Whoever
    is the proven owner of its WABA by now is the change's owner for ever, unless it was received
    before a former owner withdrew: then it is the former owner's, who is found by `stamp`.
    """
    changes = sorted(changes, key=lambda c: c[2].key)  # one lock order for everybody
    ids = [uuid7() for _ in changes]
    stored = await conn.fetch(
        """
        INSERT INTO webhook_changes
            (id, webhook_id, received_at, key, field, event, waba_id, phone_number_id,
             subject_hash, content, state, organization_id)
        SELECT told.*, 'processed', whatsapp_connections.organization_id
        FROM unnest($1::uuid[], $2::uuid[], $3::timestamptz[], $4::bytea[], $5::text[], $6::text[],
                    $7::text[], $8::text[], $9::bytea[], $10::bytea[])
            AS told (id, webhook_id, received_at, key, field, event, waba_id, phone_number_id,
                     subject_hash, content)
            LEFT JOIN whatsapp_connections
                ON whatsapp_connections.waba_id = told.waba_id
                AND whatsapp_connections.attribution = 'tracking_code'
                AND (withdrawn_at IS NULL OR told.received_at > withdrawn_at)
        ORDER BY told.key
        ON CONFLICT (key) DO NOTHING
        RETURNING id, organization_id
        """,
        ids,
        [webhook_id for webhook_id, _, _ in changes],
        [received_at for _, received_at, _ in changes],
        [c.key for _, _, c in changes],
        [c.field for _, _, c in changes],
        [c.event for _, _, c in changes],
        [c.waba_id for _, _, c in changes],
        [c.phone_number_id for _, _, c in changes],
        [ring.subject_hash(c.subject) if c.subject else None for _, _, c in changes],
        [ring.seal(c.content, _binding(id_)) for id_, (_, _, c) in zip(ids, changes, strict=True)],
    )
    new = dict(map(tuple, stored))
    return [
        NewChange(id_, webhook_id, received_at, change, new[id_])
        for id_, (webhook_id, received_at, change) in zip(ids, changes, strict=True)
        if id_ in new
    ]


@dataclass(frozen=True, slots=True)
class LeasedChange:
    """A claimed change. `content` is sealed; None where it is no more."""

    id: UUID
    webhook_id: UUID
    received_at: datetime
    organization_id: str | None
    content: bytes | None


async def load_leased(conn: Conn, lease: Lease) -> LeasedChange | None:
    """The claimed change, locked until the transaction ends; None if the claim is void."""
    record = await conn.fetchrow(
        """
        SELECT webhook_id, received_at, organization_id, content FROM webhook_changes
        WHERE id = $1 AND attempts = $2 AND state IN ('pending', 'failed')
        FOR UPDATE
        """,
        lease.id,
        lease.attempts,
    )
    if record is None:
        return None
    return LeasedChange(lease.id, *record)


async def mark_processed(conn: Conn, change_id: UUID) -> None:
    """A loaded change's effects are made."""
    await conn.execute(
        """
        UPDATE webhook_changes SET state = 'processed', last_error = NULL, next_attempt_at = NULL
        WHERE id = $1
        """,
        change_id,
    )


async def fail(conn: Conn, lease: Lease, error: str, after: timedelta | None) -> None:
    """A try of a locked change failed: it is tried again `after` that, or dead."""
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


#: A connection's changes that nobody owns yet, and whose each is: of the first owner who withdrew
#: after it was received, else of the proven one; null: nobody's yet.
_OWED = """
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
    """Give changes that arrived before their WABA's owner was proven to that owner, and what is a
    former owner's to that one; how many.

    A connection is asked for until SETTLED after its owner's proof or withdrawal: a change that was
    being stored while that was committed saw nothing of it, and is found by then.
    """
    count: int = await conn.fetchval(
        f"""
        WITH found AS (
            SELECT webhook_changes.id, owner FROM {_OWED}
            ORDER BY waba_id, webhook_changes.id LIMIT $1
            FOR UPDATE OF webhook_changes SKIP LOCKED
        ), stamped AS (
            UPDATE webhook_changes SET organization_id = found.owner
            FROM found WHERE webhook_changes.id = found.id
            RETURNING webhook_changes.*
        ), told AS (
            INSERT INTO events (id, type, organization_id, waba_id)
            SELECT id, 'change.' || coalesce(field, 'unknown'), organization_id, waba_id
            FROM stamped WHERE state = 'processed'
        )
        SELECT count(*) FROM stamped
        """,  # noqa: S608 - our own words
        limit,
    )
    if count:
        return count
    await conn.execute(
        f"""
        UPDATE whatsapp_connections SET is_stamping = false
        WHERE is_stamping AND owned_since < now() - $1::interval
            AND waba_id NOT IN (SELECT waba_id FROM {_OWED})
        """,  # noqa: S608 - our own words
        COMMITTED_WITHIN,
    )
    return 0


async def read_content(conn: Conn, ring: KeyRing, change_id: UUID) -> bytes | None:
    """The change's piece of its webhook; None once it was dropped. Raises Undecryptable."""
    envelope = await conn.fetchval("SELECT content FROM webhook_changes WHERE id = $1", change_id)
    return None if envelope is None else open_content(ring, change_id, envelope)


def open_content(ring: KeyRing, change_id: UUID, envelope: bytes) -> bytes:
    """Raises Undecryptable."""
    return ring.open(envelope, _binding(change_id))


def _binding(change_id: UUID) -> bytes:
    return associated_data("webhook_changes", change_id.bytes, "content")
