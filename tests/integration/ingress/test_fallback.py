"""The ingress stores webhooks in the database without the broker, and answers 503 without both."""

from contextlib import suppress

import aiohttp
from pytest import MonkeyPatch

from deploy.local.simulated_meta.writing import headers, write
from services.ingress.__main__ import BROKER_SECONDS
from services.ingress.app import PATH
from shared.broker.topology import RAW
from shared.store.pool import Conn
from tests.support import running, servers
from tests.support.broker import Broker
from tests.support.environment import APP_SECRET
from tests.support.metrics import metric
from tests.support.proxy import open_proxy
from tests.support.sending import message, post
from tests.support.waiting import eventually


async def count_by_sink(conn: Conn) -> dict[str, int]:
    rows = await conn.fetch(
        "SELECT stored_via::text, count(*) AS n FROM webhook_log GROUP BY stored_via"
    )
    return {row["stored_via"]: row["n"] for row in rows}


async def test_without_the_broker_webhooks_are_stored_in_the_database_and_processed_from_there(
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
            assert await count_by_sink(conn) == {"database": 5}
            assert await conn.fetchval("SELECT count(*) FROM webhook_changes") == 5

            await proxy.heal()

            async def back_on_the_broker() -> bool:
                await post(client, message(100))
                return "broker" in await count_by_sink(conn)

            await eventually(back_on_the_broker)


async def test_with_a_stalled_broker_a_webhook_is_stored_in_the_database_in_time(
    environment: dict[str, str], broker: Broker, conn: Conn, monkeypatch: MonkeyPatch
) -> None:
    async with open_proxy(broker.url) as proxy:
        monkeypatch.setenv("RABBITMQ_URL", proxy.url)
        async with running.ingress(environment) as client:
            proxy.stall()
            assert await post(client, message(1)) == 200
            assert await count_by_sink(conn) == {"database": 1}
            name = "porteiro_webhook_answer_seconds"
            assert await metric(environment, f"{name}_count") == 1
            assert BROKER_SECONDS <= await metric(environment, f"{name}_sum") < 60


async def test_a_webhook_in_both_sinks_after_a_late_confirm_is_one_webhook(
    environment: dict[str, str], broker: Broker, conn: Conn, monkeypatch: MonkeyPatch
) -> None:
    async with open_proxy(broker.url) as proxy:
        monkeypatch.setenv("RABBITMQ_URL", proxy.url)
        async with running.ingress(environment) as client:
            proxy.mute()
            assert await post(client, message(1)) == 200
            assert await count_by_sink(conn) == {"database": 1}

            async def is_in_the_queue_too() -> bool:
                return await broker.count(RAW) == 1

            await eventually(is_in_the_queue_too)
    monkeypatch.setenv("RABBITMQ_URL", broker.url)
    async with running.processor(environment):

        async def is_processed() -> bool:
            unprocessed = await conn.fetchval(
                "SELECT count(*) FROM webhook_log WHERE NOT processed"
            )
            return unprocessed == 0 and await broker.count(RAW) == 0

        await eventually(is_processed)
    assert await count_by_sink(conn) == {"database": 1}
    assert await conn.fetchval("SELECT count(*) FROM webhook_changes") == 1


async def test_without_any_sink_the_answer_is_503_until_a_sink_is_back(
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

            async def is_not_ready() -> bool:
                health = f"http://{environment['HOST']}:{environment['HEALTH_PORT']}/readyz"
                async with aiohttp.request("GET", health) as answer:
                    return answer.status == 503

            await eventually(is_not_ready)
            await to_database.heal()

            async def is_accepted() -> bool:
                return await post(client, message(1)) == 200

            await eventually(is_accepted)
            assert await count_by_sink(conn) == {"database": 1}


async def test_with_a_full_queue_webhooks_are_stored_in_the_database(
    environment: dict[str, str], broker: Broker, conn: Conn, worker: str
) -> None:
    """A full queue with `reject-publish` answers with a nack."""
    limit = {"pattern": "^webhooks.raw$", "apply-to": "queues", "definition": {"max-length": 1}}
    path = f"/api/policies/porteiro_{worker}/full"
    async with servers.open_management() as management:
        (await management.put(path, json=limit)).release()
        try:
            async with running.ingress(environment) as client:

                async def is_in_the_database() -> bool:
                    assert await post(client, message(1)) == 200
                    return "database" in await count_by_sink(conn)

                await eventually(is_in_the_database)
                (await management.delete(path)).release()
                await broker.purge(RAW)

                async def is_in_the_queue() -> bool:
                    assert await post(client, message(2)) == 200
                    return await broker.count(RAW) > 0

                await eventually(is_in_the_queue)
        finally:
            async with servers.open_management() as cleanup:
                with suppress(aiohttp.ClientResponseError):  # the test has deleted it
                    await cleanup.delete(path)
