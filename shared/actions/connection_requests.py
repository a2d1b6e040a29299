"""What people and programs may request of a connection that exists."""

from shared.actions.errors import Missing, NotAllowed, WrongState
from shared.crypto import KeyRing, Undecryptable
from shared.domain.facts import LIVE
from shared.store import audit
from shared.store.audit import Requester
from shared.store.connections import connections, follow_ups, numbers, tokens, views
from shared.store.connections.views import ConnectionView
from shared.store.pool import Conn, now


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


async def request_provisioning(conn: Conn, view: ConnectionView, requester: Requester) -> None:
    """Request that the connection be set up again. Write an audit record. Idempotent.

    Raise WrongState if it is down.
    """
    _require_live(view)
    await audit.add(conn, requester, action="connection.provision", subject=view.waba_id)
    await numbers.forget_failures(conn, view.waba_id)
    await follow_ups.add(conn, "provision", [view.waba_id])


async def take_token(conn: Conn, ring: KeyRing, view: ConnectionView, requester: Requester) -> str:
    """Return the text of the connection's token, and write an audit record.

    Raise WrongState if there is none that works.
    """
    try:
        token = await tokens.read(conn, ring, view.waba_id)
    except Undecryptable:
        token = None
    if token is None or view.token_state not in ("valid", "expiring"):
        raise WrongState(
            "no_token", "There is no token that works: its customer must connect again."
        )
    await audit.add(conn, requester, action="connection.token", subject=view.waba_id)
    return token.text


async def request_registration(
    conn: Conn, view: ConnectionView, phone_number_id: str, requester: Requester
) -> None:
    """Request that this number be registered too, though the customer's login did not name it; or
    once more without a PIN, because two-step verification was turned off.

    Write an audit record. Idempotent. Raise Missing, or WrongState if the connection is down.
    """
    _require_live(view)
    if not await numbers.ask_for(conn, view.waba_id, phone_number_id, with_pin=False):
        raise Missing("no_such_number", "This connection has no such number.")
    subject = f"{view.waba_id}, number {phone_number_id}"
    await audit.add(conn, requester, action="connection.register", subject=subject)
    await follow_ups.add(conn, "provision", [view.waba_id])


async def set_pin(
    conn: Conn,
    ring: KeyRing,
    view: ConnectionView,
    phone_number_id: str,
    pin: str,
    requester: Requester,
) -> None:
    """Store the two-step verification PIN of the number, and request provisioning.

    Write an audit record. Raise Missing if the connection has no such number, and WrongState while
    Meta would refuse its PIN, or three were wrong in 72 hours.
    """
    known = {each.phone_number_id: each for each in await numbers.current(conn, view.waba_id)}
    number = known.get(phone_number_id)
    if number is None:
        raise Missing("no_such_number", "This connection has no such number.")
    if (until := number.pin_refused_until(await now(conn))) is not None:
        raise WrongState(
            "pin_refused", f"Meta takes no PIN of this number before {until:%Y-%m-%d %H:%M} UTC."
        )
    await tokens.set_pin(conn, ring, view.waba_id, phone_number_id, pin)
    await numbers.ask_for(conn, view.waba_id, phone_number_id)
    subject = f"{view.waba_id}, number {phone_number_id}"
    await audit.add(conn, requester, action="connection.pin", subject=subject)
    await follow_ups.add(conn, "provision", [view.waba_id])


def _require_live(view: ConnectionView) -> None:
    if view.state not in LIVE:
        raise WrongState("not_live", f"It is {view.state}: its customer must connect again.")
