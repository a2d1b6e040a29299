"""What became of a webhook and of each of its changes, for people who look."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from shared.store.pool import Conn


@dataclass(frozen=True, slots=True)
class WebhookOutcome:
    """What became of a webhook. `letter_id` is its open dead letter."""

    id: UUID
    received_at: datetime
    kind: str
    lane: str
    stored_via: str
    state: str
    processed: bool
    changes_left: int
    attempts: int
    last_error: str | None
    letter_id: UUID | None


@dataclass(frozen=True, slots=True)
class ChangeOutcome:
    """What became of a change. `letter_id` is its open dead letter. It has an event once it is
    processed and has an owner: `published_at` and `is_unrouted` are the event's."""

    id: UUID
    field: str | None
    event: str | None
    waba_id: str | None
    organization_id: str | None
    state: str
    attempts: int
    next_attempt_at: datetime | None
    last_error: str | None
    letter_id: UUID | None
    has_event: bool
    published_at: datetime | None
    is_unrouted: bool | None


async def find(conn: Conn, id_: UUID) -> WebhookOutcome | None:
    """Return the webhook with this id, or of the change with this id."""
    record = await conn.fetchrow(
        """
        SELECT log.id, received_at, log.kind, lane, stored_via, state, processed, changes_left,
               log.attempts, last_error, letter.id AS letter_id
        FROM webhook_log AS log LEFT JOIN dead_letters AS letter
            ON letter.subject_id = log.id AND closed_at IS NULL
        WHERE log.id = coalesce((SELECT webhook_id FROM webhook_changes WHERE id = $1), $1)
        """,
        id_,
    )
    return None if record is None else WebhookOutcome(**record)


async def changes_of(
    conn: Conn, webhook_id: UUID, *, only: UUID | None, limit: int
) -> list[ChangeOutcome]:
    """Return the webhook's changes; with `only`, no other than this one."""
    records = await conn.fetch(
        """
        SELECT change.id, field, event, change.waba_id, change.organization_id, state,
               change.attempts, next_attempt_at, last_error, letter.id AS letter_id,
               events.id IS NOT NULL AS has_event, published_at, is_unrouted
        FROM webhook_changes AS change
            LEFT JOIN dead_letters AS letter
                ON letter.subject_id = change.id AND closed_at IS NULL
            LEFT JOIN events ON events.id = change.id
        WHERE change.webhook_id = $1 AND ($2::uuid IS NULL OR change.id = $2)
        ORDER BY change.id LIMIT $3
        """,
        webhook_id,
        only,
        limit,
    )
    return [ChangeOutcome(**record) for record in records]
