"""Apply what Meta's account changes say of connections, in the caller's transaction."""

from collections.abc import Sequence

from shared.actions import ownership
from shared.actions.connection_state import read_where_facts_conflict, recompute
from shared.actions.number_states import tell_states
from shared.domain.account_changes import ChangeEffects, NumberRef
from shared.domain.facts import LIVE, READ_AFTER, Fact, with_takedown
from shared.domain.numbers import MENDED_AT_META
from shared.store.connections import connections, eras, facts, follow_ups, numbers, onboardings
from shared.store.connections.connections import ConnectionRow
from shared.store.pool import Conn


async def lock_connections(
    conn: Conn, effects_of_changes: Sequence[ChangeEffects]
) -> list[ConnectionRow]:
    """Add the connections that changes name. Lock those that exist, and eras that may end by it.

    Call it before the changes are stored: whoever stores changes shares their eras, and whoever
    ends an era has locked its connection first.
    """
    wabas = {effects.waba_id for effects in effects_of_changes if effects.is_waba}
    await connections.ensure(conn, wabas)
    rows = await connections.lock(conn, {effects.waba_id for effects in effects_of_changes})
    if ending := [effects.waba_id for effects in effects_of_changes if _may_end_an_era(effects)]:
        await eras.lock(conn, ending)
    return rows


async def apply_effects(
    conn: Conn, effects_of_changes: Sequence[ChangeEffects], rows: Sequence[ConnectionRow]
) -> None:
    """Record the facts and proofs of changes and recompute their connections. Idempotent.

    `rows` is what `lock_connections` returned. Where facts conflict, Meta is read.
    """
    new_facts: dict[str, list[Fact]] = {}
    for effects in effects_of_changes:
        new_facts.setdefault(effects.waba_id, []).extend(_with_receipt(effects))
    stored = await facts.current(conn, list(new_facts))
    await facts.record(conn, new_facts)
    await facts.add_numbers(
        conn,
        [(effects.waba_id, effects.number) for effects in effects_of_changes if effects.number],
    )
    by_waba = {row.waba_id: row for row in rows}
    for effects in sorted(effects_of_changes, key=lambda effects: effects.tracking_code or ""):
        if effects.tracking_code and effects.facts:
            await _prove(conn, by_waba[effects.waba_id], effects.tracking_code, effects.facts)
    rows = [row for row in rows if row.waba_id in new_facts]
    rows = await recompute(conn, rows)
    await _follow_numbers(conn, rows, effects_of_changes)
    if setting_up := [row.waba_id for row in rows if row.status.state == "provisioning"]:
        await follow_ups.wake_waiting(conn, setting_up)
    await read_where_facts_conflict(conn, stored, new_facts)


async def _follow_numbers(
    conn: Conn, rows: Sequence[ConnectionRow], effects_of_changes: Sequence[ChangeEffects]
) -> None:
    """Do what changes of numbers lead to: a link that was cut is read at Meta; a number that was
    not known, or that waits for what Meta says of it, is set up."""
    cut = {
        effects.waba_id
        for effects in effects_of_changes
        if any(fact.name == "phone_link" and fact.is_takedown for fact in effects.facts)
    }
    named: dict[str, list[NumberRef]] = {}
    for effects in effects_of_changes:
        if effects.number is not None:
            named.setdefault(effects.waba_id, []).append(effects.number)
    for row in rows:
        if row.status.state not in LIVE:
            continue
        if row.waba_id in named and await _are_news(conn, row.waba_id, named[row.waba_id]):
            await follow_ups.add_if_token(conn, "provision", [row.waba_id])
        if row.waba_id in cut:
            await follow_ups.add_if_token(conn, "read", [row.waba_id], after=READ_AFTER)
            await tell_states(conn, row)


async def _are_news(conn: Conn, waba_id: str, named: Sequence[NumberRef]) -> bool:
    """Return whether one of the numbers was not known, or waited for what Meta says of it. It waits
    no longer. Nothing is news while they were never read."""
    known = await numbers.current(conn, waba_id)
    is_news = False
    for number in named if known else ():
        same = [each for each in known if number.digits in (each.digits, each.phone_number_id)]
        is_news = is_news or not same
        for each in same:
            is_news |= (
                await numbers.forget_failures(
                    conn, waba_id, phone_number_id=each.phone_number_id, reasons=MENDED_AT_META
                )
                > 0
            )
    return is_news


def _may_end_an_era(effects: ChangeEffects) -> bool:
    is_takedown = any(fact.name == "waba_takedown" for fact in with_takedown(effects.facts))
    return is_takedown or effects.tracking_code is not None


async def _prove(
    conn: Conn, row: ConnectionRow, tracking_code: str, new_facts: Sequence[Fact]
) -> None:
    """Complete the onboarding of this tracking code, if nothing has proven it yet."""
    onboarding = await onboardings.find(conn, tracking_code, organization_id=None)
    if onboarding is not None and onboarding.proven_at is None:
        await ownership.begin_proven(conn, row, onboarding, max(fact.at for fact in new_facts))


def _with_receipt(effects: ChangeEffects) -> list[Fact]:
    """Return the change's facts. If there are any, add the fact that a webhook has arrived."""
    listed = with_takedown(effects.facts)
    if listed:
        listed.append(Fact("webhook_received", "webhook", max(fact.at for fact in listed)))
    return listed
