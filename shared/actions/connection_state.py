"""Derive a connection's owner and status from its facts and eras. Every function works in the
caller's transaction."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from shared.domain.attribution import attribute
from shared.domain.facts import (
    LIVE,
    READ_AFTER,
    ConnectionStatus,
    Fact,
    FactName,
    conflict,
    status_of,
    with_takedown,
)
from shared.store import events
from shared.store.connections import (
    connections,
    eras,
    facts,
    follow_ups,
    numbers,
    organizations,
    sessions,
)
from shared.store.connections.connections import ConnectionRow
from shared.store.connections.eras import Era
from shared.store.events import Transition
from shared.store.pool import Conn

_DOWN = ("offboarded", "disconnected", "disabled")
Change = tuple[ConnectionRow, ConnectionRow]


async def record_facts(conn: Conn, row: ConnectionRow, new_facts: Sequence[Fact]) -> None:
    """Record facts that we found out ourselves, and recompute the connection. Idempotent.

    `row` is the locked connection, as it is before.
    """
    await facts.record(conn, {row.waba_id: with_takedown(new_facts)})
    await recompute(conn, [row])


async def recompute(conn: Conn, rows: Sequence[ConnectionRow]) -> list[ConnectionRow]:
    """Recompute locked connections from their facts and eras. Return them as they are now.

    Suspend the era of each WABA that its customer took away since the era was proven. Idempotent.
    """
    waba_ids = [row.waba_id for row in rows]
    current = await facts.current(conn, waba_ids)
    links = await numbers.links(conn, waba_ids)
    latest = await eras.latest(conn, waba_ids)
    businesses = {by_name["owner_business"].value
                  for by_name in current.values() if "owner_business" in by_name}  # fmt: skip
    owners = await organizations.owners(conn, businesses) if businesses else {}
    naming = await sessions.naming(conn, waba_ids) if owners else {}
    rows_now: list[ConnectionRow] = []
    changed: list[Change] = []
    taken: list[Era] = []
    for before in rows:
        by_name, era = current[before.waba_id], latest.get(before.waba_id)
        business = by_name["owner_business"].value if "owner_business" in by_name else None
        attribution = attribute(
            era_owner=era.owner if era else None,
            business_owners=owners.get(business or "", ()),
            onboarding=naming.get(before.waba_id, ()),
        )
        after = replace(
            before,
            owner=attribution.owner,
            attribution=attribution.why,
            status=status_of(
                by_name, links[before.waba_id], is_owned=attribution.owner is not None
            ),
            owner_business_id=business,
        )
        if after != before:
            after = replace(after, revision=before.revision + 1)
            changed.append((before, after))
        rows_now.append(after)
        takedown = by_name.get("waba_takedown")
        if takedown and era and era.is_doubted_by(takedown.at):
            taken.append(era)
    for era in taken:
        await eras.suspend(conn, era)
        await follow_ups.close(conn, ["read"], era.waba_id)  # one that is due too early
    if taken:
        taken_wabas = [era.waba_id for era in taken]
        await follow_ups.add(conn, "read", taken_wabas, after=READ_AFTER)
        await decide_again(
            conn,
            taken_wabas,
            {row.owner_business_id for row in rows_now if row.waba_id in taken_wabas},
        )
    if changed:
        await connections.save(conn, [after for _, after in changed])
        await events.add(
            conn, [transition for pair in changed for transition in _transitions(*pair)]
        )
        await _add_follow_ups(conn, changed, latest)
    return rows_now


async def read_where_facts_conflict(
    conn: Conn,
    stored: Mapping[str, Mapping[FactName, Fact]],
    new_facts: Mapping[str, Sequence[Fact]],
) -> None:
    """Request a read at Meta of each WABA, by WABA id, whose new facts conflict with those stored
    before, if an organization owns it."""
    conflicting = [waba_id for waba_id, new in new_facts.items() if conflict(stored[waba_id], new)]
    if conflicting:
        latest = await eras.latest(conn, conflicting)
        owned = [era.waba_id for era in latest.values() if era.is_open]
        await follow_ups.add(conn, "read", owned, after=READ_AFTER)


async def decide_again(
    conn: Conn, waba_ids: Collection[str], businesses: Collection[str | None]
) -> None:
    """Request that owners be decided again, once this transaction has ended: those of these WABAs
    and of their unassigned changes, and those that depend on who owns these businesses."""
    business_ids = [business for business in businesses if business is not None]
    if not waba_ids and not business_ids:
        return
    if wanted := await connections.depending_on(conn, waba_ids, business_ids):
        await follow_ups.add(conn, "attribute", wanted)


async def tell(
    conn: Conn, waba_id: str, organization_id: str, event: str, details: Mapping[str, object]
) -> None:
    """Add an event of a connection whose token or number changed. It counts as a transition."""
    [row] = await connections.lock(conn, [waba_id])
    row = replace(row, revision=row.revision + 1)
    await connections.save(conn, [row])
    await events.add(conn, [Transition(f"connection.{event}", organization_id, row, details)])


async def _add_follow_ups(conn: Conn, changed: Sequence[Change], latest: dict[str, Era]) -> None:
    """Provision connections that live again. Read at Meta those that were taken down. Decide again
    who owns what depends on a business that has changed."""
    owned = [(old.status, new) for old, new in changed
             if new.waba_id in latest and latest[new.waba_id].is_open]  # fmt: skip
    restarted = [new.waba_id for old, new in owned if _is_restarted(old, new.status)]
    taken_down = [new.waba_id for old, new in owned
                  if old.state in LIVE and new.status.state in _DOWN]  # fmt: skip
    if restarted:
        await follow_ups.add_if_token(conn, "provision", restarted)
    if taken_down:
        await follow_ups.add(conn, "read", taken_down, after=READ_AFTER)
    moved = [(old, new) for old, new in changed
             if (old.attribution, old.owner_business_id) != (new.attribution, new.owner_business_id)
             and (old.owner_business_id or new.owner_business_id)]  # fmt: skip
    proven = [(old, new) for old, new in moved
              if "tracking_code" in (old.attribution, new.attribution)]  # fmt: skip
    await decide_again(
        conn,
        # Another transaction that changes the business's owner may not have seen this connection.
        [new.waba_id for old, new in moved if new.waba_id not in latest],
        {business for old, new in proven
         for business in (old.owner_business_id, new.owner_business_id)},
    )  # fmt: skip


def _is_restarted(old: ConnectionStatus, new: ConnectionStatus) -> bool:
    """Return whether a connection lives and must be set up again.

    It was down, or it was taken down and shared again so fast that we see both changes at once. A
    setup that is only stuck has a reason.
    """
    is_stuck = new.reason not in (None, "ban_scheduled")
    was_set_up = old.state in _DOWN or (old.state == "active" and not is_stuck)
    return new.state == "provisioning" and was_set_up


def _transitions(before: ConnectionRow, after: ConnectionRow) -> list[Transition]:
    """Return the events to publish: to the owner if the owner or status changed, and once to an
    organization that its ownership has ended."""
    old, new = before.owner, after.owner
    has_ended = new is not None and new.basis == "former"
    transitions = []
    if new and (before.status != after.status or (old != new and not has_ended)):
        transitions.append(
            Transition(f"connection.{after.status.state}", new.organization_id, after)
        )
    if old and old.basis != "former":
        if new is None or new.organization_id != old.organization_id:
            # `before`: it must not see the new owner's name or state.
            transitions.append(Transition("connection.lost", old.organization_id, before))
        elif has_ended:
            transitions.append(Transition("connection.lost", old.organization_id, after))
    return transitions
