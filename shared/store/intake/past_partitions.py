"""Drop past days of webhook_bodies. Bodies whose webhook is not settled are copied out before."""

from datetime import date, timedelta

from shared.store.intake.partitions import (
    bounds_of,
    names_of_days,
    partition_name,
    until_lock_is_free,
)
from shared.store.pool import Conn, affected

#: Bodies copied together: each has at most 3 MB.
MAX_COPIED = 100
#: How long copying one batch may take.
COPY_SECONDS = 60


async def days_before(conn: Conn, first_kept: date) -> list[date]:
    """Return the days before `first_kept` that have a partition, the oldest first."""
    names = await names_of_days(conn)
    days = [date.fromisoformat(name[-8:]) for name in names]
    return [day for day in days if day < first_kept]


async def count_uncopied(conn: Conn, day: date) -> int:
    """Return how many bodies of the day are not copied out, though their webhook is not settled."""
    count: int = await conn.fetchval(
        f"SELECT count(*) FROM ({_uncopied(day)}) AS uncopied", *bounds_of(day)
    )
    return count


async def copy_unsettled(conn: Conn, day: date) -> int:
    """Copy bodies out of the day's partition whose webhook is not settled. Return how many.

    Nobody waits for it. The reader of a body takes either copy: they are the same.
    """
    status = await conn.execute(
        f"""
        INSERT INTO unsettled_bodies (id, received_at, signature, body)
        {_uncopied(day)} LIMIT {MAX_COPIED} ON CONFLICT DO NOTHING
        """,
        *bounds_of(day),
        timeout=COPY_SECONDS,
    )
    return affected(status)


def _uncopied(day: date) -> str:
    return f"""
        SELECT id, received_at, signature, body
        FROM webhook_log JOIN {partition_name(day)} USING (id, received_at)
        WHERE NOT processed AND received_at >= $1 AND received_at < $2
            AND NOT EXISTS (SELECT FROM unsettled_bodies WHERE unsettled_bodies.id = webhook_log.id)
    """


async def drop(conn: Conn, day: date) -> int:
    """Drop the day's partition. Return how many bodies were still to be copied out of it.

    `conn` is in no transaction. Raise LockNotAvailableError if a reader holds the bodies for two
    minutes: nobody waited for it longer than half a second at a time.
    """
    copied: int = await until_lock_is_free()(_drop, conn, day)
    return copied


async def _drop(conn: Conn, day: date) -> int:
    async with conn.transaction():
        await conn.execute("SET LOCAL lock_timeout = '500ms'")
        # From here nothing is added to the day, so that nothing is lost with it.
        await conn.execute(f"LOCK TABLE {partition_name(day)} IN SHARE MODE")
        copied = 0
        while count := await copy_unsettled(conn, day):
            copied += count
        await conn.execute(f"DROP TABLE {partition_name(day)}")
    return copied


def first_kept_day(today: date, days: int) -> date:
    """Return the first day that is still within `days` of today."""
    return today - timedelta(days=days)
