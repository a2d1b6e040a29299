"""A server that turns read-only, a queue that is deleted, answers that fail: survived, and told."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import asyncpg
import pytest
from pytest import MonkeyPatch

from deploy.local.simulated_meta.writing import write
from deploy.local.stack.servers import LOOPBACK, free_port
from shared.broker import topology
from shared.broker.topology import RAW, RAW_SLOW
from shared.crypto import KeyRing
from shared.store.intake import webhooks
from shared.store.pool import Conn, Pool, open_pool, ping, transaction
from tests.support import running
from tests.support.broker import Broker
from tests.support.bundles import bundle, until_states
from tests.support.keys import make_key
from tests.support.processes import process
from tests.support.proxy import open_proxy
from tests.support.refusing import refusing
from tests.support.samples import make_webhook, make_webhook_row
from tests.support.sending import message, post
from tests.support.waiting import eventually


async def readiness(port: int) -> tuple[int, dict[str, Any]]:
    try:
        async with aiohttp.request("GET", f"http://{LOOPBACK}:{port}/readyz") as answer:
            return answer.status, json.loads(await answer.read())
    except aiohttp.ClientError:
        return 0, {}


async def until_ready(port: int, *, status: int = 200) -> dict[str, Any]:
    async def report() -> dict[str, Any] | None:
        answered, content = await readiness(port)
        return content if answered == status else None

    return await eventually(report)


@asynccontextmanager
async def read_only(database_url: str, conn: Conn) -> AsyncIterator[None]:
    """Make the database read-only for whoever connects, as a failover does, and end sessions."""
    name = await conn.fetchval("SELECT current_database()")
    admin = await asyncpg.connect(database_url.rpartition("/")[0] + "/postgres")
    end = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = $1 AND application_name IN ('processor', 'ingress', 'console')"
    )
    try:
        await admin.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
        await admin.execute(end, name)
        yield
    finally:
        await admin.execute(f'ALTER DATABASE "{name}" RESET default_transaction_read_only')
        await admin.close()


async def test_a_session_whose_server_has_become_read_only_is_closed(database_url: str) -> None:
    async with open_pool(database_url, name="test", size=1) as pool:
        async with transaction(pool) as conn:
            pid = await conn.fetchval("SELECT pg_backend_pid()")
            await conn.execute("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY")
        with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
            await ping(pool)
        await ping(pool)
        async with transaction(pool) as conn:
            assert await conn.fetchval("SELECT pg_backend_pid()") != pid


@pytest.mark.parametrize("service", ["processor", "console"])
async def test_a_service_on_a_read_only_server_is_unready_and_recovers(
    environment: dict[str, str], broker: Broker, conn: Conn, database_url: str, service: str
) -> None:
    port = free_port()
    async with process(f"services.{service}", environment, HEALTH_PORT=str(port)) as started:
        await until_ready(port)
        async with read_only(database_url, conn):
            await until_ready(port, status=503)
            await broker.put(RAW, bundle(write(message(1))))
        await until_ready(port)
        if service == "processor":
            await until_states(conn, split=1)
        assert started.returncode is None


async def test_a_deleted_queue_stops_nothing_that_needs_no_broker(
    environment: dict[str, str], broker: Broker, conn: Conn, ring: KeyRing
) -> None:
    port = free_port()
    async with process("services.processor", environment, HEALTH_PORT=str(port)) as started:
        await until_ready(port)
        async with broker.amqp.channel() as channel:
            for queue in (RAW, RAW_SLOW):
                await channel.queue_delete(queue)
        try:
            row = make_webhook_row(make_webhook(write(message(1))))
            await webhooks.insert(conn, ring, [row])
            await until_states(conn, split=1)

            async def is_told() -> bool:
                dependencies = (await readiness(port))[1]["dependencies"]
                return bool(dependencies["broker"] == "down")

            await eventually(is_told)
        finally:
            await topology.declare(broker.amqp, (30, 300, 1800))
        await broker.put(RAW, bundle(write(message(2))))
        await until_states(conn, split=2)
        assert started.returncode is None


async def test_an_ingress_that_can_store_nothing_is_not_ready_and_says_why(
    environment: dict[str, str], broker: Broker, conn: Conn, pool: Pool
) -> None:
    """Both servers are up: only its own answers show it."""
    port = int(environment["HEALTH_PORT"])
    async with running.ingress(environment) as client:
        assert await post(client, message(1)) == 200
        async with broker.amqp.channel() as channel:
            queue = await channel.get_queue(RAW)
            await queue.unbind(topology.WORK, RAW)
        try:
            async with refusing(conn, "fast", table="webhook_log", column="lane"):
                assert await post(client, message(2)) == 503
                report = await until_ready(port, status=503)
                assert set(report["dependencies"].values()) == {"up"}
                assert report["failing"] == ["storing"]
        finally:
            await queue_bound_again(broker)

        async def is_stored() -> bool:
            return await post(client, message(2)) == 200

        await eventually(is_stored)
        await until_ready(port)


async def queue_bound_again(broker: Broker) -> None:
    async with broker.amqp.channel() as channel:
        await (await channel.get_queue(RAW)).bind(topology.WORK, routing_key=RAW)


async def test_a_frozen_postgresql_is_given_up_and_the_api_says_try_again(
    environment: dict[str, str], database_url: str, conn: Conn, monkeypatch: MonkeyPatch
) -> None:
    key = await make_key(conn)
    async with open_proxy(database_url) as proxy:
        monkeypatch.setenv("DATABASE_URL", proxy.url)
        async with running.console(environment) as client:
            headers = {"Authorization": f"Bearer {key}"}
            async with client.get("/api/v1/whatsapp/orphans", headers=headers) as answer:
                assert answer.status == 200
            proxy.stall()
            async with asyncio.timeout(15):
                async with client.get("/api/v1/whatsapp/orphans", headers=headers) as answer:
                    assert answer.status == 503
                    assert answer.headers["Retry-After"]
            await proxy.heal()
