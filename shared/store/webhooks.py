"""The log of webhooks and their bodies: one row each, under the id it got at the door."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from typing import Literal
from uuid import UUID

from asyncpg import Record

from shared.crypto import KeyRing, associated_data
from shared.messages import Kind, Webhook
from shared.store.pool import Connection

Lane = Literal["fast", "slow"]
Road = Literal["broker", "database"]
State = Literal["unsplit", "split", "dead"]

#: How long a claim holds; a claimer that has not finished by then is taken for dead.
LEASE = timedelta(seconds=60)
#: One first try and three retries.
MAX_ATTEMPTS = 4


@dataclass(frozen=True, slots=True)
class Arrival:
    """A webhook as it is about to be stored. `error` is why a dead one cannot be split."""

    webhook: Webhook
    lane: Lane
    road: Road
    state: State
    error: str | None = None


async def insert(connection: Connection, ring: KeyRing, arrivals: Sequence[Arrival]) -> set[UUID]:
    """Store webhooks and their bodies; the ids that were new. Idempotent by id.

    `processed` is true at once for a split webhook: nothing of it is left to do.
    """
    arrivals = sorted(arrivals, key=lambda a: a.webhook.id.int)  # one lock order for everybody
    webhooks = [a.webhook for a in arrivals]
    new = await connection.fetch(
        """
        INSERT INTO webhook_log
            (id, received_at, digest, kind, lane, road, state, processed, last_error)
        SELECT id, received_at, digest, kind, lane, road, state, state = 'split', error
        FROM unnest($1::uuid[], $2::timestamptz[], $3::bytea[], $4::webhook_kind[], $5::lane[],
                    $6::road[], $7::webhook_state[], $8::text[])
             AS row (id, received_at, digest, kind, lane, road, state, error)
        ON CONFLICT (id) DO NOTHING
        RETURNING id
        """,
        [w.id for w in webhooks],
        [w.received_at for w in webhooks],
        [sha256(w.body).digest() for w in webhooks],
        [w.kind for w in webhooks],
        [a.lane for a in arrivals],
        [a.road for a in arrivals],
        [a.state for a in arrivals],
        [a.error for a in arrivals],
    )
    ids = {record["id"] for record in new}
    await _insert_bodies(connection, ring, [w for w in webhooks if w.id in ids])
    return ids


async def _insert_bodies(
    connection: Connection, ring: KeyRing, webhooks: Sequence[Webhook]
) -> None:
    await connection.execute(
        """
        INSERT INTO webhook_bodies (id, received_at, signature, body)
        SELECT * FROM unnest($1::uuid[], $2::timestamptz[], $3::bytea[], $4::bytea[])
        ON CONFLICT DO NOTHING
        """,
        [w.id for w in webhooks],
        [w.received_at for w in webhooks],
        [bytes.fromhex(w.signature.removeprefix("sha256=")) or None for w in webhooks],
        [ring.seal(w.body, _place(w.id)) for w in webhooks],
    )


async def claim_unsplit(connection: Connection, *, first_tries: bool, limit: int) -> list[UUID]:
    """Claim webhooks that wait to be split: attempts + 1 and a lease, to be committed at once.

    `first_tries` claims what was never tried; otherwise what somebody claimed and did not finish.
    """
    claimed = await connection.fetch(
        """
        UPDATE webhook_log SET attempts = attempts + 1, lease_until = now() + $1
        WHERE id IN (
            SELECT id FROM webhook_log
            WHERE state = 'unsplit' AND lease_until < now() AND (attempts = 0) = $2
            ORDER BY lease_until, id LIMIT $3 FOR UPDATE SKIP LOCKED
        )
        RETURNING id
        """,
        LEASE,
        first_tries,
        limit,
    )
    return [record["id"] for record in claimed]


async def hand_back(connection: Connection, ids: Collection[UUID]) -> None:
    """Undo a claim whose try never came to its end for the servers' sake."""
    await connection.execute(
        """
        UPDATE webhook_log SET attempts = attempts - 1, lease_until = '-infinity'
        WHERE id = ANY($1) AND state = 'unsplit' AND attempts > 0
        """,
        list(ids),
    )


async def bury_exhausted(connection: Connection) -> list[UUID]:
    """Give up what was claimed MAX_ATTEMPTS times and never finished: it kills whoever tries it."""
    dead = await connection.fetch(
        """
        UPDATE webhook_log SET state = 'dead', last_error = 'never finished being split'
        WHERE state = 'unsplit' AND lease_until < now() AND attempts >= $1
        RETURNING id
        """,
        MAX_ATTEMPTS,
    )
    return [record["id"] for record in dead]


async def load_unsplit(
    connection: Connection, ring: KeyRing, ids: Collection[UUID]
) -> list[tuple[Webhook, Lane]]:
    """The named webhooks that are still unsplit, locked until the transaction ends."""
    records = await connection.fetch(
        """
        SELECT id, received_at, kind, lane, signature, body
        FROM webhook_log JOIN webhook_bodies USING (id, received_at)
        WHERE id = ANY($1) AND state = 'unsplit'
        ORDER BY id FOR UPDATE OF webhook_log
        """,
        list(ids),
    )
    return [(_webhook(record, ring), record["lane"]) for record in records]


async def mark_split(connection: Connection, ids: Collection[UUID]) -> None:
    await connection.execute(
        """
        UPDATE webhook_log
        SET state = 'split', processed = changes_left = 0, last_error = NULL
        WHERE id = ANY($1) AND state = 'unsplit'
        """,
        list(ids),
    )


async def mark_dead(connection: Connection, webhook_id: UUID, error: str) -> None:
    await connection.execute(
        """
        UPDATE webhook_log SET state = 'dead', last_error = $2
        WHERE id = $1 AND state = 'unsplit'
        """,
        webhook_id,
        error,
    )


async def read_body(connection: Connection, ring: KeyRing, webhook_id: UUID) -> bytes | None:
    """The exact bytes Meta sent; None once they were dropped. Raises Undecryptable."""
    envelope = await connection.fetchval(
        """
        SELECT body FROM webhook_log JOIN webhook_bodies USING (id, received_at) WHERE id = $1
        """,
        webhook_id,
    )
    return None if envelope is None else ring.open(envelope, _place(webhook_id))


def _webhook(record: Record, ring: KeyRing) -> Webhook:
    signature = record["signature"]
    kind: Kind = record["kind"]
    return Webhook(
        id=record["id"],
        received_at=record["received_at"],
        kind=kind,
        signature="" if signature is None else f"sha256={signature.hex()}",
        body=ring.open(record["body"], _place(record["id"])),
    )


def _place(webhook_id: UUID) -> bytes:
    return associated_data("webhook_bodies", webhook_id.bytes, "body")
