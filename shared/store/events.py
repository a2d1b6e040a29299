"""Events: what the company's backend is told, each kept until the broker has it."""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from uuid_utils.compat import uuid7

from shared.crypto import KeyRing
from shared.messages import Event
from shared.store.connections.connections import ConnectionRow
from shared.store.connections.onboardings import Onboarding
from shared.store.intake import changes
from shared.store.pool import Conn

#: How long a claim holds; far past what publishing a batch may take.
LEASE = timedelta(seconds=30)
#: A claim's bounds; the last event may go past the second, by the 3 MB Meta sends at most.
MAX_LEASED = 200
MAX_BYTES = 4_000_000


@dataclass(frozen=True, slots=True)
class Transition:
    """A connection got here; `organization_id` is the one that may know."""

    type: str
    organization_id: str
    held: ConnectionRow


async def add(conn: Conn, transitions: Sequence[Transition]) -> None:
    """In the transaction that decides them."""
    await conn.execute(
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


def _data(held: ConnectionRow) -> dict[str, str | None]:
    return {
        "state": held.status.state,
        "reason": held.status.reason,
        "attribution": held.why,
        "owner_business_id": held.owner_business_id,
    }


async def add_for_onboarding(
    conn: Conn,
    outcome: str,
    one: Onboarding,
    *,
    waba_id: str | None,
    reason: str | None,
) -> None:
    """`onboarding.OUTCOME`, in the transaction that decides it."""
    data = {"tracking_code": one.tracking_code, "reason": reason}
    await conn.execute(
        """
        INSERT INTO events (id, type, organization_id, waba_id, data)
        VALUES ($1, $2, $3, $4, $5::jsonb)
        """,
        uuid7(),
        f"onboarding.{outcome}",
        one.organization_id,
        waba_id,
        json.dumps(data),
    )


async def add_for_changes(conn: Conn, change_ids: Collection[UUID]) -> None:
    """One for each of these changes, which are processed and owned, under the change's own id."""
    await conn.execute(
        """
        INSERT INTO events (id, type, organization_id, waba_id)
        SELECT id, 'change.' || coalesce(field, 'unknown'), organization_id, waba_id
        FROM webhook_changes WHERE id = ANY($1)
        """,
        list(change_ids),
    )


@dataclass(frozen=True, slots=True)
class LeasedEvent:
    """An event to be published, its change's content still sealed."""

    id: UUID
    type: str
    occurred_at: datetime
    organization_id: str
    waba_id: str | None
    revision: int | None
    webhook_id: UUID | None
    data: str | None
    content: bytes | None


async def lease(conn: Conn) -> list[LeasedEvent]:
    """Events that are due and nobody published, leased to the caller; to be committed at once.

    The longest due come first.
    """
    records = await conn.fetch(
        """
        WITH locked AS (
            SELECT id, due_at FROM events WHERE published_at IS NULL AND due_at <= now()
            ORDER BY due_at, id LIMIT $2 FOR UPDATE SKIP LOCKED
        ), sized AS (
            SELECT id, sum(coalesce(octet_length(content), 0)) OVER (
                ORDER BY due_at, id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
            ) AS bytes_before
            FROM locked LEFT JOIN webhook_changes USING (id)
        ), claimed AS (
            UPDATE events SET due_at = now() + $1 FROM sized
            WHERE events.id = sized.id AND coalesce(bytes_before, 0) < $3
            RETURNING events.*
        )
        SELECT claimed.id, claimed.type,
               coalesce(webhook_changes.received_at, claimed.created_at) AS occurred_at,
               claimed.organization_id, claimed.waba_id, claimed.revision,
               webhook_changes.webhook_id, claimed.data, webhook_changes.content
        FROM claimed LEFT JOIN webhook_changes
            ON webhook_changes.id = claimed.id AND claimed.data IS NULL
        ORDER BY claimed.created_at, claimed.id
        """,
        LEASE,
        MAX_LEASED,
        MAX_BYTES,
    )
    return [LeasedEvent(*record) for record in records]


def unseal(due: LeasedEvent, ring: KeyRing) -> Event:
    """Raises Undecryptable."""
    data = None if due.data is None else due.data.encode()
    if due.content is not None:
        data = changes.open_content(ring, due.id, due.content)
    return Event(
        id=due.id,
        type=due.type,
        occurred_at=due.occurred_at,
        organization_id=due.organization_id,
        waba_id=due.waba_id,
        revision=due.revision,
        webhook_id=due.webhook_id,
        data=data,
    )


async def mark_published(conn: Conn, ids: Collection[UUID], *, unrouted: Collection[UUID]) -> None:
    """The broker has these; of them it had nobody to give `unrouted` to."""
    await conn.execute(
        """
        UPDATE events SET published_at = now(), is_unrouted = id = ANY($2) WHERE id = ANY($1)
        """,
        list(ids),
        list(unrouted),
    )


async def put_off(conn: Conn, ids: Collection[UUID], by: timedelta) -> None:
    """Not published after all: due again after that, behind what is due by then."""
    await conn.execute(
        "UPDATE events SET due_at = now() + $2 WHERE id = ANY($1) AND published_at IS NULL",
        list(ids),
        by,
    )


@dataclass(frozen=True, slots=True)
class EventReplay:
    """Published events of a time, or those of them nobody was bound for, `rate` a second."""

    since: datetime
    until: datetime
    only_unrouted: bool
    rate: int


async def replay(
    conn: Conn, again: EventReplay, *, done: int, after: UUID, limit: int
) -> list[UUID]:
    """Have the next events behind `after`, `done` before them, published under their old ids.

    Which these are; each falls due when the rate has come to it.
    """
    records = await conn.fetch(
        """
        WITH chosen AS (
            SELECT id FROM events
            WHERE created_at >= $1 AND created_at < $2 AND published_at IS NOT NULL
                AND (is_unrouted OR NOT $3) AND id > $4
            ORDER BY id LIMIT $5 FOR UPDATE
        ), numbered AS (
            SELECT id, $6::bigint + row_number() OVER (ORDER BY id) AS number FROM chosen
        ), again AS (
            UPDATE events SET published_at = NULL,
                due_at = now() + numbered.number * interval '1 second' / $7::integer
            FROM numbered WHERE events.id = numbered.id
        )
        SELECT id FROM numbered ORDER BY id
        """,
        again.since,
        again.until,
        again.only_unrouted,
        after,
        limit,
        done,
        again.rate,
    )
    return [record["id"] for record in records]
