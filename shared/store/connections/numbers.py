"""The phone numbers of connections, as Meta lists them."""

from collections.abc import Sequence

from shared.domain.provisioning import PhoneNumber
from shared.store.pool import Conn


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
            (waba_id, digits, phone_number_id, is_coexistence, is_registered, read_at)
        SELECT $1, new.*, now()
        FROM unnest($2::text[], $3::text[], $4::boolean[], $5::boolean[])
            AS new (digits, phone_number_id, is_coexistence, is_registered)
        ON CONFLICT (waba_id, digits) DO UPDATE
        SET phone_number_id = excluded.phone_number_id, is_coexistence = excluded.is_coexistence,
            is_registered = excluded.is_registered, read_at = excluded.read_at
        """,
        waba_id,
        [number.digits for number in rows],
        [number.phone_number_id for number in rows],
        [number.is_coexistence for number in rows],
        [number.is_registered for number in rows],
    )


async def current(conn: Conn, waba_id: str) -> list[PhoneNumber]:
    """Return the numbers that Meta listed when they were last read, ordered by their digits."""
    records = await conn.fetch(
        """
        SELECT phone_number_id, digits, is_coexistence, is_registered FROM phone_numbers
        WHERE waba_id = $1 AND read_at IS NOT NULL ORDER BY digits
        """,
        waba_id,
    )
    return [PhoneNumber(**record) for record in records]


async def mark_registered(
    conn: Conn, waba_id: str, phone_number_id: str, *, is_registered: bool
) -> None:
    await conn.execute(
        """
        UPDATE phone_numbers SET is_registered = $3 WHERE waba_id = $1 AND phone_number_id = $2
        """,
        waba_id,
        phone_number_id,
        is_registered,
    )
