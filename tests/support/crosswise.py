"""Write the same rows from two transactions, in opposite order."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from shared.store.pool import Conn, Pool, transaction
from tests.support.waiting import eventually

Row = TypeVar("Row")


async def write_in_opposite_order(
    pool: Pool, rows: Sequence[Row], write: Callable[[Conn, Sequence[Row]], Awaitable[int]]
) -> int:
    """Run `write` on the rows in two transactions at once. Return how many rows both wrote.

    A third transaction locks the middle row until both wait for it. If `write` did not order its
    rows, each writer would then have locked the rows that the other needs next.
    """

    async def write_all(rows: Sequence[Row]) -> int:
        async with transaction(pool) as conn:
            return await write(conn, rows)

    async with pool.acquire() as blocker, pool.acquire() as watcher:

        async def both_wait() -> bool:
            pids = await watcher.fetch(
                "SELECT pid FROM pg_stat_activity"
                " WHERE datname = current_database() AND wait_event_type = 'Lock'"
            )
            return bool(len(pids) == 2)

        locking = blocker.transaction()
        await locking.start()
        await write(blocker, [rows[len(rows) // 2]])
        writers = asyncio.gather(write_all(rows), write_all(rows[::-1]))
        await eventually(both_wait)
        await locking.rollback()
        return sum(await writers)
