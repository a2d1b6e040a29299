"""Disconnecting a connection from our side, and what is left behind at Meta."""

from collections.abc import Awaitable
from datetime import UTC, datetime

from shared.actions.means import Means, Outcome, Settled
from shared.actions.settling import learn
from shared.crash import crash_point
from shared.domain.facts import Fact
from shared.domain.graph_errors import CustomerMustAct, MetaRefused
from shared.store import audit, connections, follow_ups, numbers, onboardings, tokens
from shared.store.follow_ups import FollowUp
from shared.store.pool import Connection, transaction

#: Only the customer can take our app out of their business (App installation, 2025).
APP = "the app stays installed in the customer's business until they remove it"


async def ask(connection: Connection, waba_id: str, *, actor: str, reason: str) -> None:
    """Have it disconnected, whatever Meta says to it; audited. Idempotent."""
    await audit.add(
        connection, actor=actor, action="connection.disconnect", subject=waba_id, reason=reason
    )
    await follow_ups.add(connection, "disconnect", [waba_id])


async def disconnect(means: Means, one: FollowUp) -> Outcome:
    """Deregister its numbers where allowed, unsubscribe (which clears a callback override), then
    forget the token. What Meta refuses is left behind and said."""
    async with transaction(means.pool) as connection:
        token = await tokens.read(connection, means.ring, one.subject)
        known = await numbers.current(connection, one.subject)
        is_coexistence = await connections.is_coexistence(connection, one.subject)
    left = [APP]
    for number in known:
        if number.is_coexistence or is_coexistence:
            left.append(
                f"number {number.phone_number_id} stays linked to the WhatsApp Business app"
            )
        elif number.is_registered:
            what = f"number {number.phone_number_id} stays registered"
            call = (
                means.graph.deregister(one.subject, number.phone_number_id, token.text)
                if token
                else None
            )
            left += await _refused(what, call)
    what = "our subscription to the account's webhooks stays"
    left += await _refused(
        what, means.graph.unsubscribe(one.subject, token.text) if token else None
    )
    crash_point("connection.disconnecting")
    async with transaction(means.pool) as connection:
        [held] = await connections.lock(connection, [one.subject])
        if held.owner is not None:
            await onboardings.withdraw(connection, one.subject, held.owner.organization_id)
        await tokens.drop(connection, one.subject)
        await connections.leave_behind(connection, one.subject, left)
        await learn(connection, one.subject, [Fact("app", "disconnected_by_us", datetime.now(UTC))])
        await follow_ups.hold(connection, one)
        await follow_ups.end(connection, one)
    return Settled("disconnected")


async def _refused(what: str, call: Awaitable[None] | None) -> list[str]:
    """`what` is left behind where there is no token to call with, or Meta refuses for good."""
    if call is None:
        return [what]
    try:
        await call
    except (MetaRefused, CustomerMustAct):
        return [what]
    return []
