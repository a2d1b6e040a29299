"""Provision a proven WABA until its connection works, one step at a time."""

import secrets
from dataclasses import dataclass
from datetime import datetime

from services.processor.follow_ups.context import FollowUpContext, PutOff, StepDone, StepOutcome
from services.processor.follow_ups.fence import fenced
from shared.actions.connection_state import record_facts
from shared.actions.granted_token import fetch_granted_token
from shared.actions.number_states import tell_states
from shared.domain.facts import COMPLETE, LIVE, Fact
from shared.domain.graph_errors import CustomerMustAct, GraphError, MetaRefused
from shared.domain.numbers import PhoneNumber, after_number_failure, is_about_number
from shared.domain.provisioning import Blocked, Plan, Step, plan, webhooks_arrive
from shared.domain.remedies import Reason
from shared.domain.token_health import TokenState
from shared.graph.client import Graph
from shared.process.crash_points import crash_point
from shared.store.connections import (
    connections,
    eras,
    facts,
    follow_ups,
    numbers,
    provision_steps,
    tokens,
)
from shared.store.connections.connections import ConnectionRow
from shared.store.connections.follow_ups import FollowUp
from shared.store.pool import Conn, now, transaction

#: Meta's first webhook wakes a follow-up that waits for it. In addition the follow-up checks for a
#: webhook itself, at growing intervals between these bounds.
MIN_AWAIT_SECONDS = 5.0
MAX_AWAIT_SECONDS = 600.0
#: Reasons that do not mean that a completed setup is broken.
_REASONS_THAT_KEEP_ACTIVE = frozenset(
    {"meta_unavailable", "failed", "never_finished", "undecryptable"}
)


@dataclass(frozen=True, slots=True)
class ProvisioningState:
    """What the next step depends on."""

    connection: ConnectionRow
    token: tokens.StoredToken | None
    plan: Plan
    proven_at: datetime


async def provision(context: FollowUpContext, follow_up: FollowUp) -> StepOutcome:
    """Take the next step of a `provision` follow-up.

    Each step is recorded before it is attempted. After a crash it is done at most once more, which
    Meta tolerates. What fails for one number stops no other.
    """
    async with fenced(context.pool, follow_up) as (conn, row):
        state = await _load_state(conn, context, follow_up, row)
        if state is None or state.connection.status.state not in LIVE:
            await follow_ups.end(conn, follow_up)
            return StepDone("nothing_to_provision")
    if state.token is None:
        return await _fetch_token(context, follow_up, state.connection, "no_token")
    step = state.plan.step
    if step is None:
        return await _rest(context, follow_up, state)
    pin = await _begin_step(context, follow_up, step)
    crash_point("provision.begun")
    try:
        phone_numbers = await _make_call(context, follow_up.subject, step, state, pin)
    except GraphError as error:
        if error.is_token_dead:
            return await _replace_dead_token(context, follow_up, state, error)
        if not step.phone_number_id or not is_about_number(error):
            raise
        return await _record_number_failure(context, follow_up, step, error)
    crash_point("provision.done")
    async with fenced(context.pool, follow_up) as (conn, row):
        if phone_numbers is not None:
            await numbers.save(conn, follow_up.subject, phone_numbers)
        if step.name == "register":
            await numbers.mark_registered(
                conn, follow_up.subject, step.phone_number_id, is_registered=True
            )
        elif step.phone_number_id:
            await numbers.forget_failures(
                conn, follow_up.subject, phone_number_id=step.phone_number_id
            )
        await provision_steps.end(conn, follow_up, step)
        await tell_states(conn, row)
        await follow_ups.advance(conn, follow_up)
    return StepDone(step.name)


async def _load_state(
    conn: Conn, context: FollowUpContext, follow_up: FollowUp, row: ConnectionRow
) -> ProvisioningState | None:
    """Return None if there is nothing to provision: nobody owns the connection, also because a
    disconnect has ended the era, or that is in doubt."""
    waba_id = follow_up.subject
    era = await eras.open_era(conn, waba_id)
    if era is None or era.is_suspended:
        return None
    proven_at, at = era.proven_at, await now(conn)
    heard = (await facts.current(conn, [waba_id]))[waba_id].get("webhook_received")
    token = await tokens.read(conn, context.ring, waba_id)
    next_steps = plan(
        await numbers.current(conn, waba_id),
        await provision_steps.done(conn, follow_up, proven_at=proven_at),
        await connections.login(conn, waba_id),
        webhooks_arrive=webhooks_arrive(heard.at if heard else None, proven_at, at),
        now=at,
    )
    return ProvisioningState(row, token, next_steps, proven_at)


async def _rest(
    context: FollowUpContext,
    follow_up: FollowUp,
    state: ProvisioningState,
) -> StepOutcome:
    """Nothing can be done now. The connection is active if one of its numbers works; the follow-up
    goes on while another waits for something that comes by itself."""
    next_steps = state.plan
    async with fenced(context.pool, follow_up) as (conn, row):
        at = await now(conn)
        # Not if it was taken down since its last step.
        if next_steps.works and row.status.state in LIVE and row.status.state != "active":
            await record_facts(conn, row, [Fact("setup", COMPLETE, at)])
        await tell_states(conn, row)
        if next_steps.waits_for is None and next_steps.reason is None:
            await follow_ups.end(conn, follow_up)
            return StepDone(COMPLETE)
    if next_steps.waits_for is None:
        return Blocked(next_steps.reason or "failed")
    seconds = (at - state.proven_at).total_seconds() / 4
    after = min(max(seconds, MIN_AWAIT_SECONDS), MAX_AWAIT_SECONDS)
    if next_steps.until is not None:
        after = max(1.0, (next_steps.until - at).total_seconds())
    return PutOff(after, next_steps.waits_for, is_counted=False)


