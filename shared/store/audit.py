"""The audit log: who did what to which subject, when and why. Rows are only added."""

from collections.abc import Collection
from dataclasses import dataclass

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
