"""Provisioning: from a proven WABA to a working connection, a step at a time."""

import hmac
import secrets
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from shared.actions.connection_state import record_facts
from shared.actions.follow_up_context import FollowUpContext, PutOff, StepDone, StepOutcome
from shared.domain.facts import COMPLETE, LIVE, Fact
from shared.domain.graph_errors import CustomerMustAct, GraphError, MetaRefused
from shared.domain.provisioning import (
    AwaitWebhook,
    Blocked,
    PhoneNumber,
    Step,
    next_step,
    webhooks_arrive,
)
from shared.process.crash_points import crash_point
from shared.store.connections import connections, facts, follow_ups, numbers, proofs, tokens
from shared.store.connections.connections import ConnectionRow
from shared.store.connections.follow_ups import FollowUp
from shared.store.pool import Conn, transaction

#: Meta's first webhook wakes what waits for it; beside that it is looked for ever less often.
AWAITING = "awaiting_webhook"
MIN_AWAIT_SECONDS = 5.0
MAX_AWAIT_SECONDS = 600.0
#: Blocks that say nothing against a setup that was complete.
_OUR_TROUBLES = frozenset({"meta_unavailable", "failed", "never_finished", "undecryptable"})


@dataclass(frozen=True, slots=True)
class ProvisioningState:
    """What the next step depends on."""

    held: ConnectionRow
    token: tokens.StoredToken | None
    next: Step | AwaitWebhook | None
    proven_at: datetime


async def provision(context: FollowUpContext, one: FollowUp) -> StepOutcome:
    """Take the next step; each is recorded before it is tried, and done at most once more after a
    crash, which Meta bears."""
    async with transaction(context.pool) as conn:
        known = await _know(conn, context, one)
        if known is None or known.held.status.state not in LIVE:
            await follow_ups.fence(conn, one)
            await follow_ups.end(conn, one)
            return StepDone("nothing_to_provision")
    if known.token is None:
        return await _fetch_token(context, one, known.held, "no_token")
    step = known.next
    if isinstance(step, AwaitWebhook):
        seconds = (datetime.now(UTC) - known.proven_at).total_seconds() / 4
        after = min(max(seconds, MIN_AWAIT_SECONDS), MAX_AWAIT_SECONDS)
        return PutOff(after, AWAITING, is_try=False)
    if step is None:
        return await _complete(context, one, known.token)
    pin = await _begin(context, one, step)
    crash_point("provision.begun")
    try:
        found = await _take(context, one.subject, step, known, pin)
    except GraphError as error:
        if not error.is_token_dead:
            raise
        return await _token_died(context, one, known, error)
    crash_point("provision.done")
    async with transaction(context.pool) as conn:
        await connections.lock(conn, [one.subject])
        await follow_ups.fence(conn, one)
        if found is not None:
            await numbers.save(conn, one.subject, found)
        if step.name == "register":
            await numbers.mark_registered(
                conn, one.subject, step.phone_number_id, is_registered=True
            )
        await follow_ups.end_step(conn, one, step)
        await follow_ups.advance(conn, one)
    return StepDone(step.name)


async def _know(conn: Conn, context: FollowUpContext, one: FollowUp) -> ProvisioningState | None:
    """None where there is nothing to provision: nobody's, or about to be disconnected."""
    waba_id = one.subject
    held = next(iter(await connections.lock(conn, [waba_id])), None)
    proven_at = await proofs.latest(conn, waba_id)
    if held is None or held.owner is None or not held.owner.is_proven or proven_at is None:
        return None
    if await follow_ups.is_open(conn, "disconnect", waba_id):
        return None
    token = await tokens.read(conn, context.ring, waba_id)
    if token is None:
        return ProvisioningState(held, None, None, proven_at)
    found = await numbers.current(conn, waba_id)
    if await connections.is_coexistence(conn, waba_id):
        # The dialog said so: never register, whatever Meta says of a number by now.
        found = [replace(number, is_coexistence=True) for number in found]
    heard = (await facts.current(conn, [waba_id]))[waba_id].get("webhook_received")
    arrive = webhooks_arrive(heard.at if heard else None, proven_at, datetime.now(UTC))
    done = await follow_ups.done_steps(conn, one, proven_at=proven_at)
    return ProvisioningState(held, token, next_step(found, done, webhooks_arrive=arrive), proven_at)


