"""Follow-ups are leased once per WABA, are fenced, and are attempted again if added again."""

import asyncio

import pytest

from shared.store import due
from shared.store.connections import follow_ups
from shared.store.connections.follow_ups import FOLLOW_UP_KINDS
from shared.store.pool import Conn, Pool, transaction
from tests.support.waiting import eventually


async def test_a_follow_up_added_during_its_attempt_is_attempted_again(conn: Conn) -> None:
    async with conn.transaction():
        await follow_ups.add(conn, "provision", ["71"])
    leased = await due.lease_follow_up(conn, FOLLOW_UP_KINDS)
    follow_up = await follow_ups.load(conn, leased.leases[0])
    assert follow_up is not None
    await follow_ups.add(conn, "provision", ["71"])
    async with conn.transaction():
        await follow_ups.fence(conn, follow_up)
        await follow_ups.end(conn, follow_up)
    assert await conn.fetchval("SELECT state FROM follow_ups") == "pending"
    with pytest.raises(follow_ups.LeaseLost):
        await follow_ups.fence(conn, follow_up)


async def test_concurrent_leases_take_only_one_follow_up_of_a_waba(pool: Pool) -> None:
    async with transaction(pool) as conn:
        await follow_ups.add(conn, "provision", ["71"])
        await follow_ups.add(conn, "read", ["71"])

    async def count_leased() -> int:
        async with transaction(pool) as conn:
            return len((await due.lease_follow_up(conn, FOLLOW_UP_KINDS)).leases)

    async with transaction(pool) as conn:
        assert len((await due.lease_follow_up(conn, FOLLOW_UP_KINDS)).leases) == 1
        other = asyncio.create_task(count_leased())

        async def other_waits() -> bool:
            async with transaction(pool) as watching:
                return bool(
                    await watching.fetchval(
                        "SELECT true FROM pg_stat_activity WHERE wait_event = 'advisory'"
                        " AND datname = current_database()"
                    )
                )

        await eventually(other_waits)
    assert await other == 0
