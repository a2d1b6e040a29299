"""Orderly restarts of the processor make no dead letters and lose no webhook."""

import asyncio
from functools import partial

from deploy.local.simulated_meta.writing import write
from shared.broker.topology import DEAD, RAW
from shared.store.pool import Conn
from tests.support import running
from tests.support.broker import Broker
from tests.support.bundles import bundle
from tests.support.sending import account_update, message
from tests.support.waiting import eventually

RESTARTS = 20


async def test_twenty_restarts_under_load_make_no_dead_letters(
    environment: dict[str, str], broker: Broker, conn: Conn
) -> None:
    sent = 0
    stopping = asyncio.Event()

    async def load() -> None:
        nonlocal sent
        while not stopping.is_set():
            bodies = [write(message(sent + n)) for n in range(10)]
            bodies.append(write(account_update("ACCOUNT_RECONNECTED", time=1_790_000_000 + sent)))
            await broker.put(RAW, bundle(*bodies))
            sent += len(bodies)

    loading = asyncio.ensure_future(load())
    for number in range(RESTARTS):
        async with running.processor(environment):
            stored = await conn.fetchval("SELECT count(*) FROM webhook_log")
            await eventually(partial(_has_more_than, conn, stored))
            if number == RESTARTS - 1:
                stopping.set()
                await loading
                await eventually(lambda: _has_processed(conn, sent))
    assert await broker.count(DEAD) == 0
    assert await conn.fetchval("SELECT count(*) FROM dead_letters") == 0
    assert await conn.fetchval("SELECT count(*) FROM webhook_changes") == sent


async def _has_more_than(conn: Conn, stored: int) -> bool:
    return bool(await conn.fetchval("SELECT count(*) > $1 FROM webhook_log", stored))


async def _has_processed(conn: Conn, count: int) -> bool:
    return bool(await conn.fetchval("SELECT count(*) = $1 FROM webhook_log WHERE processed", count))
