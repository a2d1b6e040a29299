"""What people and programs may request of a connection that exists."""

from shared.actions.errors import Missing, NotAllowed, WrongState
from shared.crypto import KeyRing
from shared.domain.facts import LIVE
from shared.store.connections import connections, follow_ups, tokens, views
from shared.store.connections.views import ConnectionView
from shared.store.pool import Conn


async def find_connection(
    conn: Conn, waba_id: str, *, organization_id: str | None
) -> ConnectionView:
    """Return the organization's connection (None: any organization's). Raise Missing."""
    view = await views.connection(conn, waba_id, organization_id=organization_id)
    if view is None or view.organization_id is None:
        raise Missing("no_such_connection", "There is no such connection.")
    return view


async def find_proven(conn: Conn, waba_id: str, *, organization_id: str | None) -> ConnectionView:
    """Return the connection, locked, if its owner is not provisional. Raise Missing or NotAllowed.

    It is locked before it is read: else another organization's proof may come in between.
    """
    await connections.lock(conn, [waba_id])
    view = await find_connection(conn, waba_id, organization_id=organization_id)
    if view.is_provisional:
        raise NotAllowed(
            "proof_needed", "No proof that it is this organization's stands: connect it."
        )
    return view


async def request_provisioning(conn: Conn, view: ConnectionView) -> None:
    """Request that the connection be set up again. Idempotent. Raise WrongState if it is down."""
    if view.state not in LIVE:
        raise WrongState("not_live", f"It is {view.state}: its customer must connect again.")
    await follow_ups.add(conn, "provision", [view.waba_id])


async def set_pin(
    conn: Conn, ring: KeyRing, view: ConnectionView, phone_number_id: str, pin: str
) -> None:
    """Store a number's two-step verification PIN, and request provisioning. Raise Missing."""
    if not await tokens.set_pin(conn, ring, view.waba_id, phone_number_id, pin):
        raise Missing("no_such_number", "This connection has no such number.")
    await follow_ups.add(conn, "provision", [view.waba_id])
