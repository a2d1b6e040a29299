"""Of the ids that webhooks name a number by, the highest is stored: it is the newest."""

from itertools import permutations

import pytest

from shared.domain.account_changes import NumberRef
from shared.store.connections import connections, facts
from shared.store.pool import Conn

ORDERS = list(permutations(("99", "100", None)))


@pytest.mark.parametrize("order", ORDERS)
async def test_the_highest_id_is_stored_whatever_the_order(
    conn: Conn, order: tuple[str | None, ...]
) -> None:
    await connections.ensure(conn, ["71"])
    for phone_number_id in order:
        await facts.add_numbers(conn, [("71", NumberRef("15551", phone_number_id))])
    assert await conn.fetchval("SELECT phone_number_id FROM phone_numbers") == "100"


@pytest.mark.parametrize("order", ORDERS)
async def test_the_highest_id_of_one_group_is_stored(
    conn: Conn, order: tuple[str | None, ...]
) -> None:
    await connections.ensure(conn, ["71"])
    await facts.add_numbers(conn, [("71", NumberRef("15551", each)) for each in order])
    assert await conn.fetchval("SELECT phone_number_id FROM phone_numbers") == "100"
