"""Two writers of the same rows in opposite order."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from shared.store.pool import Conn, Pool, transaction
from tests.support.waiting import eventually

Row = TypeVar("Row")


async def write_crosswise(
    pool: Pool, rows: Sequence[Row], write: Callable[[Conn, Sequence[Row]], Awaitable[int]]
) -> int:
    """How many rows two writers made that run into each other in the midst, without fail.

    A third holds the middle row until both wait. Unordered, each would then hold what the other
    wants next.
    """

    async def one(rows: Sequence[Row]) -> int:
        async with transaction(pool) as conn:
            return await write(conn, rows)

    async with pool.acquire() as third, pool.acquire() as watcher:

        async def both_wait() -> bool:
            waiting = await watcher.fetch(
                "SELECT pid FROM pg_stat_activity"
                " WHERE datname = current_database() AND wait_event_type = 'Lock'"
            )
            return bool(len(waiting) == 2)

        held = third.transaction()
        await held.start()
        await write(third, [rows[len(rows) // 2]])
        writers = asyncio.gather(one(rows), one(rows[::-1]))
        await eventually(both_wait)
        await held.rollback()
        return sum(await writers)
