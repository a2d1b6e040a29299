"""Provision a proven WABA until its connection works, one step at a time."""

import hmac
import secrets
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from services.processor.follow_ups.context import FollowUpContext, PutOff, StepDone, StepOutcome
from services.processor.follow_ups.fence import fenced
from shared.actions.connection_state import record_facts
from shared.domain.facts import COMPLETE, LIVE, Fact
from shared.domain.graph_errors import CustomerMustAct, GraphError, MetaRefused
from shared.domain.provisioning import (
    AWAITING_WEBHOOK,
    AwaitWebhook,
    Blocked,
    PhoneNumber,
    Step,
    next_step,
    webhooks_arrive,
)
from shared.domain.remedies import Reason
from shared.process.crash_points import crash_point
from shared.store.connections import connections, eras, facts, follow_ups, numbers, tokens
from shared.store.connections.connections import ConnectionRow
from shared.store.connections.follow_ups import FollowUp
from shared.store.pool import Conn, transaction

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
    next: Step | AwaitWebhook | None
    proven_at: datetime


async def provision(context: FollowUpContext, follow_up: FollowUp) -> StepOutcome:
    """Take the next step of a `provision` follow-up.

    Each step is recorded before it is attempted. After a crash it is done at most once more, which
    Meta tolerates.
    """
    async with fenced(context.pool, follow_up) as (conn, row):
        state = await _load_state(conn, context, follow_up, row)
        if state is None or state.connection.status.state not in LIVE:
            await follow_ups.end(conn, follow_up)
            return StepDone("nothing_to_provision")
    if state.token is None:
        return await _fetch_token(context, follow_up, state.connection, "no_token")
    step = state.next
    if isinstance(step, AwaitWebhook):
        seconds = (datetime.now(UTC) - state.proven_at).total_seconds() / 4
        after = min(max(seconds, MIN_AWAIT_SECONDS), MAX_AWAIT_SECONDS)
        return PutOff(after, AWAITING_WEBHOOK, is_counted=False)
    if step is None:
        return await _complete(context, follow_up, state.token)
    pin = await _begin_step(context, follow_up, step)
    crash_point("provision.begun")
    try:
        phone_numbers = await _make_call(context, follow_up.subject, step, state, pin)
    except GraphError as error:
        if not error.is_token_dead:
            raise
        return await _replace_dead_token(context, follow_up, state, error)
    crash_point("provision.done")
    async with fenced(context.pool, follow_up) as (conn, _):
        if phone_numbers is not None:
            await numbers.save(conn, follow_up.subject, phone_numbers)
        if step.name == "register":
            await numbers.mark_registered(
                conn, follow_up.subject, step.phone_number_id, is_registered=True
            )
        await follow_ups.end_step(conn, follow_up, step)
        await follow_ups.advance(conn, follow_up)
    return StepDone(step.name)


async def _load_state(
    conn: Conn, context: FollowUpContext, follow_up: FollowUp, row: ConnectionRow
) -> ProvisioningState | None:
    """Return None if there is nothing to provision: nobody owns the connection, that is in doubt,
    or it is about to be disconnected."""
    waba_id = follow_up.subject
    era = await eras.open_era(conn, waba_id)
    if era is None or era.is_suspended:
        return None
    proven_at = era.proven_at
    if await follow_ups.is_open(conn, "disconnect", waba_id):
        return None
    token = await tokens.read(conn, context.ring, waba_id)
    if token is None:
        return ProvisioningState(row, None, None, proven_at)
    all_numbers = await numbers.current(conn, waba_id)
    if await connections.is_coexistence(conn, waba_id):
        # The dialog reported coexistence: never register, whatever Meta now says of a number.
        all_numbers = [replace(number, is_coexistence=True) for number in all_numbers]
    received = (await facts.current(conn, [waba_id]))[waba_id].get("webhook_received")
    arrive = webhooks_arrive(received.at if received else None, proven_at, datetime.now(UTC))
    done = await follow_ups.done_steps(conn, follow_up, proven_at=proven_at)
    step = next_step(all_numbers, done, webhooks_arrive=arrive)
    return ProvisioningState(row, token, step, proven_at)


async def _begin_step(context: FollowUpContext, follow_up: FollowUp, step: Step) -> str:
    """Record the step. Return the PIN it sets, stored before Meta gets it; "" if it sets none."""
    async with fenced(context.pool, follow_up) as (conn, _):
        await follow_ups.begin_step(conn, follow_up, step)
        if step.name != "register":
            return ""
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
            try:
                await graph.sync(waba_id, step.phone_number_id, step.name, token)
            except MetaRefused as error:
                if error.reason == "bad_request":  # Meta's answer for a number not on the app
                    raise MetaRefused("not_on_app", error.code, error.subcode) from None
                # An earlier attempt without an answer used the sync, or there is nothing to sync.
                if error.reason not in ("sync_used", "history_declined"):
                    raise
    return None


async def _complete(
    context: FollowUpContext, follow_up: FollowUp, token: tokens.StoredToken
) -> StepOutcome:
    async with fenced(context.pool, follow_up) as (conn, row):
        if row.status.state in LIVE:  # not taken down since its last step
            await record_facts(conn, row, [Fact("setup", COMPLETE, datetime.now(UTC))])
            await tokens.set_state(conn, follow_up.subject, "valid", token)
        await follow_ups.end(conn, follow_up)
    return StepDone(COMPLETE)


async def _replace_dead_token(
    context: FollowUpContext, follow_up: FollowUp, state: ProvisioningState, error: GraphError
) -> StepOutcome:
    assert state.token is not None
    token_state: tokens.TokenState = "expired" if error.subcode == 463 else "revoked"
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
    that Meta refused: to get it again is no help, even if Meta reports it as valid. Each fetch
    counts as an attempt.
    """
    if connection.owner_business_id is None:
        return Blocked(reason)
    try:
        token = await context.graph.fetch_token(connection.owner_business_id)
        report = await context.graph.debug_token(token.text)
        await context.graph.read_waba(follow_up.subject, token.text)
    except (MetaRefused, CustomerMustAct):
        return Blocked(reason)
    is_granted = report.wabas is None or follow_up.subject in report.wabas
    is_ours = report.is_valid and report.app_id == context.graph.app_id
    is_dead = dead is not None and hmac.compare_digest(token.text.encode(), dead.encode())
    if not is_ours or not is_granted or is_dead:
        return Blocked(reason)
    async with fenced(context.pool, follow_up) as (conn, _):
        await tokens.save(
            conn,
            context.ring,
            follow_up.subject,
            token.text,
            expires_at=report.expires_at or token.expires_at,
            user_id=report.user_id,
        )
        await follow_ups.put_off(
            conn, follow_up, follow_ups.AT_ONCE, "token_fetched", is_counted=True
        )
    return StepDone("token_fetched")


async def record_blocked_setup(conn: Conn, waba_id: str, reason: Reason) -> None:
    """Record on the connection why its setup is stuck. An active connection stays active if the
    reason does not mean that its setup is broken."""
    [row] = await connections.lock(conn, [waba_id])
    if not (row.status.state == "active" and reason in _REASONS_THAT_KEEP_ACTIVE):
        await record_facts(conn, row, [Fact("setup", reason, datetime.now(UTC))])
