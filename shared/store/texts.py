"""Read everything that was received in a period, whatever it is and wherever it is stored."""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from shared.crypto import KeyRing, Undecryptable, associated_data
from shared.store.pool import Conn

#: The limits of a batch of webhooks, and of the texts that are in memory at once.
MAX_BATCH = 200
MAX_IN_MEMORY = 10
#: The kind of a whole body; a change's kind is its field.
WHOLE_WEBHOOK = "(whole webhook)"


class Received(NamedTuple):
    at: datetime
    id: UUID


class StoredText(NamedTuple):
    """A change's content, or a webhook's body. `text` is None if no key of the ring opens it."""

    kind: str
    received_at: datetime
    text: bytes | None


async def next_webhooks(conn: Conn, after: Received, until: datetime) -> Sequence[Received]:
    """Return the next webhooks that were received before `until`, the oldest first."""
    records = await conn.fetch(
        f"""
        SELECT received_at AS at, id FROM webhook_log
        WHERE received_at < $3 AND (received_at, id) > ($1, $2)
        ORDER BY received_at, id LIMIT {MAX_BATCH}
        """,
        *after,
        until,
    )
    return [Received(**record) for record in records]


async def texts_of(
    conn: Conn, ring: KeyRing, webhooks: Sequence[Received]
) -> AsyncIterator[StoredText]:
    """Yield the bodies of webhooks and the contents of their changes that are still stored."""
    rows = conn.cursor(
        """
        SELECT coalesce(field, 'unknown') AS kind, received_at, id, content AS envelope,
               'webhook_changes' AS bound_to, 'content' AS bound_as
        FROM webhook_changes WHERE webhook_id = ANY($1) AND content IS NOT NULL
        UNION ALL
        SELECT $4, received_at, id, body, 'webhook_bodies', 'body'
        FROM webhook_bodies WHERE id = ANY($1) AND received_at BETWEEN $2 AND $3
        UNION ALL
        SELECT $4, received_at, id, body, 'webhook_bodies', 'body'
        FROM unsettled_bodies WHERE id = ANY($1)
        """,
        [webhook.id for webhook in webhooks],
        webhooks[0].at,
        webhooks[-1].at,
        WHOLE_WEBHOOK,
        prefetch=MAX_IN_MEMORY,
    )
    async for row in rows:
        binding = associated_data(row["bound_to"], row["id"].bytes, row["bound_as"])
        try:
            text = ring.open(row["envelope"], binding)
        except Undecryptable:
            text = None
        yield StoredText(row["kind"], row["received_at"], text)
