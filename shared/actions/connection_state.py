"""From what was told to whose a connection is and how it stands, in the caller's transaction."""

from collections.abc import Collection, Sequence
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

#: When a live connection is taken down, Meta is read whether that is so, a little later: `time` is
#: when Meta sent, and its own answers lag behind.
READ_AFTER = timedelta(seconds=30)
_DOWN = ("offboarded", "disconnected", "disabled")


async def apply_effects(conn: Conn, effects_of_changes: Sequence[ChangeEffects]) -> None:
    """Record what changes tell and settle the connections they tell of. Idempotent."""
    await connections.ensure(conn, {t.waba_id for t in effects_of_changes if t.is_waba})
    held = await connections.lock(conn, {effects.waba_id for effects in effects_of_changes})
    told: dict[str, list[Fact]] = {}
    for effects in effects_of_changes:
        told.setdefault(effects.waba_id, []).extend(_with_receipt(effects))
    await facts.record(conn, told)
    await facts.add_numbers(
        conn,
        [(effects.waba_id, effects.number) for effects in effects_of_changes if effects.number],
    )
    for effects in sorted(effects_of_changes, key=lambda t: t.tracking_code or ""):
        if effects.tracking_code:
            at = max(fact.at for fact in effects.facts)
            await proofs.prove(conn, effects.tracking_code, effects.waba_id, at)
    await _recompute(conn, held)
    if setting_up := [one.waba_id for one in held if one.status.state == "provisioning"]:
        await follow_ups.wake_waiting(conn, setting_up)


def _with_receipt(effects: ChangeEffects) -> list[Fact]:
    """Its facts, and that a webhook told them: so it is known that webhooks arrive."""
    told = with_takedown(effects.facts)
    if told:
        told.append(Fact("webhook_received", "webhook", max(fact.at for fact in told)))
    return told


async def record_proof(
    conn: Conn, tracking_code: str, waba_id: str, business_id: str | None, at: datetime
) -> str | None:
    """A token proved that this onboarding's session is of that WABA; the proving organization.

    `business_id` is the WABA's owner as Meta told it to the token. Idempotent. None if the
    onboarding cannot be proven to be of that WABA: see onboardings.prove.
    """
    await connections.ensure(conn, [waba_id])
    await connections.lock(conn, [waba_id])
    organization_id = await proofs.prove(conn, tracking_code, waba_id, at)
    if organization_id is None:
        return None
    told = live_facts(at)
    if business_id is not None:
        told.append(Fact("owner_business", business_id, at))
        await organizations.add_business(conn, organization_id, business_id)
    await record_facts(conn, waba_id, told)
    return organization_id


async def record_claim(conn: Conn, tracking_code: str, waba_id: str, at: datetime) -> None:
    """An operator said so, not Meta: nothing new is known of the WABA itself."""
    await proofs.prove(conn, tracking_code, waba_id, at)
    await recompute(conn, [waba_id])


async def record_facts(conn: Conn, waba_id: str, told: Sequence[Fact]) -> None:
    """Take in what we found out ourselves of one connection. Idempotent."""
    await connections.lock(conn, [waba_id])
    await facts.record(conn, {waba_id: with_takedown(told)})
    await recompute(conn, [waba_id])


async def recompute(conn: Conn, waba_ids: Collection[str]) -> int:
    """Bring connections to what their facts and proofs say; how many changed. Idempotent."""
    return await _recompute(conn, await connections.lock(conn, waba_ids))


async def _recompute(conn: Conn, held: Sequence[ConnectionRow]) -> int:
    holding = await facts.current(conn, [one.waba_id for one in held])
    proven = await proofs.valid(conn, list(holding))
    businesses = {
        known["owner_business"].value for known in holding.values() if "owner_business" in known
    }
    owners = await organizations.owners(conn, businesses) if businesses else {}
    onboarding = await onboardings.organizations_with_open(conn, list(holding)) if owners else set()

    changed = []
    for before in held:
        known = holding[before.waba_id]
        business = known["owner_business"].value if "owner_business" in known else None
        attribution = attribute(
            before.owner,
            proofs=proven.get(before.waba_id, ()),
            business_owners=owners.get(business or "", ()),
            onboarding=onboarding,
        )
        after = replace(
            before,
            owner=attribution.owner,
            why=attribution.why,
            status=status_of(known, is_owned=attribution.owner is not None),
            owner_business_id=business,
        )
        if after != before:
            changed.append((before, replace(after, revision=before.revision + 1)))
    if changed:
        await connections.save(conn, [after for _, after in changed])
        await events.add(conn, [t for pair in changed for t in _transitions(*pair)])
        await _follow_up(conn, changed)
    return len(changed)


async def _follow_up(conn: Conn, changed: Sequence[tuple[ConnectionRow, ConnectionRow]]) -> None:
    """What lives again is set up again; what is taken down is asked about at Meta."""
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
    """It lives, and must be set up again: it was down, or was taken down and shared again so fast
    that we saw both at once. A setup that is stuck says so by its reason."""
    is_stuck = new.reason not in (None, "ban_scheduled")
    was_set_up = old.state in _DOWN or (old.state == "active" and not is_stuck)
    return new.state == "provisioning" and was_set_up


def _transitions(before: ConnectionRow, after: ConnectionRow) -> list[Transition]:
    """What owners are told: of a real transition, and a former owner that it is one no more."""
    told = []
    if (before.owner, before.status) != (after.owner, after.status) and after.owner:
        kind = f"connection.{after.status.state}"
        told.append(Transition(kind, after.owner.organization_id, after))
    was = before.owner.organization_id if before.owner else None
    if was and (after.owner is None or after.owner.organization_id != was):
        # Nothing of the new owner's: neither its name nor its state.
        told.append(Transition("connection.lost", was, before))
    return told
