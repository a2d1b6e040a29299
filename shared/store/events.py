"""Events: what the company's backend receives. Each is stored until RabbitMQ confirms it."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from uuid_utils.compat import uuid7

from shared.crypto import KeyRing
from shared.domain.splitting import UNMATCHED_CONTACTS
from shared.messages import Event
from shared.store.connections import tracking_codes
from shared.store.connections.connections import ConnectionRow
from shared.store.connections.onboardings import Onboarding
from shared.store.intake import changes
from shared.store.pool import Conn

#: How long a lease is valid: much longer than publishing a batch may take.
LEASE = timedelta(seconds=30)
#: How much is leased together. The last event may exceed MAX_BYTES, by at most the 3 MB that a
#: webhook of Meta has at most.
MAX_LEASED = 200
MAX_BYTES = 4_000_000


@dataclass(frozen=True, slots=True)
class Transition:
    """A connection reached a new state, or its token or a number did (`details`).

    `organization_id` is the organization the event is for.
    """

    type: str
    organization_id: str
    row: ConnectionRow
    details: Mapping[str, object] = field(default_factory=dict)


async def add(conn: Conn, transitions: Sequence[Transition]) -> None:
    """Add an event for each transition. Call it in the transaction that decides them."""
    await conn.execute(
        """
        INSERT INTO events (id, type, organization_id, waba_id, revision, data)
        SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::bigint[],
                             $6::jsonb[])
        """,
        [uuid7() for _ in transitions],
        [transition.type for transition in transitions],
        [transition.organization_id for transition in transitions],
        [transition.row.waba_id for transition in transitions],
        [transition.row.revision for transition in transitions],
        [json.dumps({**_data(transition.row), **transition.details}) for transition in transitions],
    )


def _data(row: ConnectionRow) -> dict[str, str | None]:
    return {
        "state": row.status.state,
        "reason": row.status.reason,
        "attribution": row.attribution,
        "owner_business_id": row.owner_business_id,
    }


async def add_for_onboarding(
    conn: Conn,
    outcome: str,
    onboarding: Onboarding,
    *,
    waba_id: str | None,
    reason: str | None,
) -> None:
    """Add the event `onboarding.OUTCOME`. Call it in the transaction that decides the outcome."""
    await conn.execute(
        """
        INSERT INTO events (id, type, organization_id, waba_id, data, onboarding_id)
        VALUES ($1, $2, $3, $4, $5::jsonb, $6)
        """,
        uuid7(),
        f"onboarding.{outcome}",
        onboarding.organization_id,
        waba_id,
        json.dumps({"onboarding_id": str(onboarding.id), "reason": reason}),
        onboarding.id,
    )


async def add_for_changes(conn: Conn, change_ids: Collection[UUID]) -> None:
    """Add an event for each of these changes, if it is told. They must be processed and have an
    owner. The event's id is the change's id."""
    await conn.execute(
        """
        INSERT INTO events (id, type, organization_id, waba_id)
        SELECT id, 'change.' || coalesce(field, 'unknown'), organization_id, waba_id
        FROM webhook_changes WHERE id = ANY($1) AND event IS DISTINCT FROM $2
        """,
        list(change_ids),
        UNMATCHED_CONTACTS,
    )


@dataclass(frozen=True, slots=True)
class LeasedEvent:
    """A leased event. Still sealed are `content`, the content of its change, if it has one, and
    `stored_code`, the tracking code of its onboarding, if it has one."""

    id: UUID
    type: str
    occurred_at: datetime
    organization_id: str
    waba_id: str | None
    revision: int | None
    webhook_id: UUID | None
    data: str | None
    content: bytes | None
    onboarding_id: UUID | None
    stored_code: bytes | None


async def lease(
    conn: Conn, *, left_out: Collection[UUID] = (), limit: int | None = None
) -> list[LeasedEvent]:
    """Lease unpublished events that are due, the longest due first. Commit at once.

    Events in `left_out` are not leased, nor more than `limit` events.
    """
    records = await conn.fetch(
        """
        WITH locked AS (
            SELECT id, due_at FROM events WHERE published_at IS NULL AND due_at <= now()
                AND id <> ALL($4)
            ORDER BY due_at, id LIMIT $2 FOR UPDATE SKIP LOCKED
        ), sized AS (
            SELECT id, received_at, webhook_id, content,
                   sum(coalesce(octet_length(content), 0)) OVER (
                       ORDER BY due_at, id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
                   ) AS bytes_before
            FROM locked LEFT JOIN webhook_changes USING (id)
        ), leased AS (
            UPDATE events SET due_at = now() + $1 FROM sized
            WHERE events.id = sized.id AND coalesce(bytes_before, 0) < $3
            RETURNING events.*, sized.received_at, sized.webhook_id, sized.content
        )
        SELECT leased.id, leased.type,
               coalesce(leased.received_at, leased.created_at) AS occurred_at,
               leased.organization_id, leased.waba_id, leased.revision,
               leased.webhook_id, leased.data, leased.content, onboarding_id,
               coalesce(sealed_tracking_code, convert_to(tracking_code, 'UTF8')) AS stored_code
        FROM leased LEFT JOIN whatsapp_onboarding ON whatsapp_onboarding.id = onboarding_id
        ORDER BY leased.created_at, leased.id
        """,
        LEASE,
        limit or MAX_LEASED,
        MAX_BYTES,
        list(left_out),
    )
    return [LeasedEvent(**record) for record in records]


async def first_due(conn: Conn, left_out: Collection[UUID]) -> UUID | None:
    """Lock and return the event that `lease` with limit 1 would lease."""
    found: UUID | None = await conn.fetchval(
        """
        SELECT id FROM events WHERE published_at IS NULL AND due_at <= now() AND id <> ALL($1)
        ORDER BY due_at, id LIMIT 1 FOR UPDATE SKIP LOCKED
        """,
        list(left_out),
    )
    return found


def unseal(event: LeasedEvent, bodies: KeyRing, tokens: KeyRing) -> Event:
    """Return the event with its data opened. May raise Undecryptable."""
    data = None if event.data is None else event.data.encode()
    if event.content is not None:
        data = changes.open_content(bodies, event.id, event.content)
    elif event.onboarding_id is not None and event.stored_code is not None and event.data:
        code = tracking_codes.open_code(tokens, event.onboarding_id, event.stored_code)
        data = json.dumps(json.loads(event.data) | {"tracking_code": code}).encode()
    return Event(
        id=event.id,
        type=event.type,
        occurred_at=event.occurred_at,
        organization_id=event.organization_id,
        waba_id=event.waba_id,
        revision=event.revision,
        webhook_id=event.webhook_id,
        data=data,
    )


async def mark_published(conn: Conn, ids: Collection[UUID], *, unrouted: Collection[UUID]) -> None:
    """Mark events as published: RabbitMQ confirmed them, but had no queue for `unrouted`."""
    await conn.execute(
        """
        UPDATE events SET published_at = now(), is_unrouted = id = ANY($2) WHERE id = ANY($1)
        """,
        list(ids),
        list(unrouted),
    )


async def put_off(conn: Conn, ids: Collection[UUID], by: timedelta) -> None:
    """Make unpublished events due again after `by`, ordered after events that are due before."""
    await conn.execute(
        "UPDATE events SET due_at = now() + $2 WHERE id = ANY($1) AND published_at IS NULL",
        list(ids),
        by,
    )


@dataclass(frozen=True, slots=True)
class EventReplay:
    """A replay of the events created from `since` to before `until`, at `rate` events a second.

    `only_unrouted` limits it to events that RabbitMQ had no queue for.
    """

    since: datetime
    until: datetime
    only_unrouted: bool
    rate: int


async def replay(
    conn: Conn, selection: EventReplay, *, done: int, after: UUID, limit: int
) -> list[UUID]:
    """Make the next published events after `after` due again, under their old ids. Return the ids.

    `done` counts the events of this replay before them. Each event becomes due as `rate` allows.
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
        ), replayed AS (
            UPDATE events SET published_at = NULL,
                due_at = now() + numbered.number * interval '1 second' / $7::integer
            FROM numbered WHERE events.id = numbered.id
        )
        SELECT id FROM numbered ORDER BY id
        """,
        selection.since,
        selection.until,
        selection.only_unrouted,
        after,
        limit,
        done,
        selection.rate,
    )
    return [record["id"] for record in records]
