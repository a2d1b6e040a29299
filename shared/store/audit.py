"""The audit log: who did what to which subject, when and why. Rows are only added."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from uuid_utils.compat import uuid7

from shared.store.pool import Conn


@dataclass(frozen=True, slots=True)
class Requester:
    """Who requests a change, and why.

    `actor` is the API key or the person that is signed in. `on_behalf_of` is whom the actor names
    as the person it acts for: we cannot check it.
    """

    actor: str
    reason: str
    on_behalf_of: str | None = None


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """What was done, and by whom."""

    id: UUID
    at: datetime
    actor: str
    on_behalf_of: str | None
    action: str
    subject: str
    reason: str


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which records are meant; None: all. `subject` and `actor` are parts of what is written there,
    `actor` also of `on_behalf_of`."""

    subject: str | None = None
    actor: str | None = None
    action: str | None = None
    since: datetime | None = None
    until: datetime | None = None


async def add(conn: Conn, requester: Requester, *, action: str, subject: str) -> None:
    """Add a row. Call it in the transaction that does the action."""
    await add_each(conn, requester, action=action, subjects=[subject])


async def add_each(
    conn: Conn, requester: Requester, *, action: str, subjects: Collection[str]
) -> None:
    """Add a row for each subject, likewise."""
    await conn.execute(
        """
        INSERT INTO audit_log (id, actor, on_behalf_of, action, subject, reason)
        SELECT id, $2, $3, $4, subject, $6
        FROM unnest($1::uuid[], $5::text[]) AS row (id, subject)
        """,
        [uuid7() for _ in subjects],
        requester.actor,
        requester.on_behalf_of,
        action,
        list(subjects),
        requester.reason,
    )


async def listed(
    conn: Conn, chosen: AuditFilter, *, before: UUID | None, limit: int
) -> list[AuditRecord]:
    """Return the records, the newest first; `before` the one with that id."""
    records = await conn.fetch(
        """
        SELECT id, at, actor, on_behalf_of, action, subject, reason FROM audit_log
        WHERE ($1::text IS NULL OR strpos(subject, $1) > 0)
            AND ($2::text IS NULL OR strpos(actor, $2) > 0 OR strpos(on_behalf_of, $2) > 0)
            AND ($3::text IS NULL OR action = $3)
            AND ($4::timestamptz IS NULL OR at >= $4) AND ($5::timestamptz IS NULL OR at < $5)
            AND ($6::uuid IS NULL OR id < $6)
        ORDER BY id DESC LIMIT $7
        """,
        chosen.subject,
        chosen.actor,
        chosen.action,
        chosen.since,
        chosen.until,
        before,
        limit,
    )
    return [AuditRecord(**record) for record in records]
