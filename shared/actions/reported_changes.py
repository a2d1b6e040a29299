"""Apply what Meta's account changes say of connections, in the caller's transaction."""

from collections.abc import Sequence

from shared.actions import ownership
from shared.actions.connection_state import read_where_facts_conflict, recompute
from shared.domain.account_changes import ChangeEffects
from shared.domain.facts import Fact, with_takedown
from shared.store.connections import connections, facts, follow_ups
from shared.store.pool import Conn


async def apply_effects(conn: Conn, effects_of_changes: Sequence[ChangeEffects]) -> None:
    """Record the facts and proofs of changes and recompute their connections. Idempotent.

    Where facts conflict, Meta is read.
    """
    await connections.ensure(
        conn, {effects.waba_id for effects in effects_of_changes if effects.is_waba}
    )
    rows = await connections.lock(conn, {effects.waba_id for effects in effects_of_changes})
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
        if effects.tracking_code:
            at = max(fact.at for fact in effects.facts)
            row = by_waba[effects.waba_id]
            await ownership.begin_proven(conn, row, effects.tracking_code, at)
    await recompute(conn, rows)
    if setting_up := [row.waba_id for row in rows if row.status.state == "provisioning"]:
        await follow_ups.wake_waiting(conn, setting_up)
    await read_where_facts_conflict(conn, stored, new_facts)


def _with_receipt(effects: ChangeEffects) -> list[Fact]:
    """Return the change's facts. If there are any, add the fact that a webhook has arrived."""
    listed = with_takedown(effects.facts)
    if listed:
        listed.append(Fact("webhook_received", "webhook", max(fact.at for fact in listed)))
    return listed
