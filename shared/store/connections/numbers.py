"""The phone numbers of connections: as Meta lists them, and what we did about each."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

from shared.domain.facts import NumberLink, link_of_number
from shared.domain.numbers import LIMITS, REGISTER_WINDOW, KnownNumber, NumberFailure, PhoneNumber
from shared.domain.remedies import Reason
from shared.store.connections import facts
from shared.store.pool import Conn, affected

_COLUMNS = """
    waba_id, phone_number_id, digits, is_coexistence, is_registered, status, is_verified, is_asked,
    is_pin_given, failure, retry_at, attempts, register_calls, wrong_pins, told
"""


async def save(conn: Conn, waba_id: str, numbers: Sequence[PhoneNumber]) -> None:
    """Store all the numbers that Meta lists for this WABA now, the newest first. Idempotent.

    If two have the same digits, store the newer one.
    """
    newest = {number.digits: number for number in reversed(numbers)}
    rows = sorted(newest.values(), key=lambda number: number.digits)  # every process's lock order
    await conn.execute(
        "UPDATE phone_numbers SET read_at = NULL WHERE waba_id = $1",
        waba_id,
    )
    await conn.execute(
        """
        INSERT INTO phone_numbers
            (waba_id, digits, phone_number_id, is_coexistence, is_registered, status, is_verified,
             read_at)
        SELECT $1, new.*, now()
        FROM unnest($2::text[], $3::text[], $4::boolean[], $5::boolean[], $6::text[], $7::boolean[])
            AS new (digits, phone_number_id, is_coexistence, is_registered, status, is_verified)
        ON CONFLICT (waba_id, digits) DO UPDATE
        SET phone_number_id = excluded.phone_number_id, is_coexistence = excluded.is_coexistence,
            is_registered = excluded.is_registered, status = excluded.status,
            is_verified = excluded.is_verified, read_at = excluded.read_at
        """,
        waba_id,
        [number.digits for number in rows],
        [number.phone_number_id for number in rows],
        [number.is_coexistence for number in rows],
        [number.is_registered for number in rows],
        [number.status for number in rows],
        [number.is_verified for number in rows],
    )


async def current(conn: Conn, waba_id: str) -> list[KnownNumber]:
    """Return the numbers that Meta listed when they were last read, ordered by their digits."""
    records = await conn.fetch(
        f"""
        SELECT {_COLUMNS} FROM phone_numbers
        WHERE waba_id = $1 AND read_at IS NOT NULL ORDER BY digits
        """,
        waba_id,
    )
    about = (await facts.about_links(conn, [waba_id]))[waba_id]
    numbers = [_known(record) for record in records]
    return [
        replace(number, link=link_of_number(about, number.digits, is_cloud=number.is_cloud))
        for number in numbers
    ]


async def links(conn: Conn, waba_ids: Collection[str]) -> dict[str, list[NumberLink]]:
    """Return the links of the numbers that Meta lists, by WABA; of those that only webhooks named,
    where it was not asked yet."""
    about_links = await facts.about_links(conn, waba_ids)
    listed: dict[str, list[NumberLink]] = {waba_id: [] for waba_id in waba_ids}
    for record in await conn.fetch(
        """
        SELECT waba_id, digits, is_registered AND NOT is_coexistence AS is_cloud FROM phone_numbers
        WHERE waba_id = ANY($1) AND read_at IS NOT NULL
        """,
        list(waba_ids),
    ):
        waba_id = record["waba_id"]
        link = link_of_number(about_links[waba_id], record["digits"], is_cloud=record["is_cloud"])
        listed[waba_id].append(link)
    return {
        waba_id: of_waba or _named_by_webhooks(about_links[waba_id])
        for waba_id, of_waba in listed.items()
    }


def _named_by_webhooks(about: facts.LinkFacts) -> list[NumberLink]:
    digits = {digits for _, digits in about if digits}
    return [link_of_number(about, each, is_cloud=False) for each in sorted(digits)]


def _known(record: Any) -> KnownNumber:
    return KnownNumber(**{name: value for name, value in record.items() if name != "waba_id"})


async def begin_register(conn: Conn, waba_id: str, phone_number_id: str) -> None:
    """Count a register call before it is made. Calls older than REGISTER_WINDOW are forgotten."""
    await conn.execute(
        """
        UPDATE phone_numbers SET register_calls = array_append(
            ARRAY(SELECT at FROM unnest(register_calls) AS at WHERE at > now() - $3::interval),
            clock_timestamp())
        WHERE waba_id = $1 AND phone_number_id = $2
        """,
        waba_id,
        phone_number_id,
        REGISTER_WINDOW,
    )


async def record_failure(
    conn: Conn, waba_id: str, phone_number_id: str, failure: NumberFailure
) -> None:
    """Record why the number's step failed, and when it is tried again."""
    await conn.execute(
        """
        UPDATE phone_numbers SET failure = $3, retry_at = now() + $4::interval,
            attempts = attempts + 1, wrong_pins = CASE WHEN $5 THEN array_append(
                ARRAY(SELECT at FROM unnest(wrong_pins) AS at WHERE at > now() - $6::interval),
                clock_timestamp()) ELSE wrong_pins END
        WHERE waba_id = $1 AND phone_number_id = $2
        """,
        waba_id,
        phone_number_id,
        failure.reason,
        failure.retry_after,
        failure.is_wrong_pin,
        REGISTER_WINDOW,
    )


