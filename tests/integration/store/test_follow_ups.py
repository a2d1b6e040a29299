"""Follow-ups: claimed, held, and asked for again."""

import pytest

from shared.store import due, follow_ups
from shared.store.pool import Connection


async def test_a_follow_up_asked_for_while_it_is_worked_is_worked_again(conn: Connection) -> None:
    async with conn.transaction():
        await follow_ups.add(conn, "provision", ["71"])
    claimed = await due.claim(conn, "follow_up")
    one = await follow_ups.load(conn, claimed.claims[0])
    assert one is not None
    await follow_ups.add(conn, "provision", ["71"])
    async with conn.transaction():
        await follow_ups.hold(conn, one)
        await follow_ups.end(conn, one)
    assert await conn.fetchval("SELECT state FROM follow_ups") == "pending"
    with pytest.raises(follow_ups.Void):
        await follow_ups.hold(conn, one)
