"""The changes webhooks are split into: the unit that is stored, applied, retried and parked."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from uuid_utils.compat import uuid7

from shared.crypto import KeyRing, associated_data
from shared.domain.splitting import Change
from shared.store.pool import Connection

#: From the first try to the second.
FIRST_DELAY = timedelta(seconds=30)
#: Longer than any of our transactions lives.
SETTLED = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class New:
    """A change that was stored for the first time."""

    id: UUID
    webhook_id: UUID
    received_at: datetime
    change: Change


async def insert(
    connection: Connection, ring: KeyRing, changes: Sequence[tuple[UUID, datetime, Change]]
) -> list[New]:
    """Store changes (webhook id, received_at, change) as processed; those that were new.

    Idempotent by key: a change that Meta sent before, in whatever webhook, adds nothing. Whoever
    is the proven owner of its WABA by now is the change's owner for ever.
    """
    changes = sorted(changes, key=lambda c: c[2].key)  # one lock order for everybody
    ids = [uuid7() for _ in changes]
    stored = await connection.fetch(
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
        ORDER BY told.key
        ON CONFLICT (key) DO NOTHING
        RETURNING id
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
        [
            ring.seal(c.content, associated_data("webhook_changes", id_.bytes, "content"))
            for id_, (_, _, c) in zip(ids, changes, strict=True)
        ],
    )
    new = {record["id"] for record in stored}
    return [
        New(id_, webhook_id, received_at, change)
        for id_, (webhook_id, received_at, change) in zip(ids, changes, strict=True)
        if id_ in new
    ]


async def fail(connection: Connection, change: New, error: str) -> None:
    """Its effects could not be made: it waits to be tried again, and its webhook with it."""
    await connection.execute(
        """
        UPDATE webhook_changes
        SET state = 'failed', attempts = 1, last_error = $2, next_attempt_at = now() + $3
        WHERE id = $1
        """,
        change.id,
        error,
        FIRST_DELAY,
    )
    await connection.execute(
        """
        UPDATE webhook_log SET processed = false, changes_left = changes_left + 1 WHERE id = $1
        """,
        change.webhook_id,
    )


async def stamp(connection: Connection, *, limit: int) -> int:
    """Give changes that arrived before their WABA's owner was proven to that owner; how many.

    A connection is asked for until SETTLED after its proof: a change that was being stored while
    the proof was committed saw no owner, and is found by then.
    """
    status = await connection.execute(
        """
        WITH found AS (
            SELECT webhook_changes.id, whatsapp_connections.organization_id
            FROM whatsapp_connections JOIN webhook_changes USING (waba_id)
            WHERE is_stamping AND attribution = 'tracking_code'
                AND webhook_changes.organization_id IS NULL
            ORDER BY waba_id, webhook_changes.id LIMIT $1
            FOR UPDATE OF webhook_changes SKIP LOCKED
        )
        UPDATE webhook_changes SET organization_id = found.organization_id
        FROM found WHERE webhook_changes.id = found.id
        """,
        limit,
    )
    if count := int(status.split()[-1]):
        return count
    await connection.execute(
        """
        UPDATE whatsapp_connections SET is_stamping = false
        WHERE is_stamping AND owned_since < now() - $1::interval AND NOT EXISTS (
            SELECT FROM webhook_changes
            WHERE webhook_changes.waba_id = whatsapp_connections.waba_id
                AND webhook_changes.organization_id IS NULL
        )
        """,
        SETTLED,
    )
    return 0
