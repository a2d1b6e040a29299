"""From Meta's POST to rows in PostgreSQL, through the real ingress, RabbitMQ and processor."""

import random
from collections.abc import AsyncIterator

import aiohttp
import pytest
from redis.asyncio import Redis

from deploy.local.demo.bodies import BROKEN
from deploy.local.simulated_meta.writing import write
from shared import slow_lane
from shared.crypto import KeyRing
from shared.store.intake import webhooks
from shared.store.pool import Conn
from tests.support import running
from tests.support.sending import WABA, account_update, message, post
from tests.support.waiting import eventually


@pytest.fixture
async def client(environment: dict[str, str]) -> AsyncIterator[aiohttp.ClientSession]:
    async with running.ingress(environment) as client, running.processor(environment):
        yield client


async def until_processed_or_dead(conn: Conn, count: int) -> None:
    """Wait until `count` webhooks are processed or dead."""

    async def is_reached() -> bool:
        actual = await conn.fetchval(
            "SELECT count(*) FROM webhook_log WHERE processed OR state = 'dead'"
        )
        return bool(actual == count)

    await eventually(is_reached)


async def test_a_webhook_is_stored_with_its_bytes_and_its_changes(
    client: aiohttp.ClientSession, conn: Conn, ring: KeyRing
) -> None:
    body = write(account_update("ACCOUNT_RECONNECTED"))
    assert await post(client, body) == 200
    await until_processed_or_dead(conn, 1)
    [row] = await conn.fetch("SELECT * FROM webhook_log")
    [change] = await conn.fetch("SELECT * FROM webhook_changes")
    assert (row["stored_via"], row["lane"], row["state"]) == ("broker", "fast", "split")
    assert await webhooks.read_body(conn, ring, row["id"]) == body
    assert (change["field"], change["event"]) == ("account_update", "ACCOUNT_RECONNECTED")
    assert (change["waba_id"], change["state"]) == (WABA, "processed")


async def test_repeated_webhooks_in_any_order_make_the_same_changes(
    client: aiohttp.ClientSession, conn: Conn
) -> None:
    bodies = [write(message(n)) for n in range(20)]
    for seed in range(3):
        random.Random(seed).shuffle(bodies)
        for body in bodies:
            assert await post(client, body) == 200
    await until_processed_or_dead(conn, 60)
    assert await conn.fetchval("SELECT count(*) FROM webhook_changes") == 20
    assert await conn.fetchval("SELECT count(*) FROM webhook_log WHERE processed") == 60


async def test_broken_bodies_are_stored_as_dead_and_do_not_affect_good_ones(
    client: aiohttp.ClientSession, conn: Conn, ring: KeyRing
) -> None:
    good = [write(message(n)) for n in range(100)]
    mixed = [*good, *BROKEN.values()]
    random.Random(7).shuffle(mixed)
    for body in mixed:
        assert await post(client, body) == 200
    await until_processed_or_dead(conn, len(mixed))
    dead = await conn.fetch("SELECT id, last_error FROM webhook_log WHERE state = 'dead'")
    dead_bodies = {await webhooks.read_body(conn, ring, row["id"]) for row in dead}
    assert dead_bodies == set(BROKEN.values())
    assert all(row["last_error"].startswith("unparsable: ") for row in dead)
    assert await conn.fetchval("SELECT count(*) FROM webhook_changes") == 100


async def test_a_waba_over_its_limit_takes_the_slow_lane(
    client: aiohttp.ClientSession, conn: Conn, redis_url: str
) -> None:
    async with Redis.from_url(redis_url) as redis:
        await redis.sadd(slow_lane.KEY, WABA)

        async def took_the_slow_lane() -> bool:
            await post(client, message(1))
            return bool(await conn.fetchval("SELECT 1 FROM webhook_log WHERE lane = 'slow'"))

        try:
            await eventually(took_the_slow_lane)
        finally:
            await redis.delete(slow_lane.KEY)
