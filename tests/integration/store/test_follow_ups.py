"""Follow-ups: claimed, held, and asked for again."""

import asyncio

import pytest

from shared.store import due
from shared.store.connections import follow_ups
from shared.store.pool import Conn, Pool, transaction
from tests.support.waiting import eventually


async def test_a_follow_up_asked_for_while_it_is_worked_is_worked_again(conn: Conn) -> None:
    async with conn.transaction():
        await follow_ups.add(conn, "provision", ["71"])
    leased = await due.lease(conn, "follow_up")
    one = await follow_ups.load(conn, leased.leases[0])
    assert one is not None
    await follow_ups.add(conn, "provision", ["71"])
    async with conn.transaction():
        await follow_ups.fence(conn, one)
        await follow_ups.end(conn, one)
    assert await conn.fetchval("SELECT state FROM follow_ups") == "pending"
    with pytest.raises(follow_ups.LeaseLost):
        await follow_ups.fence(conn, one)


async def test_of_one_waba_one_is_claimed_however_many_claim_at_once(pool: Pool) -> None:
    async with transaction(pool) as conn:
        await follow_ups.add(conn, "provision", ["71"])
        await follow_ups.add(conn, "read", ["71"])

    async def lease() -> int:
        async with transaction(pool) as conn:
            return len((await due.lease(conn, "follow_up")).leases)

    async with transaction(pool) as conn:
        assert len((await due.lease(conn, "follow_up")).leases) == 1
        other = asyncio.create_task(lease())

        async def it_waits() -> bool:
            async with transaction(pool) as watching:
                return bool(
                    await watching.fetchval(
                        "SELECT true FROM pg_stat_activity WHERE wait_event = 'advisory'"
                        " AND datname = current_database()"
                    )
                )

        await eventually(it_waits)
    assert await other == 0
