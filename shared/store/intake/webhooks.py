"""The log of webhooks, and their bodies: one row each, under the id assigned on receipt."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from typing import Literal, NamedTuple
from uuid import UUID

from asyncpg import Record

from shared.crypto import KeyRing, associated_data
from shared.messages import Webhook, WebhookKind
from shared.store.due import Lease
from shared.store.pool import Conn

Lane = Literal["fast", "slow"]
StoredVia = Literal["broker", "database"]
WebhookState = Literal["unsplit", "split", "dead"]


class LanedWebhook(NamedTuple):
    """A webhook and the lane it took."""

    webhook: Webhook
    lane: Lane


@dataclass(frozen=True, slots=True)
class WebhookRow:
    """A webhook that is to be stored."""

    webhook: Webhook
    lane: Lane
    stored_via: StoredVia
    state: WebhookState


async def insert(conn: Conn, ring: KeyRing, rows: Sequence[WebhookRow]) -> set[UUID]:
    """Store webhooks and their bodies. Return the ids that were new. Idempotent by id.

    A split webhook is stored as processed: no work on it is left.
    """
    rows = sorted(rows, key=lambda row: row.webhook.id.int)  # every process locks in this order
    webhooks = [row.webhook for row in rows]
    new = await conn.fetch(
        """
        INSERT INTO webhook_log
            (id, received_at, digest, kind, lane, stored_via, state, processed)
        SELECT *, state = 'split'
        FROM unnest($1::uuid[], $2::timestamptz[], $3::bytea[], $4::webhook_kind[], $5::lane[],
                    $6::stored_via[], $7::webhook_state[])
             AS row (id, received_at, digest, kind, lane, stored_via, state)
        ON CONFLICT (id) DO NOTHING
        RETURNING id
        """,
        [w.id for w in webhooks],
        [w.received_at for w in webhooks],
        [sha256(w.body).digest() for w in webhooks],
        [w.kind for w in webhooks],
        [row.lane for row in rows],
        [row.stored_via for row in rows],
        [row.state for row in rows],
    )
    ids = {record["id"] for record in new}
    await _insert_bodies(conn, ring, [w for w in webhooks if w.id in ids])
    return ids


async def _insert_bodies(conn: Conn, ring: KeyRing, webhooks: Sequence[Webhook]) -> None:
    await conn.execute(
        """
        INSERT INTO webhook_bodies (id, received_at, signature, body)
        SELECT * FROM unnest($1::uuid[], $2::timestamptz[], $3::bytea[], $4::bytea[])
        ON CONFLICT DO NOTHING
        """,
        [w.id for w in webhooks],
        [w.received_at for w in webhooks],
        [bytes.fromhex(w.signature.removeprefix("sha256=")) or None for w in webhooks],
        [ring.seal(w.body, _binding(w.id)) for w in webhooks],
    )


#: The body of a row of webhook_log. The reader of a day that is being dropped finds two copies.
_WITH_BODY = """
    webhook_log CROSS JOIN LATERAL (
        SELECT signature, body FROM webhook_bodies
        WHERE webhook_bodies.id = webhook_log.id
            AND webhook_bodies.received_at = webhook_log.received_at
        UNION ALL
        SELECT signature, body FROM unsettled_bodies WHERE unsettled_bodies.id = webhook_log.id
        LIMIT 1
    ) AS stored
"""


async def sizes(conn: Conn, ids: Collection[UUID]) -> dict[UUID, int]:
    """Return the size in bytes of each sealed body, by webhook id. Bodies are not read."""
    records = await conn.fetch(
        f"""
        SELECT id, octet_length(body) AS size FROM {_WITH_BODY}
        WHERE id = ANY($1)
        """,
        list(ids),
    )
    return {record["id"]: record["size"] for record in records}


async def load_unsplit(conn: Conn, ring: KeyRing, ids: Collection[UUID]) -> list[LanedWebhook]:
    """Return those of these webhooks that are still unsplit, locked until the transaction ends.
    May raise Undecryptable."""
    records = await conn.fetch(
        f"""
        SELECT id, received_at, kind, lane, signature, body FROM {_WITH_BODY}
        WHERE id = ANY($1) AND state = 'unsplit'
        ORDER BY id FOR UPDATE OF webhook_log
        """,
        list(ids),
    )
    return [LanedWebhook(_webhook(record, ring), record["lane"]) for record in records]


async def mark_split(conn: Conn, ids: Collection[UUID]) -> None:
    await conn.execute(
        """
        UPDATE webhook_log
        SET state = 'split', processed = changes_left = 0, last_error = NULL
        WHERE id = ANY($1) AND state = 'unsplit'
        """,
        list(ids),
    )


async def fail(conn: Conn, lease: Lease, error: str, after: timedelta | None) -> bool:
    """Record that an attempt failed. Retry the webhook `after` that time; None: mark it dead.
    Return False if the lease is void."""
    status = await conn.execute(
        """
        UPDATE webhook_log
        SET state = CASE WHEN $4::interval IS NULL THEN 'dead' ELSE 'unsplit' END::webhook_state,
            attempts = $2, last_error = $3, lease_until = coalesce(now() + $4, '-infinity'),
            first_failed_at = coalesce(first_failed_at, now())
        WHERE id = $1 AND state = 'unsplit' AND attempts <= $2
        """,
        lease.id,
        lease.attempts,
        error,
        after,
    )
    return status == "UPDATE 1"


async def open_change(conn: Conn, webhook_id: UUID) -> None:
    """Count one more unfinished change of the webhook: it is not processed any more."""
    await conn.execute(
        """
        UPDATE webhook_log SET processed = false, changes_left = changes_left + 1 WHERE id = $1
        """,
        webhook_id,
    )


async def close_changes(conn: Conn, closed: Mapping[UUID, int]) -> None:
    """Subtract finished changes, by webhook id. A webhook that has no unfinished change left is
    processed."""
    await conn.execute(
        """
        UPDATE webhook_log
        SET changes_left = changes_left - closed.count,
            processed = changes_left - closed.count = 0
        FROM unnest($1::uuid[], $2::integer[]) AS closed (id, count)
        WHERE webhook_log.id = closed.id
        """,
        list(closed),
        list(closed.values()),
    )


async def read_body(conn: Conn, ring: KeyRing, webhook_id: UUID) -> bytes | None:
    """Return the exact bytes Meta sent; None if they were deleted. May raise Undecryptable."""
    envelope = await conn.fetchval(
        f"SELECT body FROM {_WITH_BODY} WHERE id = $1",
        webhook_id,
    )
    return None if envelope is None else ring.open(envelope, _binding(webhook_id))


def _webhook(record: Record, ring: KeyRing) -> Webhook:
    signature = record["signature"]
    kind: WebhookKind = record["kind"]
    return Webhook(
        id=record["id"],
        received_at=record["received_at"],
        kind=kind,
        signature="" if signature is None else f"sha256={signature.hex()}",
        body=ring.open(record["body"], _binding(record["id"])),
    )


def _binding(webhook_id: UUID) -> bytes:
    return associated_data("webhook_bodies", webhook_id.bytes, "body")
