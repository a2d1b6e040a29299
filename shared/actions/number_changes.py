"""Record what Meta tells of a connection's numbers, and tell what changed."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import get_args

from shared.actions.connection_state import tell
from shared.actions.number_states import tell_states
from shared.domain.facts import Fact, FactName, NumberProperty, whole_second
from shared.domain.numbers import MENDED_AT_META, PhoneNumber
from shared.graph.answers import NumberReading
from shared.store.connections import connections, facts, follow_ups, numbers
from shared.store.pool import Conn

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
    """Store the numbers of a locked connection as Meta lists them, and add an event
    `connection.number_*` for each property that changed. Idempotent."""
    if not readings:
        return
    stored = await facts.of_numbers(conn, waba_id, PROPERTIES)
    await _save(conn, waba_id, [reading.number for reading in readings])
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


async def _save(conn: Conn, waba_id: str, listed: Sequence[PhoneNumber]) -> None:
    """Store the numbers. Provision again where Meta tells something new that mends a failure, or
    lists a number that was not there: it is set up by its own rules."""
    before = {number.phone_number_id: number for number in await numbers.current(conn, waba_id)}
    await numbers.save(conn, waba_id, listed)
    mended = [
        number.phone_number_id
        for number in listed
        if (known := before.get(number.phone_number_id)) is not None
        and known.failure in MENDED_AT_META
        and (known.status, known.is_verified) != (number.status, number.is_verified)
    ]
    for phone_number_id in mended:
        await numbers.forget_failures(
            conn, waba_id, phone_number_id=phone_number_id, reasons=MENDED_AT_META
        )
    is_new = before and any(number.phone_number_id not in before for number in listed)
    if mended or is_new:
        await follow_ups.add_if_token(conn, "provision", [waba_id])
    [row] = await connections.lock(conn, [waba_id])
    await tell_states(conn, row)
