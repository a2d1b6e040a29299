"""Provisioning: from a proven WABA to a working connection, a step at a time."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from shared.actions.means import Means, Outcome, Settled, Waits
from shared.actions.settling import learn
from shared.crash import crash_point
from shared.domain.facts import COMPLETE, Fact
from shared.domain.graph_errors import CustomerMustAct, GraphError, MetaRefused
from shared.domain.provisioning import (
    AwaitWebhook,
    Blocked,
    Number,
    Step,
    next_step,
    webhooks_arrive,
)
from shared.store import connections, facts, follow_ups, numbers, tokens
from shared.store.connections import Held
from shared.store.follow_ups import FollowUp
from shared.store.pool import Connection, transaction

#: How often it is looked whether Meta's first webhook has come.
AWAIT_SECONDS = 5.0
_LIVE = ("provisioning", "active")


@dataclass(frozen=True, slots=True)
class Known:
    """What the next step depends on."""

    held: Held
    token: tokens.Held | None
    numbers: Sequence[Number]
    next: Step | AwaitWebhook | None


async def provision(means: Means, one: FollowUp) -> Outcome:
    """Take the next step; each is recorded before it is tried, and done at most once more after a
    crash, which Meta bears."""
    async with transaction(means.pool) as connection:
        known = await _know(connection, means, one)
        if known is None or known.held.standing.state not in _LIVE:
            await follow_ups.hold(connection, one)
            await follow_ups.end(connection, one)
            return Settled("nothing_to_provision")
    if known.token is None:
        return await _fetch_token(means, one, known.held, "no_token")
    step = known.next
    if isinstance(step, AwaitWebhook):
        return Waits(AWAIT_SECONDS, "awaiting_webhook", is_try=False)
    if step is None:
        return await _complete(means, one, known.token)
    pin = await _begin(means, one, step)
    crash_point("provision.begun")
    try:
        found = await _take(means, one.subject, step, known, pin)
    except GraphError as error:
        if not error.is_token_dead:
            raise
        return await _token_died(means, one, known, error)
    crash_point("provision.taken")
    async with transaction(means.pool) as connection:
        await connections.lock(connection, [one.subject])
        await follow_ups.hold(connection, one)
        if found is not None:
            await numbers.save(connection, one.subject, found)
        if step.name == "register":
            await numbers.mark_registered(
                connection, one.subject, step.phone_number_id, is_registered=True
            )
        await follow_ups.end_step(connection, one, step)
        await follow_ups.advance(connection, one)
    return Settled(step.name)


async def _know(connection: Connection, means: Means, one: FollowUp) -> Known | None:
    waba_id = one.subject
    held = next(iter(await connections.lock(connection, [waba_id])), None)
    if held is None or held.owner is None or not held.owner.is_proven:
        return None
    token = await tokens.read(connection, means.ring, waba_id)
    if token is None:
        return Known(held, None, [], None)
    found = await numbers.current(connection, waba_id)
    if await connections.is_coexistence(connection, waba_id):
        # The dialog said so: never register, whatever Meta says of a number by now.
        found = [replace(number, is_coexistence=True) for number in found]
    heard = (await facts.holding(connection, [waba_id]))[waba_id].get("heard")
    arrive = webhooks_arrive(heard.at if heard else None, token.at, datetime.now(UTC))
    done = await follow_ups.done_steps(connection, one, token_at=token.at)
    return Known(held, token, found, next_step(found, done, webhooks_arrive=arrive))


async def _begin(means: Means, one: FollowUp, step: Step) -> str:
    """Record the step, and the PIN it may set: once Meta knows it, so must we."""
    async with transaction(means.pool) as connection:
        await follow_ups.hold(connection, one)
        await follow_ups.begin_step(connection, one, step)
        if step.name != "register":
            return ""
        new = f"{secrets.randbelow(10**6):06}"
        return await tokens.ensure_pin(
            connection, means.ring, one.subject, step.phone_number_id, new
        )


async def _take(
    means: Means, waba_id: str, step: Step, known: Known, pin: str
) -> list[Number] | None:
    assert known.token is not None  # noqa: S101 - for the type checker
    graph, token = means.graph, known.token.text
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
                # Taken before, by a try whose answer never came; or there is nothing to take.
                if error.reason not in ("sync_used", "history_declined"):
                    raise
    return None


async def _complete(means: Means, one: FollowUp, token: tokens.Held) -> Outcome:
    async with transaction(means.pool) as connection:
        await learn(connection, one.subject, [Fact("setup", COMPLETE, datetime.now(UTC))])
        await tokens.judge(connection, one.subject, "valid", token)
        await follow_ups.hold(connection, one)
        await follow_ups.end(connection, one)
    return Settled(COMPLETE)


async def _token_died(means: Means, one: FollowUp, known: Known, error: GraphError) -> Outcome:
    assert known.token is not None  # noqa: S101 - for the type checker
    state: tokens.TokenState = "expired" if error.subcode == 463 else "revoked"
    async with transaction(means.pool) as connection:
        await connections.lock(connection, [one.subject])
        await tokens.judge(connection, one.subject, state, known.token)
    return await _fetch_token(means, one, known.held, error.reason)


async def _fetch_token(means: Means, one: FollowUp, held: Held, reason: str) -> Outcome:
    """Ask Meta for the token the customer's business granted before; else they must reconnect."""
    if held.owner_business_id is None or not means.graph.can_fetch_tokens:
        return Blocked(reason)
    try:
        token = await means.graph.fetch_token(held.owner_business_id)
        report = await means.graph.debug_token(token.text)
    except (MetaRefused, CustomerMustAct):
        return Blocked(reason)
    reaches = report.wabas is None or one.subject in report.wabas
    if not report.is_valid or report.app_id != means.graph.app_id or not reaches:
        return Blocked(reason)
    async with transaction(means.pool) as connection:
        await connections.lock(connection, [one.subject])
        await follow_ups.hold(connection, one)
        await tokens.keep(
            connection,
            means.ring,
            one.subject,
            token.text,
            expires_at=report.expires_at or token.expires_at,
            user_id=report.user_id,
        )
        await follow_ups.advance(connection, one)
    return Settled("token_fetched")


async def note_blocked_setup(connection: Connection, waba_id: str, reason: str) -> None:
    """The connection shows why it is not active."""
    await learn(connection, waba_id, [Fact("setup", reason, datetime.now(UTC))])
