"""The audit log: who did what to which subject, when and why. Rows are only added."""

from uuid_utils.compat import uuid7

from shared.store.pool import Conn


async def add(conn: Conn, *, actor: str, action: str, subject: str, reason: str) -> None:
    """Add a row. Call it in the transaction that does the action."""
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
