"""Derive a connection's owner and status from its facts and proofs. Every function works in the
caller's transaction."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from shared.domain.account_changes import ChangeEffects
from shared.domain.attribution import attribute
from shared.domain.facts import LIVE, ConnectionStatus, Fact, live_facts, status_of, with_takedown
from shared.store import events
from shared.store.connections import (
    connections,
    facts,
    follow_ups,
    onboardings,
    organizations,
    proofs,
)
from shared.store.connections.connections import ConnectionRow
from shared.store.events import Transition
from shared.store.pool import Conn

#: After a takedown of a live connection we ask Meta whether it is true. We wait this long: the
#: webhook's `time` is when Meta sent it, and Meta's answers to reads lag behind.
READ_AFTER = timedelta(seconds=30)
_DOWN = ("offboarded", "disconnected", "disabled")


async def apply_effects(conn: Conn, effects_of_changes: Sequence[ChangeEffects]) -> None:
    """Record the facts and proofs of changes and recompute their connections. Idempotent."""
    await connections.ensure(
        conn, {effects.waba_id for effects in effects_of_changes if effects.is_waba}
    )
    rows = await connections.lock(conn, {effects.waba_id for effects in effects_of_changes})
    new_facts: dict[str, list[Fact]] = {}
    for effects in effects_of_changes:
        new_facts.setdefault(effects.waba_id, []).extend(_with_receipt(effects))
    await facts.record(conn, new_facts)
    await facts.add_numbers(
        conn,
        [(effects.waba_id, effects.number) for effects in effects_of_changes if effects.number],
    )
    for effects in sorted(effects_of_changes, key=lambda effects: effects.tracking_code or ""):
        if effects.tracking_code:
            at = max(fact.at for fact in effects.facts)
            await proofs.prove(conn, effects.tracking_code, effects.waba_id, at)
    await recompute(conn, rows)
    if setting_up := [row.waba_id for row in rows if row.status.state == "provisioning"]:
        await follow_ups.wake_waiting(conn, setting_up)


def _with_receipt(effects: ChangeEffects) -> list[Fact]:
    """Return the change's facts. If there are any, add the fact that a webhook has arrived."""
    listed = with_takedown(effects.facts)
    if listed:
        listed.append(Fact("webhook_received", "webhook", max(fact.at for fact in listed)))
    return listed


async def record_proof(
    conn: Conn, row: ConnectionRow, tracking_code: str, business_id: str | None, at: datetime
) -> str | None:
    """Record that a token proved this onboarding's WABA. Return the organization that proved it.

    `row` is the WABA's locked connection. `business_id` is its owner business, as Meta reported it
    for the token. Return None if the onboarding cannot be proven for that WABA: see proofs.prove.
    Idempotent.
    """
    organization_id = await proofs.prove(conn, tracking_code, row.waba_id, at)
    if organization_id is None:
        return None
    new_facts = live_facts(at)
    if business_id is not None:
        new_facts.append(Fact("owner_business", business_id, at))
        await organizations.add_business(conn, organization_id, business_id)
    await record_facts(conn, row, new_facts)
    return organization_id


async def record_claim(conn: Conn, row: ConnectionRow, tracking_code: str, at: datetime) -> None:
    """Record an operator's claim as a proof. It comes not from Meta, so it adds no facts.

    `row` is the locked connection.
    """
    await proofs.prove(conn, tracking_code, row.waba_id, at)
    await recompute(conn, [row])


async def record_facts(conn: Conn, row: ConnectionRow, new_facts: Sequence[Fact]) -> None:
    """Record facts that we found out ourselves, and recompute the connection. Idempotent.

    `row` is the locked connection, as it is before.
    """
    await facts.record(conn, {row.waba_id: with_takedown(new_facts)})
    await recompute(conn, [row])


async def recompute(conn: Conn, rows: Sequence[ConnectionRow]) -> int:
    """Recompute locked connections from their facts and proofs. Return how many changed.

    Idempotent.
    """
    current = await facts.current(conn, [row.waba_id for row in rows])
    proven = await proofs.valid(conn, list(current))
    businesses = {
        by_name["owner_business"].value
        for by_name in current.values()
        if "owner_business" in by_name
    }
    owners = await organizations.owners(conn, businesses) if businesses else {}
    onboarding = await onboardings.organizations_with_open(conn, list(current)) if owners else set()

    changed = []
    for before in rows:
        by_name = current[before.waba_id]
        business = by_name["owner_business"].value if "owner_business" in by_name else None
        attribution = attribute(
            before.owner,
            proofs=proven.get(before.waba_id, ()),
            business_owners=owners.get(business or "", ()),
            onboarding=onboarding,
        )
        after = replace(
            before,
            owner=attribution.owner,
            attribution=attribution.why,
            status=status_of(by_name, is_owned=attribution.owner is not None),
            owner_business_id=business,
        )
        if after != before:
            changed.append((before, replace(after, revision=before.revision + 1)))
    if changed:
        await connections.save(conn, [after for _, after in changed])
        await events.add(
            conn, [transition for pair in changed for transition in _transitions(*pair)]
        )
        await _add_follow_ups(conn, changed)
    return len(changed)


async def _add_follow_ups(
    conn: Conn, changed: Sequence[tuple[ConnectionRow, ConnectionRow]]
) -> None:
    """Provision connections that live again. Read at Meta those that were taken down."""
    restarted = [new.waba_id for old, new in changed if _is_restarted(old.status, new.status)]
    taken_down = [
        new.waba_id
        for old, new in changed
        if old.status.state in LIVE and new.status.state in _DOWN
    ]
    if restarted:
        await follow_ups.add_if_token(conn, "provision", restarted)
    if taken_down:
        await follow_ups.add_if_token(conn, "read", taken_down, after=READ_AFTER)


def _is_restarted(old: ConnectionStatus, new: ConnectionStatus) -> bool:
    """Return whether a connection lives and must be set up again.

    It was down, or it was taken down and shared again so fast that we see both changes at once. A
    setup that is only stuck has a reason.
    """
    is_stuck = new.reason not in (None, "ban_scheduled")
    was_set_up = old.state in _DOWN or (old.state == "active" and not is_stuck)
    return new.state == "provisioning" and was_set_up


def _transitions(before: ConnectionRow, after: ConnectionRow) -> list[Transition]:
    """Return the events to publish: to the owner if the owner or status changed, and to a former
    owner that the connection is lost."""
    transitions = []
    if (before.owner, before.status) != (after.owner, after.status) and after.owner:
        kind = f"connection.{after.status.state}"
        transitions.append(Transition(kind, after.owner.organization_id, after))
    former = before.owner.organization_id if before.owner else None
    if former and (after.owner is None or after.owner.organization_id != former):
        # `before`: the former owner must not see the new owner's name or state.
        transitions.append(Transition("connection.lost", former, before))
    return transitions
