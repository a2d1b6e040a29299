"""Writers that bring the same rows in opposite order wait for each other, never in a circle."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import TypeVar
from uuid import UUID

from shared.crypto import KeyRing
from shared.domain.splitting import Change
from shared.store import changes, webhooks
from shared.store.pool import Connection, Pool, transaction
from shared.store.webhooks import Arrival
from tests.integration.store.samples import make_arrival, make_change, make_webhook, of
from tests.waiting import eventually

Row = TypeVar("Row")
COUNT = 200


async def write_crosswise(
    pool: Pool, rows: Sequence[Row], write: Callable[[Connection, Sequence[Row]], Awaitable[int]]
) -> int:
    """How many rows two writers made that run into each other in the midst, without fail.

    A third holds the middle row until both wait. Unordered, each would then hold what the other
    wants next.
    """

    async def one(rows: Sequence[Row]) -> int:
        async with transaction(pool) as connection:
            return await write(connection, rows)

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


async def test_the_same_changes_in_opposite_order(
    pool: Pool, conn: Connection, ring: KeyRing
) -> None:
    webhook = make_webhook()
    await webhooks.insert(conn, ring, [make_arrival(webhook, state="split")])

    async def write(connection: Connection, rows: Sequence[tuple[UUID, datetime, Change]]) -> int:
        return len(await changes.insert(connection, ring, rows))

    rows = of(webhook, *map(make_change, range(COUNT)))
    assert await write_crosswise(pool, rows, write) == COUNT


async def test_the_same_webhooks_in_opposite_order(pool: Pool, ring: KeyRing) -> None:
    async def write(connection: Connection, rows: Sequence[Arrival]) -> int:
        return len(await webhooks.insert(connection, ring, rows))

    now = datetime.now(UTC)
    arrivals = [make_arrival(make_webhook(at=now)) for _ in range(COUNT)]
    assert await write_crosswise(pool, arrivals, write) == COUNT
