"""Request that a connection be disconnected from our side."""

from shared.domain.remedies import BY_US
from shared.store import audit
from shared.store.connections import connections, follow_ups
from shared.store.pool import Conn


async def request(conn: Conn, waba_id: str, *, actor: str, reason: str) -> None:
    """Request that the connection be disconnected, and write an audit record. Idempotent.

    Other open follow-ups of the connection are closed. What Meta refuses does not stop the
    disconnection. A proof that arrives before it is done cancels it.
    """
    rows = await connections.lock(conn, [waba_id])
    if any(row.status.reason == BY_US for row in rows):
        return
    if not await follow_ups.is_open(conn, "disconnect", waba_id):
        await audit.add(
            conn, actor=actor, action="connection.disconnect", subject=waba_id, reason=reason
        )
        await connections.clear_left_behind(conn, waba_id)
        await follow_ups.close(conn, ["provision", "read"], waba_id)
    await follow_ups.add(conn, "disconnect", [waba_id])
