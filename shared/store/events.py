"""Events: what the company's backend is told, each kept until the broker has it."""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import orjson
from uuid_utils.compat import uuid7

from shared.crypto import KeyRing
from shared.messages import Event
from shared.store import changes
from shared.store.connections import Held
from shared.store.pool import Connection

#: How long a claim holds; far past what publishing a batch may take.
LEASE = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class Transition:
    """A connection got here; `organization_id` is the one that may know."""

    type: str
    organization_id: str
    held: Held


async def add(connection: Connection, transitions: Sequence[Transition]) -> None:
    """In the transaction that decides them."""
    await connection.execute(
        """
        INSERT INTO events (id, type, organization_id, waba_id, revision, data)
        SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::bigint[],
                             $6::jsonb[])
        """,
        [uuid7() for _ in transitions],
        [one.type for one in transitions],
        [one.organization_id for one in transitions],
        [one.held.waba_id for one in transitions],
        [one.held.revision for one in transitions],
        [json.dumps(_data(one.held)) for one in transitions],
    )


def _data(held: Held) -> dict[str, str | None]:
    return {
        "state": held.standing.state,
        "reason": held.standing.reason,
        "attribution": held.why,
        "owner_business_id": held.owner_business_id,
    }


async def add_of_changes(connection: Connection, change_ids: Collection[UUID]) -> None:
    """One for each of these changes, which are processed and owned, under the change's own id."""
    await connection.execute(
        """
        INSERT INTO events (id, type, organization_id, waba_id)
        SELECT id, 'change.' || coalesce(field, 'unknown'), organization_id, waba_id
        FROM webhook_changes WHERE id = ANY($1)
        """,
        list(change_ids),
    )


async def claim(connection: Connection, ring: KeyRing, *, limit: int) -> list[Event]:
    """Events nobody published yet, oldest first, leased to the caller; to be committed at once."""
    records = await connection.fetch(
        """
        WITH claimed AS (
            UPDATE events SET lease_until = now() + $1
            WHERE id IN (
                SELECT id FROM events WHERE published_at IS NULL AND lease_until < now()
                ORDER BY created_at, id LIMIT $2 FOR UPDATE SKIP LOCKED
            )
            RETURNING *
        )
        SELECT claimed.id, claimed.type, claimed.organization_id, claimed.waba_id,
               claimed.revision, claimed.data,
               coalesce(webhook_changes.received_at, claimed.created_at) AS occurred_at,
               webhook_changes.webhook_id, webhook_changes.content
        FROM claimed LEFT JOIN webhook_changes
            ON webhook_changes.id = claimed.id AND claimed.data IS NULL
        ORDER BY claimed.created_at, claimed.id
        """,
        LEASE,
        limit,
    )
    return [
        Event(
            id=record["id"],
            type=record["type"],
            occurred_at=record["occurred_at"],
            organization_id=record["organization_id"],
            waba_id=record["waba_id"],
            revision=record["revision"],
            webhook_id=record["webhook_id"],
            data=_opened(record, ring),
        )
        for record in records
    ]


def _opened(record: Any, ring: KeyRing) -> Any:
    if record["data"] is not None:
        return json.loads(record["data"])
    if record["content"] is None:
        return None
    return orjson.loads(changes.open_content(ring, record["id"], record["content"]))


async def mark_published(
    connection: Connection, ids: Collection[UUID], *, unrouted: Collection[UUID]
) -> None:
    """The broker has these; of them it had nobody to give `unrouted` to."""
    await connection.execute(
        """
        UPDATE events SET published_at = now(), is_unrouted = id = ANY($2) WHERE id = ANY($1)
        """,
        list(ids),
        list(unrouted),
    )


async def release(connection: Connection, ids: Collection[UUID]) -> None:
    """Not published after all."""
    await connection.execute(
        "UPDATE events SET lease_until = '-infinity' WHERE id = ANY($1) AND published_at IS NULL",
        list(ids),
    )


async def replay(
    connection: Connection,
    since: datetime,
    until: datetime,
    *,
    only_unrouted: bool,
    after: UUID,
    limit: int,
) -> list[UUID]:
    """Have events of that time, behind `after`, published once more under their old ids; which."""
    records = await connection.fetch(
        """
        WITH chosen AS (
            SELECT id FROM events
            WHERE created_at >= $1 AND created_at < $2 AND published_at IS NOT NULL
                AND (is_unrouted OR NOT $3) AND id > $4
            ORDER BY id LIMIT $5 FOR UPDATE
        ), again AS (
            UPDATE events SET published_at = NULL, lease_until = '-infinity'
            FROM chosen WHERE events.id = chosen.id
        )
        SELECT id FROM chosen ORDER BY id
        """,
        since,
        until,
        only_unrouted,
        after,
        limit,
    )
    return [record["id"] for record in records]
