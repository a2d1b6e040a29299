"""The daily partitions of webhook_bodies."""

from datetime import UTC, date, datetime, time, timedelta

import asyncpg
from tenacity import (
    AsyncRetrying,
    retry_if_exception_type,
    stop_after_attempt,
    wait_fixed,
)

from shared.store.pool import Conn

DAYS_AHEAD = 14


def until_lock_is_free() -> AsyncRetrying:
    """Return the policy for a step that needs a lock for which others would queue behind it.

    It waits 0.5 s for the lock and leaves the others 1 s before it asks again, for two minutes.
    """
    return AsyncRetrying(
        retry=retry_if_exception_type(asyncpg.LockNotAvailableError),
        wait=wait_fixed(1),
        stop=stop_after_attempt(80),
        reraise=True,
    )


async def add_ahead(conn: Conn, today: date) -> int:
    """Create the missing partitions of the DAYS_AHEAD days after `today`. Return how many.

    Idempotent. `conn` is in no transaction. A lock lets one process run at a time: two would both
    find the same day missing. Rows of a day without a partition are stored in the default
    partition, so a late run loses nothing. Such a day is skipped: PostgreSQL cannot attach its
    partition while they are there. Raise LockNotAvailableError if a reader holds a partition for
    two minutes.
    """
    days = [today + timedelta(days=ahead) for ahead in range(1, DAYS_AHEAD + 1)]
    await conn.execute("SELECT pg_advisory_lock(hashtext('porteiro partitions'))")
    try:
        return sum([await _add(conn, day) for day in days])
    finally:
        await conn.execute("SELECT pg_advisory_unlock(hashtext('porteiro partitions'))")


async def _add(conn: Conn, day: date) -> bool:
    start = datetime.combine(day, time(), UTC)
    end = start + timedelta(days=1)
    name = f"webhook_bodies_{day:%Y%m%d}"
    if await conn.fetchval("SELECT relispartition FROM pg_class WHERE oid = to_regclass($1)", name):
        return False
    in_default = "SELECT 1 FROM webhook_bodies_default WHERE received_at >= $1 AND received_at < $2"
    if await conn.fetchval(f"SELECT EXISTS ({in_default})", start, end):
        return False
    # DDL takes no parameters. All texts are made here, from a date.
    bounds = f"'{start.isoformat()}'", f"'{end.isoformat()}'"
    # Made beside the table and attached with a matching CHECK: the parent's lock stops no write.
    await conn.execute(
        f"CREATE TABLE IF NOT EXISTS {name} (LIKE webhook_bodies INCLUDING ALL,"
        f" CONSTRAINT {name}_day"
        f" CHECK (received_at >= {bounds[0]} AND received_at < {bounds[1]}))"
    )
    await until_lock_is_free()(_attach, conn, name, bounds)
    return True


async def _attach(conn: Conn, name: str, bounds: tuple[str, str]) -> None:
    async with conn.transaction():
        await conn.execute("SET LOCAL lock_timeout = '500ms'")
        await conn.execute(
            f"ALTER TABLE webhook_bodies ATTACH PARTITION {name}"
            f" FOR VALUES FROM ({bounds[0]}) TO ({bounds[1]})"
        )
