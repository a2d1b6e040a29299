"""Tell the company how each number of a connection stands, when that changed."""

from datetime import UTC, datetime

from shared.actions.connection_state import tell
from shared.domain.numbers import LIMITS
from shared.domain.provisioning import NumberPlan, number_plans
from shared.domain.remedies import remedy
from shared.store.connections import connections, eras, numbers, provision_steps
from shared.store.connections.connections import ConnectionRow
from shared.store.connections.eras import Era
from shared.store.pool import Conn


async def standing(conn: Conn, waba_id: str) -> list[NumberPlan]:
    """Return how each number that Meta lists stands, the one that the login named first."""
    return await _standing(conn, waba_id, await eras.open_era(conn, waba_id))


async def _standing(conn: Conn, waba_id: str, era: Era | None) -> list[NumberPlan]:
    done = await provision_steps.syncs_done(conn, waba_id, era.proven_at) if era else ()
    login = await connections.login(conn, waba_id)
    known = await numbers.current(conn, waba_id)
    return number_plans(known, done, login, webhooks_arrive=True, now=datetime.now(UTC))


async def tell_states(conn: Conn, row: ConnectionRow) -> list[NumberPlan]:
    """Add an event `connection.number_state` for each number that stands otherwise than was told.
    Return how each stands; none of a connection that nobody owns.

    Call it with the connection locked. A number that works from the start is told by the
    connection's own event; one that waits is told if it worked in an active connection, or if it
    waits for a time of Meta's; else when it waits no longer. Idempotent.
    """
    era = await eras.open_era(conn, row.waba_id)
    if era is None:
        return []
    plans = {plan.number.phone_number_id: plan for plan in await _standing(conn, row.waba_id, era)}
    told = [
        (number_id, plan.state, plan.reason)
        for number_id, plan in plans.items()
        if plan.state != "waiting"
        or plan.reason in LIMITS
        or (plan.number.told == "working" and row.status.state == "active")
    ]
    for number_id, before in await numbers.swap_told(conn, row.waba_id, told):
        plan = plans[number_id]
        if before is None and plan.state == "working" and row.status.state != "active":
            continue
        found = remedy(plan.reason)
        number = {
            "phone_number_id": number_id,
            "digits": plan.number.digits,
            "before": before,
            "now": plan.state,
            "reason": plan.reason,
            "remedy": found.text if found else None,
        }
        await tell(conn, row.waba_id, era.organization_id, "number_state", {"number": number})
    return list(plans.values())