async def _record_number_failure(
    context: FollowUpContext, follow_up: FollowUp, step: Step, error: GraphError
) -> StepOutcome:
    """Record the failed step on its number, and go on with the others."""
    waba_id, number_id = follow_up.subject, step.phone_number_id
    async with fenced(context.pool, follow_up) as (conn, row):
        [number] = [
            each
            for each in await numbers.current(conn, waba_id)
            if each.phone_number_id == number_id
        ]
        failure = after_number_failure(number, error, context.retry_seconds, await now(conn))
        await numbers.record_failure(conn, waba_id, number_id, failure)
        await tell_states(conn, row)
        await follow_ups.advance(conn, follow_up)
    return StepDone(f"{step.name}_failed")


async def _begin_step(context: FollowUpContext, follow_up: FollowUp, step: Step) -> str:
    """Record the step. Return the PIN it sets, stored before Meta gets it; "" if it sets none."""
    async with fenced(context.pool, follow_up) as (conn, _):
        await provision_steps.begin(conn, follow_up, step)
        if step.name != "register":
            return ""
        await numbers.begin_register(conn, follow_up.subject, step.phone_number_id)
        new = f"{secrets.randbelow(10**6):06}"
        return await tokens.ensure_pin(
            conn, context.ring, follow_up.subject, step.phone_number_id, new
        )


async def _make_call(
    context: FollowUpContext, waba_id: str, step: Step, state: ProvisioningState, pin: str
) -> list[PhoneNumber] | None:
    """Make the step's call to Meta. Return the WABA's numbers if the step reads them."""
    assert state.token is not None
    graph, token = context.graph, state.token.text
    match step.name:
        case "read_numbers":
            return await graph.read_numbers(waba_id, token)
        case "subscribe":
            if not await graph.is_subscribed(waba_id, token):
                await graph.subscribe(waba_id, token)
        case "register":
            await graph.register(waba_id, step.phone_number_id, pin, token)
        case "sync_contacts" | "sync_history":
            await _sync(graph, waba_id, step, token)
    return None


async def _sync(graph: Graph, waba_id: str, step: Step, token: str) -> None:
    """Request a sync. One that was used before, or that brings nothing any more, counts as done."""
    try:
        await graph.sync(waba_id, step.phone_number_id, step.name, token)
    except MetaRefused as error:
        # An earlier attempt without an answer used the sync, or there is nothing to sync.
        if error.reason not in ("sync_used", "history_declined"):
            raise
    except CustomerMustAct as error:
        # Contacts come first. If only the history is too late, it alone is lost.
        if (step.name, error.reason) != ("sync_history", "sync_late"):
            raise


async def _replace_dead_token(
    context: FollowUpContext, follow_up: FollowUp, state: ProvisioningState, error: GraphError
) -> StepOutcome:
    assert state.token is not None
    token_state: TokenState = "expired" if error.is_token_expired else "revoked"
    async with transaction(context.pool) as conn:
        await connections.lock(conn, [follow_up.subject])
        await tokens.set_state(conn, follow_up.subject, token_state, state.token)
    return await _fetch_token(
        context, follow_up, state.connection, error.reason, dead=state.token.text
    )


async def _fetch_token(
    context: FollowUpContext,
    follow_up: FollowUp,
    connection: ConnectionRow,
    reason: Reason,
    *,
    dead: str | None = None,
) -> StepOutcome:
    """Fetch from Meta the token that the customer's business granted before, and store it.

    If that is impossible, block the follow-up: the customer must reconnect. `dead` is the token
    that Meta refused, even if Meta reports it as valid. Each fetch counts as an attempt.
    """
    if connection.owner_business_id is None:
        return Blocked(reason)
    try:
        granted = await fetch_granted_token(
            context.graph, follow_up.subject, connection.owner_business_id, known=dead
        )
    except (MetaRefused, CustomerMustAct):
        return Blocked(reason)
    if granted is None:
        return Blocked(reason)
    async with fenced(context.pool, follow_up) as (conn, _):
        await tokens.save(conn, context.ring, follow_up.subject, granted.text, granted.report)
        await follow_ups.put_off(
            conn, follow_up, follow_ups.AT_ONCE, "token_fetched", is_counted=True
        )
    return StepDone("token_fetched")


async def record_blocked_setup(conn: Conn, waba_id: str, reason: Reason) -> None:
    """Record on the connection why its setup is stuck. An active connection stays active if the
    reason does not mean that its setup is broken."""
    [row] = await connections.lock(conn, [waba_id])
    if not (row.status.state == "active" and reason in _REASONS_THAT_KEEP_ACTIVE):
        await record_facts(conn, row, [Fact("setup", reason, await now(conn))])
