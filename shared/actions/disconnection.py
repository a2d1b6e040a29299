"""Disconnecting a connection from our side, a call at a time, and what is left behind at Meta."""

from collections.abc import Awaitable, Sequence
from datetime import UTC, datetime

from shared.actions.connection_state import record_facts
from shared.actions.follow_up_context import FollowUpContext, StepDone, StepOutcome
from shared.domain.facts import Fact
from shared.domain.graph_errors import CustomerMustAct, MetaRefused
from shared.domain.provisioning import Step
from shared.process.crash_points import crash_point
from shared.store import audit
from shared.store.connections import connections, follow_ups, numbers, proofs, tokens
from shared.store.connections.follow_ups import FollowUp
from shared.store.pool import Conn, transaction

#: Only the customer can take our app out of their business (App installation, 2025).
APP = "the app stays installed in the customer's business until they remove it"
SUBSCRIPTION = "our subscription to the account's webhooks stays"
UNSUBSCRIBE = Step("unsubscribe")
#: The reason of a connection that we disconnected.
BY_US = "disconnected_by_us"


async def ask(conn: Conn, waba_id: str, *, actor: str, reason: str) -> None:
    """Have it disconnected, whatever Meta says to it, and nothing else done to it; audited.

    Idempotent. A proof that comes before it is done takes it back.
    """
    held = await connections.lock(conn, [waba_id])
    if any(one.status.reason == BY_US for one in held):
        return
    if not await follow_ups.is_open(conn, "disconnect", waba_id):
        await audit.add(
            conn, actor=actor, action="connection.disconnect", subject=waba_id, reason=reason
        )
        await connections.clear_left_behind(conn, waba_id)
        await follow_ups.close(conn, ["provision", "read"], waba_id)
    await follow_ups.add(conn, "disconnect", [waba_id])


async def disconnect(context: FollowUpContext, one: FollowUp) -> StepOutcome:
    """The next call: deregister a number where allowed, then unsubscribe (which clears a callback
    override); at last forget the token. What Meta refuses is left behind and said."""
    async with transaction(context.pool) as conn:
        token = await tokens.read(conn, context.ring, one.subject)
        known = await numbers.current(conn, one.subject)
        is_coexistence = await connections.is_coexistence(conn, one.subject)
        done = await follow_ups.done_steps(conn, one, proven_at=datetime.now(UTC))
        perhaps = await follow_ups.half_registered(conn, one.subject)
    linked = [number for number in known if is_coexistence or number.is_coexistence]
    left = [f"number {n.phone_number_id} stays linked to the WhatsApp Business app" for n in linked]
    if token is None:
        return await _end(context, one, [APP, *left, SUBSCRIPTION])
    for number in known:
        step = Step("deregister", number.phone_number_id)
        is_registered = number.is_registered or number.phone_number_id in perhaps
        if is_registered and number not in linked and step not in done:
            call = context.graph.deregister(one.subject, number.phone_number_id, token.text)
            kept = f"number {number.phone_number_id} stays registered"
            return await _take(context, one, step, call, or_else=kept)
    if UNSUBSCRIBE not in done:
        call = context.graph.unsubscribe(one.subject, token.text)
        return await _take(context, one, UNSUBSCRIBE, call, or_else=SUBSCRIPTION)
    return await _end(context, one, [APP, *left])


async def _take(
    context: FollowUpContext, one: FollowUp, step: Step, call: Awaitable[None], *, or_else: str
) -> StepOutcome:
    """Make the call; `or_else` is left behind where Meta refuses it for good."""
    left = []
    try:
        await call
    except (MetaRefused, CustomerMustAct) as error:
        if error.reason != "never_registered":
            left = [or_else]
    crash_point("connection.disconnecting")
    async with transaction(context.pool) as conn:
        await connections.lock(conn, [one.subject])
        await follow_ups.fence(conn, one)
        if step.name == "deregister" and not left:
            await numbers.mark_registered(
                conn, one.subject, step.phone_number_id, is_registered=False
            )
        await connections.add_left_behind(conn, one.subject, left)
        await follow_ups.begin_step(conn, one, step)
        await follow_ups.end_step(conn, one, step)
        await follow_ups.advance(conn, one)
    return StepDone(step.name)


async def _end(context: FollowUpContext, one: FollowUp, left: Sequence[str]) -> StepOutcome:
    async with transaction(context.pool) as conn:
        [held] = await connections.lock(conn, [one.subject])
        if held.owner is not None:
            await proofs.withdraw(conn, one.subject, held.owner.organization_id)
            await connections.withdraw(conn, one.subject)
        await tokens.delete(conn, one.subject)
        await connections.add_left_behind(conn, one.subject, left)
        await record_facts(conn, one.subject, [Fact("app", BY_US, datetime.now(UTC))])
        await follow_ups.fence(conn, one)
        await follow_ups.end(conn, one)
    return StepDone("disconnected")
