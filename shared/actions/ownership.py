"""Open and end eras. Every function works in the caller's transaction, on a locked connection."""

from datetime import datetime

from shared.actions.connection_state import (
    decide_again,
    read_where_facts_conflict,
    recompute,
    record_facts,
)
from shared.actions.errors import Missing, WrongState
from shared.domain.attribution import EraBasis
from shared.domain.facts import Fact, live_facts, whole_second
from shared.store import audit
from shared.store.audit import Requester
from shared.store.connections import (
    connections,
    eras,
    facts,
    follow_ups,
    onboardings,
    organizations,
    tokens,
)
from shared.store.connections.connections import ConnectionRow
from shared.store.connections.eras import EndReason, Era
from shared.store.connections.onboardings import Onboarding
from shared.store.pool import Conn, now


async def record_proof(
    conn: Conn,
    row: ConnectionRow,
    onboarding: Onboarding | None,
    business_id: str | None,
    at: datetime,
) -> str | None:
    """Record that a token proved this onboarding's WABA. Return the organization that proved it.

    `business_id` is the WABA's owner business, as Meta reported it for the token. Return None if
    nothing was recorded: see `begin_proven`. Idempotent.
    """
    if onboarding is None:
        return None
    organization_id = await begin_proven(conn, row, onboarding, at)
    if organization_id is None:
        return None
    new_facts = live_facts(whole_second(at))
    if business_id is not None:
        new_facts.append(Fact("owner_business", business_id, whole_second(at)))
    stored = await facts.current(conn, [row.waba_id])
    await record_facts(conn, row, new_facts)
    await read_where_facts_conflict(conn, stored, {row.waba_id: new_facts})
    return organization_id


async def begin_proven(
    conn: Conn, row: ConnectionRow, onboarding: Onboarding, at: datetime
) -> str | None:
    """Complete the onboarding, and open an era of its organization or renew the one that is open.

    A claimed or suspended era of another organization ends by it. Return the organization; None if
    another organization's proven era stands, or the onboarding cannot be completed (see
    onboardings.complete).
    """
    era = await eras.open_era(conn, row.waba_id)
    if era is not None and stands_against(era, onboarding.organization_id):
        return None
    organization_id = await onboardings.complete(conn, onboarding.id, row.waba_id, at)
    if organization_id is None:
        return None
    if era is not None and era.organization_id == organization_id:
        await eras.renew(conn, era, at)
        await decide_again(conn, [row.waba_id], {row.owner_business_id})
        return organization_id
    if era is not None:
        await close(conn, row, era, "replaced")
        await audit.add(
            conn,
            Requester(f"onboarding {onboarding.id}", "a token proved it"),
            action="connection.taken_over",
            subject=f"{row.waba_id} from {era.organization_id} for {organization_id}",
        )
    await _begin(conn, row, organization_id, "tracking_code", at)
    return organization_id


def stands_against(era: Era, organization_id: str) -> bool:
    """Return whether the era keeps another organization's proof from opening one."""
    is_weak = era.basis == "claimed" or era.is_suspended
    return era.organization_id != organization_id and not is_weak


async def claim(conn: Conn, waba_id: str, organization_id: str, requester: Requester) -> None:
    """Make the organization the owner of a WABA that has no open era, and of its changes since the
    last one. Write an audit record. Raise Missing or WrongState. Idempotent.

    Its token is fetched from Meta if possible; otherwise the organization must reconnect.
    """
    row = next(iter(await connections.lock(conn, [waba_id])), None)
    if row is None:
        raise Missing("no_such_waba", "Nothing is known of this WABA.")
    if not await organizations.exists(conn, organization_id):
        raise Missing(
            "no_such_organization", "This organization is not known: add it, or mend its name."
        )
    era = await eras.open_era(conn, waba_id)
    if era is not None and era.organization_id == organization_id:
        return
    if era is not None:
        raise WrongState(
            "owned_by_another",
            "It is another organization's: only a proof changes that, or ending its ownership.",
        )
    await audit.add(
        conn, requester, action="orphan.claim", subject=f"{waba_id} for {organization_id}"
    )
    await _begin(conn, row, organization_id, "claimed", await now(conn))
    await recompute(conn, [row])
    await follow_ups.add(conn, "provision", [waba_id])


async def release(conn: Conn, waba_id: str, requester: Requester) -> None:
    """End the ownership of a WABA without asking Meta. Write an audit record.

    Raise Missing or WrongState.

    For a customer who went to another organization without unsharing the WABA first.
    """
    rows = await connections.lock(conn, [waba_id])
    if not rows:
        raise Missing("no_such_waba", "Nothing is known of this WABA.")
    era = await eras.open_era(conn, waba_id)
    if era is None:
        raise WrongState("no_owner", "No organization owns it now: see its history.")
    await audit.add(
        conn,
        requester,
        action="connection.release",
        subject=f"{waba_id} from {era.organization_id}",
    )
    await end(conn, rows[0], era, "released")


async def close(conn: Conn, row: ConnectionRow, era: Era, reason: EndReason) -> None:
    """End an open era, its token and its pending work. The caller recomputes the connection.

    Only our disconnect keeps the token: until it is done, or until the next era begins.
    """
    await eras.end(conn, era, reason)
    if reason != "disconnected":
        await tokens.delete(conn, row.waba_id)
    await follow_ups.close(conn, ["provision"], row.waba_id)
    await decide_again(conn, [row.waba_id], {row.owner_business_id})


async def end(conn: Conn, row: ConnectionRow, era: Era, reason: EndReason) -> None:
    """End an open era as `close` does, and recompute the connection."""
    await close(conn, row, era, reason)
    await recompute(conn, [row])


async def confirm(conn: Conn, row: ConnectionRow, era: Era, until: datetime) -> None:
    """Record that no takedown before `until` was true: the era's token reached the WABA.

    If the era was suspended, it goes on.
    """
    await eras.confirm(conn, era, until)
    if era.is_suspended:
        await decide_again(conn, [row.waba_id], {row.owner_business_id})
        # One that was requested meanwhile found no owner who may be set up.
        await follow_ups.add_if_token(conn, "provision", [row.waba_id])


async def _begin(
    conn: Conn, row: ConnectionRow, organization_id: str, basis: EraBasis, proven_at: datetime
) -> None:
    # A disconnect that is under way still has the last era's token.
    await follow_ups.close(conn, ["disconnect"], row.waba_id)
    await tokens.delete(conn, row.waba_id)
    if await eras.latest(conn, [row.waba_id]):  # the last owner's setup is not this one's
        setup_ended = Fact("takedown", "new_owner", whole_second(proven_at))
        await facts.record(conn, {row.waba_id: [setup_ended]})
    await eras.begin(conn, row.waba_id, organization_id, basis, proven_at)
    await decide_again(conn, [row.waba_id], {row.owner_business_id})
