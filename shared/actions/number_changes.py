"""Record what Meta tells of a connection's numbers, and tell what changed."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import get_args

from shared.actions.connection_state import record_facts, tell
from shared.actions.number_links import record_links
from shared.actions.number_states import tell_states
from shared.domain.facts import Fact, FactName, NumberProperty, whole_second
from shared.domain.numbers import MENDED_AT_META, is_mended
from shared.domain.provisioning import why_none_works
from shared.graph.answers import NumberReading
from shared.store.connections import connections, facts, follow_ups, numbers
from shared.store.pool import Conn, now

PROPERTIES: tuple[NumberProperty, ...] = get_args(NumberProperty)
#: What a number that was never read is taken to be: another status is told at the first read.
_NORMAL = {"connected", "pending", "unverified", "disconnected"}


async def record_numbers(
    conn: Conn,
    waba_id: str,
    organization_id: str,
    readings: Sequence[NumberReading],
    at: datetime,
) -> None:
    """Store the numbers of a locked connection as Meta lists them all, and add an event
    `connection.number_*` for each property that changed. Idempotent."""
    # Of two numbers with the same digits the newer one counts, as in `numbers.save`.
    readings = list({reading.number.digits: reading for reading in reversed(readings)}.values())
    stored = await facts.of_numbers(conn, waba_id, PROPERTIES)
    await _save(conn, waba_id, readings, at)
    new = [
        Fact(name, value, whole_second(at), reading.number.digits)
        for reading in readings
        for name, value in reading.properties.items()
    ]
    changed = [fact for fact in new if _is_news(fact, stored)]
    if not changed:
        return
    await facts.record(conn, {waba_id: changed})
    ids = {reading.number.digits: reading.number.phone_number_id for reading in readings}
    for fact in changed:
        before = stored.get((fact.name, fact.digits))
        if before is None and not (fact.name == "number_status" and fact.value not in _NORMAL):
            continue
        number = {
            "phone_number_id": ids[fact.digits],
            "digits": fact.digits,
            "before": before.value if before else None,
            "now": fact.value,
        }
        await tell(conn, waba_id, organization_id, fact.name, {"number": number})


def _is_news(fact: Fact, stored: Mapping[tuple[FactName, str], Fact]) -> bool:
    """Return whether the stored value is another one, and older."""
    before = stored.get((fact.name, fact.digits))
    return before is None or (before.value != fact.value and before.rank < fact.rank)


async def _save(conn: Conn, waba_id: str, readings: Sequence[NumberReading], at: datetime) -> None:
    """Store the numbers, and the links that an active connection's numbers have to the app.
    Provision again where Meta tells something new that mends a failure, a number that is connected
    no more, or one that was not there: it is set up by its own rules."""
    [row] = await connections.lock(conn, [waba_id])
    known_numbers = await numbers.current(conn, waba_id)
    before = {number.phone_number_id: number for number in known_numbers}
    listed = [reading.number for reading in readings]
    await numbers.save(conn, waba_id, listed)
    if row.status.state not in ("provisioning", "orphan"):  # Meta may be late while it is set up
        await record_links(conn, row, known_numbers, listed, whole_second(at))
    is_provisioned = False
    for reading in readings:
        number = reading.number
        known = before.get(number.phone_number_id)
        if known is None:
            is_provisioned |= bool(before) or row.status.reason == "no_number"
        elif is_mended(known, number, reading.properties.get("number_name")):
            await numbers.forget_failures(
                conn, waba_id, phone_number_id=number.phone_number_id, reasons=MENDED_AT_META
            )
            is_provisioned = True
        else:
            is_provisioned |= (known.is_registered, known.is_banned) != (
                number.is_registered, number.is_banned,
            )  # fmt: skip
    if is_provisioned:
        await follow_ups.add_if_token(conn, "provision", [waba_id])
    [row] = await connections.lock(conn, [waba_id])
    plans = await tell_states(conn, row)
    if row.status.state == "active" and not any(plan.state == "working" for plan in plans):
        await record_facts(conn, row, [Fact("setup", why_none_works(plans), await now(conn))])