async def _begin(context: FollowUpContext, one: FollowUp, step: Step) -> str:
    """Record the step, and the PIN it may set: once Meta knows it, so must we."""
    async with transaction(context.pool) as conn:
        await connections.lock(conn, [one.subject])
        await follow_ups.fence(conn, one)
        await follow_ups.begin_step(conn, one, step)
        if step.name != "register":
            return ""
        new = f"{secrets.randbelow(10**6):06}"
        return await tokens.ensure_pin(conn, context.ring, one.subject, step.phone_number_id, new)


async def _take(
    context: FollowUpContext, waba_id: str, step: Step, known: ProvisioningState, pin: str
) -> list[PhoneNumber] | None:
    assert known.token is not None  # noqa: S101 - for the type checker
    graph, token = context.graph, known.token.text
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
                if error.reason == "bad_request":  # as of a number that is not on the app
                    raise MetaRefused("not_on_app", error.code, error.subcode) from None
                # Taken before, by a try whose answer never came; or there is nothing to take.
                if error.reason not in ("sync_used", "history_declined"):
                    raise
    return None


async def _complete(
    context: FollowUpContext, one: FollowUp, token: tokens.StoredToken
) -> StepOutcome:
    async with transaction(context.pool) as conn:
        [held] = await connections.lock(conn, [one.subject])
        if held.status.state in LIVE:  # and not taken down since its last step
            await record_facts(conn, one.subject, [Fact("setup", COMPLETE, datetime.now(UTC))])
            await tokens.set_state(conn, one.subject, "valid", token)
        await follow_ups.fence(conn, one)
        await follow_ups.end(conn, one)
    return StepDone(COMPLETE)


async def _token_died(
    context: FollowUpContext, one: FollowUp, known: ProvisioningState, error: GraphError
) -> StepOutcome:
    assert known.token is not None  # noqa: S101 - for the type checker
    state: tokens.TokenState = "expired" if error.subcode == 463 else "revoked"
    async with transaction(context.pool) as conn:
        await connections.lock(conn, [one.subject])
        await tokens.set_state(conn, one.subject, state, known.token)
    return await _fetch_token(context, one, known.held, error.reason, dead=known.token.text)


async def _fetch_token(
    context: FollowUpContext,
    one: FollowUp,
    held: ConnectionRow,
    reason: str,
    *,
    dead: str | None = None,
) -> StepOutcome:
    """Ask Meta for the token the customer's business granted before; else they must reconnect.

    One that Meta takes for valid and yet refuses is no help, and each fetch counts as a try.
    """
    if held.owner_business_id is None:
        return Blocked(reason)
    try:
        token = await context.graph.fetch_token(held.owner_business_id)
        report = await context.graph.debug_token(token.text)
    except (MetaRefused, CustomerMustAct):
        return Blocked(reason)
    reaches = report.wabas is None or one.subject in report.wabas
    is_ours = report.is_valid and report.app_id == context.graph.app_id
    is_dead = dead is not None and hmac.compare_digest(token.text.encode(), dead.encode())
    if not is_ours or not reaches or is_dead:
        return Blocked(reason)
    async with transaction(context.pool) as conn:
        await connections.lock(conn, [one.subject])
        await follow_ups.fence(conn, one)
        await tokens.save(
            conn,
            context.ring,
            one.subject,
            token.text,
            expires_at=report.expires_at or token.expires_at,
            user_id=report.user_id,
        )
        await follow_ups.put_off(conn, one, follow_ups.AT_ONCE, "token_fetched", is_try=True)
    return StepDone("token_fetched")


async def record_blocked_setup(conn: Conn, waba_id: str, reason: str) -> None:
    """The connection shows why it is not active; one that was is not doubted for our troubles."""
    held = next(iter(await connections.lock(conn, [waba_id])), None)
    is_active = held is not None and held.status.state == "active"
    if not (is_active and reason in _OUR_TROUBLES):
        await record_facts(conn, waba_id, [Fact("setup", reason, datetime.now(UTC))])
