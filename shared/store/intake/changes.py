"""Changes: the parts of a webhook. Each is stored, applied, retried or given up alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from uuid_utils.compat import uuid7

from shared.crypto import KeyRing, associated_data
from shared.domain.splitting import UNMATCHED_CONTACTS, Change
from shared.store.connections.eras import is_owed, owner_of
from shared.store.due import Lease
from shared.store.pool import Conn


class NewChange(NamedTuple):
    """A change that was stored for the first time. `organization_id` is the organization it belongs
    to; None if there is none yet. `is_owed`: then there may be one, but its era was locked."""

    id: UUID
    webhook_id: UUID
    received_at: datetime
    change: Change
    organization_id: str | None
    is_owed: bool


class SplitChange(NamedTuple):
    """A change as it was split from its webhook, not stored yet."""

    webhook_id: UUID
    received_at: datetime
    change: Change


async def insert(conn: Conn, ring: KeyRing, changes: Sequence[SplitChange]) -> list[NewChange]:
    """Store changes as processed. Return those that were new.

    Idempotent by key: a change that Meta sent before, in any webhook, is not stored again. What is
    from before `old_keys.below` has the key that the version before this one gives it, whichever
    stores it. Each new change gets the organization that it belongs to (see eras.owner_of), for
    ever.
    """
    changes = sorted(changes, key=lambda split: split.change.key)
    ids = [uuid7() for _ in changes]
    stored = await conn.fetch(
        f"""
        INSERT INTO webhook_changes
            (id, webhook_id, received_at, key, field, event, waba_id, phone_number_id,
             content, state, organization_id)
        SELECT id, webhook_id, received_at, CASE WHEN is_old THEN digest ELSE key END AS key, field,
               event, waba_id, phone_number_id, content, 'processed', owner.organization_id
        FROM unnest($1::uuid[], $2::uuid[], $3::timestamptz[], $4::bytea[], $5::text[], $6::text[],
                    $7::text[], $8::text[], $9::bytea[], $10::bytea[], $11::bytea[])
            AS new (id, webhook_id, received_at, key, field, event, waba_id, phone_number_id,
                    content, digest, whole_key)
            CROSS JOIN LATERAL (
                SELECT new.key < coalesce((SELECT below FROM old_keys), '') AS is_old
            ) AS form
            LEFT JOIN LATERAL ({owner_of("new")}) AS owner ON true
        WHERE NOT is_old OR whole_key IS NULL
            OR (SELECT true FROM webhook_changes WHERE key = new.whole_key) IS NULL
        ORDER BY 4  -- every process locks in this order
        ON CONFLICT (key) DO NOTHING
        RETURNING id, organization_id,
            organization_id IS NULL AND {is_owed("webhook_changes")} AS is_owed
        """,
        ids,
        [split.webhook_id for split in changes],
        [split.received_at for split in changes],
        [c.key for _, _, c in changes],
        [c.field for _, _, c in changes],
        [c.event for _, _, c in changes],
        [c.waba_id for _, _, c in changes],
        [c.phone_number_id for _, _, c in changes],
        [ring.seal(c.content, _binding(id_)) for id_, (_, _, c) in zip(ids, changes, strict=True)],
        [c.digest for _, _, c in changes],
        [c.whole_key for _, _, c in changes],
    )
    by_id = {record["id"]: record for record in stored}
    return [
        NewChange(id_, *split, by_id[id_]["organization_id"], by_id[id_]["is_owed"])
        for id_, split in zip(ids, changes, strict=True)
        if id_ in by_id
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


async def assign(conn: Conn, waba_id: str, *, limit: int) -> int:
    """Give changes of the WABA that have no organization yet to the one they belong to.

    Return how many. Add an event for each of them that is processed and told.
    """
    count: int = await conn.fetchval(
        f"""
        WITH owed AS (
            SELECT webhook_changes.id, owner.organization_id
            FROM webhook_changes CROSS JOIN LATERAL ({owner_of("webhook_changes")}) AS owner
            WHERE waba_id = $1 AND webhook_changes.organization_id IS NULL
            ORDER BY webhook_changes.id LIMIT $2
            FOR UPDATE OF webhook_changes SKIP LOCKED
        ), assigned AS (
            UPDATE webhook_changes SET organization_id = owed.organization_id
            FROM owed WHERE webhook_changes.id = owed.id
            RETURNING webhook_changes.*
        ), added AS (
            INSERT INTO events (id, type, organization_id, waba_id)
            SELECT id, 'change.' || coalesce(field, 'unknown'), organization_id, waba_id
            FROM assigned WHERE state = 'processed' AND event IS DISTINCT FROM $3
        )
        SELECT count(*) FROM assigned
        """,
        waba_id,
        limit,
        UNMATCHED_CONTACTS,
    )
    return count


async def is_any_owed(conn: Conn, waba_id: str) -> bool:
    """Return whether a change of the WABA belongs to an organization and was not given to it."""
    return bool(
        await conn.fetchval(
            f"""
            SELECT true
            FROM webhook_changes
            WHERE waba_id = $1 AND organization_id IS NULL AND {is_owed("webhook_changes")} LIMIT 1
            """,
            waba_id,
        )
    )


async def count_unowned(conn: Conn, waba_id: str) -> int:
    """Return how many changes of the WABA have no organization."""
    count: int = await conn.fetchval(
        "SELECT count(*) FROM webhook_changes WHERE waba_id = $1 AND organization_id IS NULL",
        waba_id,
    )
    return count


async def read_content(conn: Conn, ring: KeyRing, change_id: UUID) -> bytes | None:
    """Return the change's part of its webhook; None if it was deleted. May raise Undecryptable."""
    envelope = await conn.fetchval("SELECT content FROM webhook_changes WHERE id = $1", change_id)
    return None if envelope is None else open_content(ring, change_id, envelope)


def open_content(ring: KeyRing, change_id: UUID, envelope: bytes) -> bytes:
    """Return the content that this envelope of the change seals. May raise Undecryptable."""
    return ring.open(envelope, _binding(change_id))


def _binding(change_id: UUID) -> bytes:
    return associated_data("webhook_changes", change_id.bytes, "content")
