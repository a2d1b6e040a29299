"""Disconnect a connection from our side, one call at a time, and record what stays at Meta."""

from collections.abc import Awaitable, Sequence

from services.processor.follow_ups.context import FollowUpContext, StepDone, StepOutcome
from services.processor.follow_ups.fence import fenced
from shared.actions.connection_state import record_facts
from shared.crypto import Undecryptable
from shared.domain.facts import Fact, whole_second
from shared.domain.graph_errors import CustomerMustAct, MetaRefused
from shared.domain.numbers import app_numbers
from shared.domain.provisioning import Step
from shared.domain.remedies import BY_US
from shared.process.crash_points import crash_point
from shared.store.connections import connections, follow_ups, numbers, provision_steps, tokens
from shared.store.connections.follow_ups import FollowUp
from shared.store.pool import now

#: Only the customer can remove our app from their business (App installation, 2025).
APP_STAYS = "the app stays installed in the customer's business until they remove it"
SUBSCRIPTION_STAYS = "our subscription to the account's webhooks stays"
UNSUBSCRIBE = Step("unsubscribe")


async def disconnect(context: FollowUpContext, follow_up: FollowUp) -> StepOutcome:
    """Make the next call of a `disconnect` follow-up.

    First deregister each number where that is allowed, then unsubscribe (this also clears a
    callback override), at last delete the token. What Meta refuses is recorded as left behind.
    """
    async with fenced(context.pool, follow_up) as (conn, _):
        try:
            token = await tokens.read(conn, context.ring, follow_up.subject)
        except Undecryptable:
            token = None
        all_numbers = await numbers.current(conn, follow_up.subject)
        login = await connections.login(conn, follow_up.subject)
        done = await provision_steps.done(conn, follow_up, proven_at=await now(conn))
        maybe_registered = await provision_steps.half_registered(conn, follow_up.subject)
    on_app = app_numbers(all_numbers, login)
    linked = [number for number in all_numbers if number.phone_number_id in on_app]
    left = [f"number {n.phone_number_id} stays linked to the WhatsApp Business app" for n in linked]
    if token is None:
        return await _finish(context, follow_up, [APP_STAYS, *left, SUBSCRIPTION_STAYS])
    for number in all_numbers:
        step = Step("deregister", number.phone_number_id)
        is_registered = number.is_registered or number.phone_number_id in maybe_registered
        if is_registered and number not in linked and step not in done:
            call = context.graph.deregister(follow_up.subject, number.phone_number_id, token.text)
            registration_stays = f"number {number.phone_number_id} stays registered"
            return await _make_call(context, follow_up, step, call, or_else=registration_stays)
    if UNSUBSCRIBE not in done:
        call = context.graph.unsubscribe(follow_up.subject, token.text)
        return await _make_call(context, follow_up, UNSUBSCRIBE, call, or_else=SUBSCRIPTION_STAYS)
    return await _finish(context, follow_up, [APP_STAYS, *left])


async def _make_call(
    context: FollowUpContext,
    follow_up: FollowUp,
    step: Step,
    call: Awaitable[None],
    *,
    or_else: str,
) -> StepOutcome:
    """Make the call and record the step. If Meta refuses it for good, `or_else` is left behind."""
    left = []
    try:
        await call
    except (MetaRefused, CustomerMustAct) as error:
        if error.reason != "never_registered":
            left = [or_else]
    crash_point("connection.disconnecting")
    async with fenced(context.pool, follow_up) as (conn, _):
        if step.name == "deregister" and not left:
            await numbers.mark_registered(
                conn, follow_up.subject, step.phone_number_id, is_registered=False
            )
        await connections.add_left_behind(conn, follow_up.subject, left)
        await provision_steps.begin(conn, follow_up, step)
        await provision_steps.end(conn, follow_up, step)
        await follow_ups.advance(conn, follow_up)
    return StepDone(step.name)


async def _finish(
    context: FollowUpContext, follow_up: FollowUp, left: Sequence[str]
) -> StepOutcome:
    async with fenced(context.pool, follow_up) as (conn, row):
        await connections.add_left_behind(conn, follow_up.subject, left)
        await tokens.delete(conn, follow_up.subject)
        await record_facts(conn, row, [Fact("app", BY_US, whole_second(await now(conn)))])
        await follow_ups.end(conn, follow_up)
    return StepDone("disconnected")
