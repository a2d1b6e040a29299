"""The second road: what happens at the door when the broker, or everything, is away."""

from contextlib import suppress

import aiohttp
from pytest import MonkeyPatch

from deploy.local.simulated_meta.writing import headers, write
from services.ingress.app import PATH
from shared.broker.topology import RAW
from shared.store.pool import Conn
from tests.support import running, servers
from tests.support.broker import Broker
from tests.support.environment import APP_SECRET
from tests.support.proxy import open_proxy
from tests.support.sending import message, post
from tests.support.waiting import eventually


async def roads(conn: Conn) -> dict[str, int]:
    rows = await conn.fetch(
        "SELECT stored_via::text, count(*) AS n FROM webhook_log GROUP BY stored_via"
    )
    return {row["stored_via"]: row["n"] for row in rows}


async def test_with_the_broker_cut_off_webhooks_rest_in_the_database_and_are_worked_there(
    environment: dict[str, str], broker: Broker, conn: Conn, monkeypatch: MonkeyPatch
) -> None:
    async with open_proxy(broker.url) as proxy:
        monkeypatch.setenv("RABBITMQ_URL", proxy.url)
        async with running.ingress(environment) as client, running.processor(environment):
            await proxy.cut()
            for number in range(5):
                assert await post(client, message(number)) == 200

            async def all_processed() -> bool:
                count = await conn.fetchval("SELECT count(*) FROM webhook_log WHERE processed")
                return bool(count == 5)

            await eventually(all_processed)
            assert await roads(conn) == {"database": 5}
            assert await conn.fetchval("SELECT count(*) FROM webhook_changes") == 5

            await proxy.heal()

            async def back_on_the_broker() -> bool:
                await post(client, message(100))
                return "broker" in await roads(conn)

            await eventually(back_on_the_broker)


async def test_a_broker_that_stalls_is_left_for_the_database_in_time(
    environment: dict[str, str], broker: Broker, conn: Conn, monkeypatch: MonkeyPatch
) -> None:
    async with open_proxy(broker.url) as proxy:
        monkeypatch.setenv("RABBITMQ_URL", proxy.url)
        async with running.ingress(environment) as client:
            proxy.stall()
            assert await post(client, message(1)) == 200
            assert await roads(conn) == {"database": 1}


async def test_a_webhook_that_took_both_roads_since_its_confirm_was_late_is_one_webhook(
    environment: dict[str, str], broker: Broker, conn: Conn, monkeypatch: MonkeyPatch
) -> None:
    async with open_proxy(broker.url) as proxy:
        monkeypatch.setenv("RABBITMQ_URL", proxy.url)
        async with running.ingress(environment) as client:
            proxy.mute()
            assert await post(client, message(1)) == 200
            assert await roads(conn) == {"database": 1}

            async def is_there_too() -> bool:
                return await broker.count(RAW) == 1

            await eventually(is_there_too)
    monkeypatch.setenv("RABBITMQ_URL", broker.url)
    async with running.processor(environment):

        async def is_taken() -> bool:
            rests = await conn.fetchval("SELECT count(*) FROM webhook_log WHERE NOT processed")
            return rests == 0 and await broker.count(RAW) == 0

        await eventually(is_taken)
    assert await roads(conn) == {"database": 1}
    assert await conn.fetchval("SELECT count(*) FROM webhook_changes") == 1


async def test_with_no_road_meta_is_asked_to_come_again_and_is_let_in_when_one_is_back(
    environment: dict[str, str],
    broker: Broker,
    database_url: str,
    conn: Conn,
    monkeypatch: MonkeyPatch,
) -> None:
    async with open_proxy(broker.url) as to_broker, open_proxy(database_url) as to_database:
        monkeypatch.setenv("RABBITMQ_URL", to_broker.url)
        monkeypatch.setenv("DATABASE_URL", to_database.url)
        async with running.ingress(environment) as client:
            await to_broker.cut()
            await to_database.cut()
            body = write(message(1))
            async with client.post(PATH, data=body, headers=headers(body, APP_SECRET)) as answer:
                assert answer.status == 503
                assert "Retry-After" in answer.headers

            async def ready_says_no() -> bool:
                health = f"http://{environment['HOST']}:{environment['HEALTH_PORT']}/readyz"
                async with aiohttp.request("GET", health) as answer:
                    return answer.status == 503

            await eventually(ready_says_no)
            await to_database.heal()

            async def let_in() -> bool:
                return await post(client, message(1)) == 200

            await eventually(let_in)
            assert await roads(conn) == {"database": 1}


async def test_a_broker_that_refuses_is_left_for_the_database(
    environment: dict[str, str], broker: Broker, conn: Conn, worker: str
) -> None:
    """Its queue is full: `reject-publish` answers with a nack."""
    limit = {"pattern": "^webhooks.raw$", "apply-to": "queues", "definition": {"max-length": 1}}
    path = f"/api/policies/porteiro_{worker}/full"
    async with servers.open_management() as management:
        (await management.put(path, json=limit)).release()
        try:
            async with running.ingress(environment) as client:

                async def refused() -> bool:
                    assert await post(client, message(1)) == 200
                    return "database" in await roads(conn)

                await eventually(refused)
                (await management.delete(path)).release()
                await broker.purge(RAW)

                async def taken_again() -> bool:
                    assert await post(client, message(2)) == 200
                    return await broker.count(RAW) > 0

                await eventually(taken_again)
        finally:
            async with servers.open_management() as again:
                with suppress(aiohttp.ClientResponseError):  # deleted before
                    await again.delete(path)
