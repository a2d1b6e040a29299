"""Read what a run has left in PostgreSQL, as it is, and open what is encrypted.

The envelopes of shared/crypto.py are opened by that code: a second implementation could only fail
where the first does, since AES-GCM opens nothing that was not sealed so. No other code of ours is
used: the checker must not ask the product what is right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

import asyncpg

from shared.crypto import KeyRing, Undecryptable, associated_data

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

    Conn = asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]

Row = asyncpg.Record


@dataclass(frozen=True, slots=True)
class Opened:
    """What an envelope seals. None: there is no envelope, or it cannot be opened."""

    plain: bytes | None
    is_unopenable: bool = False


@dataclass(frozen=True, slots=True)
class StoredWebhook:
    id: UUID
    received_at: datetime
    digest: bytes
    kind: str
    state: str
    processed: bool
    changes_left: int
    body: Opened


@dataclass(frozen=True, slots=True)
class StoredChange:
    id: UUID
    webhook_id: UUID
    received_at: datetime
    field: str | None
    event: str | None
    waba_id: str | None
    phone_number_id: str | None
    organization_id: str | None
    people: Sequence[bytes]
    state: str
    content: Opened


@dataclass(frozen=True, slots=True)
class Stored:
    """Everything that a run has stored. Rows that need no opening are as PostgreSQL gives them."""

    webhooks: Sequence[StoredWebhook]
    changes: Sequence[StoredChange]
    letters: Sequence[Row]
    events: Sequence[Row]
    connections: Sequence[Row]
    eras: Sequence[Row]
    facts: Sequence[Row]
    numbers: Sequence[Row]
    follow_ups: Sequence[Row]


async def read(conn: Conn, body_key: str) -> Stored:
    """Return what is stored. `body_key` is BODY_ENCRYPTION_KEY."""
    ring = KeyRing([bytes.fromhex(body_key)])
    webhooks = await conn.fetch(
        """
        SELECT id, received_at, digest, kind::text, state::text, processed, changes_left, body
        FROM webhook_log LEFT JOIN webhook_bodies USING (id, received_at)
        """
    )
    changes = await conn.fetch(
        """
        SELECT id, webhook_id, received_at, field, event, waba_id, phone_number_id, organization_id,
               state::text, content,
               ARRAY(SELECT hash FROM change_people WHERE change_id = webhook_changes.id
                     UNION ALL SELECT subject_hash WHERE subject_hash IS NOT NULL) AS people
        FROM webhook_changes ORDER BY id
        """
    )
    return Stored(
        [
            StoredWebhook(**{**row, "body": _open(ring, "webhook_bodies", row, "body")})
            for row in webhooks
        ],
        [
            StoredChange(**{**row, "content": _open(ring, "webhook_changes", row, "content")})
            for row in changes
        ],
        await conn.fetch("SELECT * FROM dead_letters WHERE kind <> 'message'"),
        await conn.fetch("SELECT * FROM events"),
        await conn.fetch("SELECT * FROM whatsapp_connections"),
        await conn.fetch("SELECT * FROM connection_eras ORDER BY began_at, ended_at"),
        await conn.fetch("SELECT * FROM connection_facts"),
        await conn.fetch("SELECT * FROM phone_numbers"),
        await conn.fetch("SELECT * FROM follow_ups"),
    )


def _open(ring: KeyRing, table: str, row: Row, column: str) -> Opened:
    if row[column] is None:
        return Opened(None)
    try:
        return Opened(ring.open(row[column], associated_data(table, row["id"].bytes, column)))
    except Undecryptable:
        return Opened(None, is_unopenable=True)
