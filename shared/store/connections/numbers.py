"""The numbers of connections, as Meta tells them."""

from collections.abc import Sequence

from shared.domain.provisioning import PhoneNumber
from shared.store.pool import Conn


async def save(conn: Conn, waba_id: str, numbers: Sequence[PhoneNumber]) -> None:
    """All the numbers Meta has of this WABA now, the newest first; idempotent.

    Of two with the same digits the newer one is the number.
    """
    newest = {one.digits: one for one in reversed(numbers)}
    rows = sorted(newest.values(), key=lambda one: one.digits)  # one lock order for everybody
    await conn.execute(
        "UPDATE phone_numbers SET read_at = NULL WHERE waba_id = $1",
        waba_id,
    )
    await conn.execute(
        """
        INSERT INTO phone_numbers AS held
            (waba_id, digits, phone_number_id, is_coexistence, is_registered, read_at)
        SELECT $1, told.*, now()
        FROM unnest($2::text[], $3::text[], $4::boolean[], $5::boolean[])
            AS told (digits, phone_number_id, is_coexistence, is_registered)
        ON CONFLICT (waba_id, digits) DO UPDATE
        SET phone_number_id = excluded.phone_number_id, is_coexistence = excluded.is_coexistence,
            is_registered = excluded.is_registered, read_at = excluded.read_at
        """,
        waba_id,
        [one.digits for one in rows],
        [one.phone_number_id for one in rows],
        [one.is_coexistence for one in rows],
        [one.is_registered for one in rows],
    )


async def current(conn: Conn, waba_id: str) -> list[PhoneNumber]:
    """Those Meta had when it was last asked, in a fixed order."""
    records = await conn.fetch(
        """
        SELECT phone_number_id, digits, is_coexistence, is_registered FROM phone_numbers
        WHERE waba_id = $1 AND read_at IS NOT NULL ORDER BY digits
        """,
        waba_id,
    )
    return [PhoneNumber(*record) for record in records]


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
