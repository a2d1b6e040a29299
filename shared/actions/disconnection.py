"""Request that a connection be disconnected from our side."""

from shared.actions import ownership
from shared.actions.connection_requests import find_connection
from shared.actions.connection_state import recompute
from shared.actions.errors import NotAllowed
from shared.store import audit
from shared.store.audit import Requester
from shared.store.connections import connections, eras, follow_ups
from shared.store.pool import Conn


async def request(
    conn: Conn, waba_id: str, *, organization_id: str | None, requester: Requester
) -> None:
    """End the organization's ownership (None: any organization's), and request that Meta be told.

    Write an audit record. Raise Missing or NotAllowed. Idempotent. What Meta refuses does not stop
    the disconnection. A proof or claim that arrives before it is done cancels it.
    """
    rows = await connections.lock(conn, [waba_id])
    await find_connection(conn, waba_id, organization_id=organization_id)
    era = (await eras.latest(conn, [waba_id])).get(waba_id)
    if era is None or (not era.is_open and era.end_reason != "disconnected"):
        raise NotAllowed(
            "proof_needed", "No organization has proven or claimed it: there is nothing to end."
        )
    if era.is_open:
        await audit.add(conn, requester, action="connection.disconnect", subject=waba_id)
        await connections.clear_left_behind(conn, waba_id)
        await ownership.close(conn, rows[0], era, "disconnected")
        await recompute(conn, rows)
    elif not await follow_ups.is_open(conn, "disconnect", waba_id):
        return
    await follow_ups.add(conn, "disconnect", [waba_id])
