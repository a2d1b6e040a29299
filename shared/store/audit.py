"""Who did what to whose, when and why: rows that are only ever added."""

from uuid_utils.compat import uuid7

from shared.store.pool import Conn


async def add(conn: Conn, *, actor: str, action: str, subject: str, reason: str) -> None:
    """In the transaction that does it."""
    await conn.execute(
        """
        INSERT INTO audit_log (id, actor, action, subject, reason) VALUES ($1, $2, $3, $4, $5)
        """,
        uuid7(),
        actor,
        action,
        subject,
        reason,
    )
