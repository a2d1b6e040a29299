"""A transaction locks a connection's row once, however much it does to the connection."""

import re
from collections import defaultdict
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import asyncpg
import pytest
from asyncpg.connection import LoggedQuery
from pytest import MonkeyPatch

from shared.store.pool import Conn, Pool
from tests.support.onboarding_setup import Installation, open_installation
from tests.support.simulated import WABA, number
from tests.support.waiting import eventually

LOCK = re.compile(r"FROM whatsapp_connections .*FOR UPDATE", re.DOTALL)


class Transactions:
    """The statements of each transaction that a pool of this process committed."""

    def __init__(self) -> None:
        self._open: defaultdict[int, list[str]] = defaultdict(list)
        self.committed: list[list[str]] = []

    async def watch(self, conn: Any) -> None:
        """Pass this to a pool as `init`: it is called once for each new handle."""
        conn.add_query_logger(partial(self._note, id(conn)))

    def _note(self, handle: int, query: LoggedQuery) -> None:
        statements = self._open[handle]
        if query.query.startswith("BEGIN"):
            statements.clear()
        elif query.query.startswith("COMMIT"):
            self.committed.append(list(statements))
        else:
            statements.append(query.query)


@pytest.fixture
def transactions(monkeypatch: MonkeyPatch) -> Transactions:
    watched = Transactions()
    create_pool = asyncpg.create_pool

    def create_watched_pool(*arguments: Any, init: Any, **options: Any) -> Any:
        async def init_and_watch(conn: Any) -> None:
            await init(conn)
            await watched.watch(conn)

        return create_pool(*arguments, init=init_and_watch, **options)

    monkeypatch.setattr(asyncpg, "create_pool", create_watched_pool)
    return watched


@pytest.fixture
async def watched(
    transactions: Transactions, environment: dict[str, str], pool: Pool
) -> AsyncIterator[Installation]:
    async with open_installation(environment, pool) as installation:
        yield installation


def locks(statements: list[str]) -> int:
    return sum(1 for statement in statements if LOCK.search(statement))


async def test_a_proof_and_a_blocked_setup_lock_the_connection_once(
    watched: Installation, transactions: Transactions, conn: Conn
) -> None:
    await watched.meta.put_waba(number())
    await watched.meta.order("POST", "faults", {"call": "subscribe", "code": 131042})
    await watched.connect()

    async def is_blocked() -> bool:
        blocked = "SELECT true FROM follow_ups WHERE subject = $1 AND state = 'blocked'"
        return bool(await conn.fetchval(blocked, WABA))

    await eventually(is_blocked)

    proving = [t for t in transactions.committed if any("SET waba_id = $2" in s for s in t)]
    blocked = [t for t in transactions.committed if any("'blocked' ELSE" in s for s in t)]
    assert (len(proving), len(blocked)) == (1, 1)
    assert [locks(statements) for statements in (*proving, *blocked)] == [1, 1]
    assert max(map(locks, transactions.committed)) == 1
