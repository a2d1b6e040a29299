"""The daily partitions of webhook_bodies."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
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
#: Fewer days ahead than this are alarming: nobody has added any for a week.
ALARM_DAYS_AHEAD = 7
#: How long moving the rows of a day may take.
MOVE_SECONDS = 600
#: How long a process waits for another one that changes partitions.
TURN_SECONDS = 120


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

    Idempotent. `conn` is in no transaction. One process runs at a time: two would both find the
    same day missing. Rows of a day without a partition are stored in the default partition, so a
    late run loses nothing: the rows of past days are moved from there. A day ahead with such rows
    is skipped: they still come. Raise LockNotAvailableError if a reader holds a partition, or
    another process changes partitions, for two minutes.
    """
    days = [today + timedelta(days=ahead) for ahead in range(1, DAYS_AHEAD + 1)]
    async with changing_partitions(conn):
        await until_lock_is_free()(alter, conn, _DROP_CHECK)  # of a run that was killed
        for day in await _past_days_in_default(conn, today):
            await _move_from_default(conn, day)
        return sum([await _add(conn, day, today) for day in days])


async def days_ahead(conn: Conn, today: date) -> int:
    """Return how many days after `today`, without a gap, have a partition."""
    names = set(await names_of_days(conn))
    ahead = 0
    while partition_name(today + timedelta(days=ahead + 1)) in names:
        ahead += 1
    return ahead


async def names_of_days(conn: Conn) -> list[str]:
    """Return the names of the partitions of days, the oldest first: not the default one's."""
    records = await conn.fetch(
        """
        SELECT relname FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
        WHERE inhparent = 'webhook_bodies'::regclass AND relname ~ '^webhook_bodies_[0-9]{8}$'
        ORDER BY relname
        """
    )
    return [record["relname"] for record in records]


@asynccontextmanager
async def changing_partitions(conn: Conn) -> AsyncIterator[None]:
    """Let no other process change partitions, or count on their rows to stay in place, meanwhile.

    Raise LockNotAvailableError if another does so for TURN_SECONDS.
    """
    async with conn.transaction():  # the lock is the session's, the limits end here
        await conn.execute(
            "SELECT set_config('lock_timeout', $1, true),"
            " set_config('statement_timeout', '0', true)",
            f"{TURN_SECONDS}s",
        )
        await conn.execute(
            "SELECT pg_advisory_lock(hashtext('porteiro partitions'))", timeout=TURN_SECONDS + 5
        )
    try:
        yield
    finally:
        await conn.execute("SELECT pg_advisory_unlock(hashtext('porteiro partitions'))")


async def keep_rows_in_place(conn: Conn) -> None:
    """Until the transaction ends, no row of the bodies moves to another partition. Wait for a run
    of `add_ahead`, as long as `lock_timeout` allows.

    A statement that waits for a row or partition meanwhile would not find it at its new place.
    """
    await conn.execute("SELECT pg_advisory_xact_lock_shared(hashtext('porteiro partitions'))")


async def _past_days_in_default(conn: Conn, today: date) -> list[date]:
    records = await conn.fetch(
        """
        SELECT DISTINCT (received_at AT TIME ZONE 'UTC')::date AS day FROM webhook_bodies_default
        WHERE received_at < $1 ORDER BY day
        """,
        datetime.combine(today, time(), UTC),
        timeout=MOVE_SECONDS,
    )
    return [record["day"] for record in records]


async def _move_from_default(conn: Conn, day: date) -> None:
    """Move the day's rows to a partition of their own, in one transaction: readers find them
    always."""
    async with conn.transaction():
        await conn.execute(f"SET LOCAL statement_timeout = '{MOVE_SECONDS}s'")
        is_attached = await _is_partition(conn, partition_name(day))
        if not is_attached:
            await _create(conn, day)
        await conn.execute(
            f"""
            WITH moved AS (
                DELETE FROM webhook_bodies_default WHERE received_at >= $1 AND received_at < $2
                RETURNING *
            )
            INSERT INTO {partition_name(day)} SELECT * FROM moved
            """,
            *bounds_of(day),
            timeout=MOVE_SECONDS,
        )
        if not is_attached:
            await until_lock_is_free()(_attach, conn, day)


async def _add(conn: Conn, day: date, today: date) -> bool:
    if await _is_partition(conn, partition_name(day)):
        return False
    in_default = "SELECT 1 FROM webhook_bodies_default WHERE received_at >= $1 AND received_at < $2"
    if await conn.fetchval(f"SELECT EXISTS ({in_default})", *bounds_of(day)):
        return False
    await _create(conn, day)
    if day < today + timedelta(days=2):  # the CHECK of a run that is killed would refuse its rows
        await until_lock_is_free()(_attach, conn, day)
        return True
    async with _known_not_in_default(conn, day):
        await until_lock_is_free()(_attach, conn, day)
    return True


_DROP_CHECK = "ALTER TABLE webhook_bodies_default DROP CONSTRAINT IF EXISTS not_another_day"


@asynccontextmanager
async def _known_not_in_default(conn: Conn, day: date) -> AsyncIterator[None]:
    """Prove by a CHECK that the default partition has no row of the day. Otherwise PostgreSQL reads
    all of it during ATTACH, while nobody can write to it."""
    start, end = bounds_of(day)
    add = (
        "ALTER TABLE webhook_bodies_default ADD CONSTRAINT not_another_day CHECK"
        f" (received_at < '{start.isoformat()}' OR received_at >= '{end.isoformat()}') NOT VALID"
    )
    await until_lock_is_free()(alter, conn, add)
    await conn.execute(
        "ALTER TABLE webhook_bodies_default VALIDATE CONSTRAINT not_another_day",
        timeout=MOVE_SECONDS,
    )
    try:
        yield
    finally:
        await until_lock_is_free()(alter, conn, _DROP_CHECK)


def partition_name(day: date) -> str:
    return f"webhook_bodies_{day:%Y%m%d}"


def bounds_of(day: date) -> tuple[datetime, datetime]:
    start = datetime.combine(day, time(), UTC)
    return start, start + timedelta(days=1)


async def _is_partition(conn: Conn, name: str) -> bool:
    query = "SELECT relispartition FROM pg_class WHERE oid = to_regclass($1)"
    return bool(await conn.fetchval(query, name))


async def _create(conn: Conn, day: date) -> None:
    """Create the day's table beside the partitions, with a CHECK that matches the partition's: when
    it is attached, no row of it is read."""
    start, end = bounds_of(day)
    # DDL takes no parameters. All texts are made here, from a date.
    await conn.execute(
        f"CREATE TABLE IF NOT EXISTS {partition_name(day)} (LIKE webhook_bodies INCLUDING ALL,"
        f" CONSTRAINT {partition_name(day)}_day"
        f" CHECK (received_at >= '{start.isoformat()}' AND received_at < '{end.isoformat()}'))"
    )


async def _attach(conn: Conn, day: date) -> None:
    start, end = bounds_of(day)
    await alter(
        conn,
        f"ALTER TABLE webhook_bodies ATTACH PARTITION {partition_name(day)}"
        f" FOR VALUES FROM ('{start.isoformat()}') TO ('{end.isoformat()}')",
    )


async def alter(conn: Conn, statement: str) -> None:
    async with conn.transaction():
        await conn.execute("SET LOCAL lock_timeout = '500ms'")
        await conn.execute(statement)
