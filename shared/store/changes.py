"""The changes webhooks are split into: the unit that is stored, applied, retried and parked."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from uuid_utils.compat import uuid7

from shared.crypto import KeyRing, associated_data
from shared.domain.splitting import Change
from shared.store.pool import Connection


async def insert(
    connection: Connection, ring: KeyRing, changes: Sequence[tuple[UUID, datetime, Change]]
) -> int:
    """Store changes (webhook id, received_at, change) as processed; how many were new.

    Idempotent by key: a change that Meta sent before, in whatever webhook, adds nothing.
    """
    changes = sorted(changes, key=lambda c: c[2].key)  # one lock order for everybody
    ids = [uuid7() for _ in changes]
    status = await connection.execute(
        """
        INSERT INTO webhook_changes
            (id, webhook_id, received_at, key, field, event, waba_id, phone_number_id,
             subject_hash, content, state)
        SELECT *, 'processed'
        FROM unnest($1::uuid[], $2::uuid[], $3::timestamptz[], $4::bytea[], $5::text[], $6::text[],
                    $7::text[], $8::text[], $9::bytea[], $10::bytea[])
        ON CONFLICT (key) DO NOTHING
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
    return int(status.split()[-1])