async def forget_failures(
    conn: Conn,
    waba_id: str,
    *,
    phone_number_id: str | None = None,
    reasons: Collection[Reason] | None = None,
) -> int:
    """Forget why the last step of the number (None: of each) failed, so that it is tried again.

    `reasons`: only these failures. Limits of Meta's stand until they end. Return how many.
    """
    status = await conn.execute(
        """
        UPDATE phone_numbers SET failure = NULL, retry_at = NULL, attempts = 0
        WHERE waba_id = $1 AND failure IS NOT NULL
            AND ($2::text IS NULL OR phone_number_id = $2)
            AND ($3::text[] IS NULL OR failure = ANY($3))
            AND NOT (failure = ANY($4) AND coalesce(retry_at > now(), false))
        """,
        waba_id,
        phone_number_id,
        None if reasons is None else list(reasons),
        list(LIMITS),
    )
    return affected(status)


async def start_over(conn: Conn, waba_id: str) -> None:
    """Forget what was asked of each number and why it failed: the customer connects anew."""
    await conn.execute("UPDATE phone_numbers SET is_asked = false WHERE waba_id = $1", waba_id)
    await forget_failures(conn, waba_id)


async def ask_for(conn: Conn, waba_id: str, phone_number_id: str, *, with_pin: bool = True) -> bool:
    """Record that a person asks to register the number. Return False if there is no such number.

    `with_pin` False: a PIN that was given before does not count; wrong ones do, if one is given.
    """
    status = await conn.execute(
        """
        UPDATE phone_numbers SET is_asked = true, is_pin_given = is_pin_given AND $3
        WHERE waba_id = $1 AND phone_number_id = $2 AND read_at IS NOT NULL
        """,
        waba_id,
        phone_number_id,
        with_pin,
    )
    await forget_failures(conn, waba_id, phone_number_id=phone_number_id)
    return status == "UPDATE 1"


async def mark_registered(
    conn: Conn, waba_id: str, phone_number_id: str, *, is_registered: bool
) -> None:
    """Record that a register or deregister call succeeded."""
    await conn.execute(
        """
        UPDATE phone_numbers
        SET is_registered = $3, failure = NULL, retry_at = NULL, attempts = 0, wrong_pins = '{}'
        WHERE waba_id = $1 AND phone_number_id = $2
        """,
        waba_id,
        phone_number_id,
        is_registered,
    )


async def swap_told(
    conn: Conn, waba_id: str, states: Collection[tuple[str, str, str | None]]
) -> list[tuple[str, str | None]]:
    """Store the state and reason (of each phone number id) that the company is told. Return those
    that changed, with the state before; None: it was told of none."""
    rows = sorted(states)
    records = await conn.fetch(
        """
        UPDATE phone_numbers AS stored SET told = new.state, told_reason = new.reason
        FROM unnest($2::text[], $3::text[], $4::text[]) AS new (phone_number_id, state, reason),
             (SELECT waba_id, digits, told FROM phone_numbers
              WHERE waba_id = $1 ORDER BY digits FOR UPDATE) AS before
        WHERE stored.waba_id = $1 AND stored.phone_number_id = new.phone_number_id
            AND before.waba_id = stored.waba_id AND before.digits = stored.digits
            AND (stored.told, stored.told_reason)
                IS DISTINCT FROM (new.state, new.reason)
        RETURNING stored.phone_number_id, before.told
        """,
        waba_id,
        [row[0] for row in rows],
        [row[1] for row in rows],
        [row[2] for row in rows],
    )
    return [(record["phone_number_id"], record["told"]) for record in records]
