"""The daily partitions of webhook_bodies."""

from datetime import UTC, date, datetime, time, timedelta

from shared.store.pool import Conn

DAYS_AHEAD = 14


async def add_ahead(conn: Conn, today: date) -> int:
    """Create the missing partitions of the DAYS_AHEAD days after `today`. Return how many.

    Idempotent. A lock lets one process run at a time: two would both find the same day missing.
    Rows of a day without a partition are stored in the default partition, so a late run loses
    nothing. Such a day is skipped: PostgreSQL cannot create its partition while they are there.
    """
    days = [today + timedelta(days=ahead) for ahead in range(1, DAYS_AHEAD + 1)]
    async with conn.transaction():
        await conn.execute("SELECT pg_advisory_xact_lock(hashtext('porteiro partitions'))")
        return sum([await _add(conn, day) for day in days])


async def _add(conn: Conn, day: date) -> bool:
    start = datetime.combine(day, time(), UTC)
    end = start + timedelta(days=1)
    name = f"webhook_bodies_{day:%Y%m%d}"
    if await conn.fetchval("SELECT to_regclass($1)", name):
        return False
    in_default = "SELECT 1 FROM webhook_bodies_default WHERE received_at >= $1 AND received_at < $2"
    if await conn.fetchval(f"SELECT EXISTS ({in_default})", start, end):
        return False
    # DDL takes no parameters. All three texts are made here, from a date.
    await conn.execute(
        f"CREATE TABLE {name} PARTITION OF webhook_bodies"
        f" FOR VALUES FROM ('{start.isoformat()}') TO ('{end.isoformat()}')"
    )
    return True
