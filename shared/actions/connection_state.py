"""From what was told to whose a connection is and how it stands, in the caller's transaction."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from shared.domain.account_changes import Telling
from shared.domain.attribution import attribute
from shared.domain.facts import LIVE, Fact, Standing, live, standing, with_takedown
from shared.store import events
from shared.store.connections import (
    connections,
    facts,
    follow_ups,
    onboardings,
    organizations,
    proofs,
)
from shared.store.connections.connections import Held
from shared.store.events import Transition
from shared.store.pool import Conn

#: When a live connection is taken down, Meta is read whether that is so, a little later: `time` is
#: when Meta sent, and its own answers lag behind.
READ_AFTER = timedelta(seconds=30)
_DOWN = ("offboarded", "disconnected", "disabled")


async def take_in(conn: Conn, tellings: Sequence[Telling]) -> None:
    """Record what changes tell and settle the connections they tell of. Idempotent."""
    await connections.ensure(conn, {t.waba_id for t in tellings if t.is_waba})
    held = await connections.lock(conn, {telling.waba_id for telling in tellings})
    told: dict[str, list[Fact]] = {}
    for telling in tellings:
        told.setdefault(telling.waba_id, []).extend(_as_heard(telling))
    await facts.record(conn, told)
    await facts.add_numbers(
        conn, [(telling.waba_id, telling.number) for telling in tellings if telling.number]
    )
    for telling in sorted(tellings, key=lambda t: t.tracking_code or ""):
        if telling.tracking_code:
            at = max(fact.at for fact in telling.facts)
            await proofs.prove(conn, telling.tracking_code, telling.waba_id, at)
    await _settle(conn, held)
    if setting_up := [one.waba_id for one in held if one.standing.state == "provisioning"]:
        await follow_ups.hear(conn, setting_up)


def _as_heard(telling: Telling) -> list[Fact]:
    """Its facts, and that a webhook told them: so it is known that webhooks arrive."""
    told = with_takedown(telling.facts)
    if told:
        told.append(Fact("webhook_received", "webhook", max(fact.at for fact in told)))
    return told


async def prove(
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
    told = live(at)
    if business_id is not None:
        told.append(Fact("owner_business", business_id, at))
        await organizations.add_business(conn, organization_id, business_id)
    await learn(conn, waba_id, told)
    return organization_id


async def claim(conn: Conn, tracking_code: str, waba_id: str, at: datetime) -> None:
    """An operator said so, not Meta: nothing new is known of the WABA itself."""
    await proofs.prove(conn, tracking_code, waba_id, at)
    await settle(conn, [waba_id])


async def learn(conn: Conn, waba_id: str, told: Sequence[Fact]) -> None:
    """Take in what we found out ourselves of one connection. Idempotent."""
    await connections.lock(conn, [waba_id])
    await facts.record(conn, {waba_id: with_takedown(told)})
    await settle(conn, [waba_id])


async def settle(conn: Conn, waba_ids: Collection[str]) -> int:
    """Bring connections to what their facts and proofs say; how many changed. Idempotent."""
    return await _settle(conn, await connections.lock(conn, waba_ids))


async def _settle(conn: Conn, held: Sequence[Held]) -> int:
    holding = await facts.holding(conn, [one.waba_id for one in held])
    proven = await proofs.standing(conn, list(holding))
    businesses = {
        known["owner_business"].value for known in holding.values() if "owner_business" in known
    }
    owners = await organizations.owners(conn, businesses) if businesses else {}
    onboarding = await onboardings.open_for(conn, list(holding)) if owners else set()

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
            standing=standing(known, is_owned=attribution.owner is not None),
            owner_business_id=business,
        )
        if after != before:
            changed.append((before, replace(after, revision=before.revision + 1)))
    if changed:
        await connections.save(conn, [after for _, after in changed])
        await events.add(conn, [t for pair in changed for t in _transitions(*pair)])
        await _follow_up(conn, changed)
    return len(changed)


async def _follow_up(conn: Conn, changed: Sequence[tuple[Held, Held]]) -> None:
    """What lives again is set up again; what is taken down is asked about at Meta."""
    restarted = [new.waba_id for old, new in changed if _is_restarted(old.standing, new.standing)]
    taken_down = [
        new.waba_id
        for old, new in changed
        if old.standing.state in LIVE and new.standing.state in _DOWN
    ]
    if restarted:
        await follow_ups.add_where_token(conn, "provision", restarted)
    if taken_down:
        await follow_ups.add_where_token(conn, "read", taken_down, after=READ_AFTER)


def _is_restarted(old: Standing, new: Standing) -> bool:
    """It lives, and must be set up again: it was down, or was taken down and shared again so fast
    that we saw both at once. A setup that is stuck says so by its reason."""
    is_stuck = new.reason not in (None, "ban_scheduled")
    was_set_up = old.state in _DOWN or (old.state == "active" and not is_stuck)
    return new.state == "provisioning" and was_set_up


def _transitions(before: Held, after: Held) -> list[Transition]:
    """What owners are told: of a real transition, and a former owner that it is one no more."""
    told = []
    if (before.owner, before.standing) != (after.owner, after.standing) and after.owner:
        kind = f"connection.{after.standing.state}"
        told.append(Transition(kind, after.owner.organization_id, after))
    was = before.owner.organization_id if before.owner else None
    if was and (after.owner is None or after.owner.organization_id != was):
        # Nothing of the new owner's: neither its name nor its state.
        told.append(Transition("connection.lost", was, before))
    return told
