"""Every queue is as designed. The check names each queue that is missing or different."""

import os
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import aio_pika
import aiohttp
import pytest
from aio_pika.abc import AbstractConnection

from shared.broker import topology
from shared.broker.connect import connect
from shared.errors import StartupRefused
from tests.support import servers
from tests.support.broker import Broker


@pytest.fixture
async def vhost(worker: str) -> str:
    """Create an empty virtual host without any topology. Return its name."""
    name = f"topology_{worker}"
    await servers.delete_vhost(name)
    await servers.create_vhost(name, declare=False)
    return name


@pytest.fixture
async def amqp(vhost: str) -> AsyncIterator[AbstractConnection]:
    url = os.environ[servers.RABBITMQ].replace("%2F", vhost)
    async with await connect(url, "test") as amqp:
        yield amqp


async def list_objects(vhost: str, kind: str) -> list[dict[str, Any]]:
    url = urlsplit(os.environ[servers.RABBITMQ])
    auth = aiohttp.encode_basic_auth(str(url.username), str(url.password))
    headers = {"Authorization": auth}
    async with aiohttp.ClientSession(os.environ[servers.MANAGEMENT], headers=headers) as session:
        async with session.get(f"/api/{kind}/{vhost}") as answer:
            answer.raise_for_status()
            objects: list[dict[str, Any]] = await answer.json()
            return objects


async def test_every_queue_is_a_quorum_queue_that_rejects_messages_above_its_limit(
    amqp: AbstractConnection, vhost: str
) -> None:
    await topology.declare(amqp, servers.RETRY_SECONDS)
    await topology.declare(amqp, servers.RETRY_SECONDS)
    queues = {queue["name"]: queue for queue in await list_objects(vhost, "queues")}
    delay_queues = {"retry.30", "retry.300", "retry.1800"}
    assert queues.keys() == {*topology.WORK_QUEUES, topology.DEAD, *delay_queues}
    for name, queue in queues.items():
        arguments = queue["arguments"]
        assert queue["durable"]
        assert arguments["x-queue-type"] == "quorum"
        assert arguments["x-overflow"] == "reject-publish"
        assert arguments["x-max-length"] > 0
        if name == topology.DEAD:
            assert arguments["x-delivery-limit"] == 1_000_000
            assert "x-dead-letter-exchange" not in arguments
            continue
        assert arguments["x-dead-letter-strategy"] == "at-least-once"
        if name in delay_queues:
            assert arguments["x-dead-letter-exchange"] == topology.WORK
            assert arguments["x-message-ttl"] == int(name.removeprefix("retry.")) * 1000
        else:
            assert arguments["x-dead-letter-exchange"] == topology.DEAD
            assert arguments["x-delivery-limit"] == 100


async def test_a_delayed_message_returns_to_its_queue_every_time(
    amqp: AbstractConnection, vhost: str
) -> None:
    await topology.declare(amqp, [1])
    async with amqp.channel(on_return_raises=True) as channel:
        broker = Broker("", amqp, channel)
        delay_exchange = await channel.get_exchange(topology.retry_name(1), ensure=False)
        for _ in range(3):
            await delay_exchange.publish(aio_pika.Message(b"nudge"), topology.CHANGES, timeout=5)
            assert await broker.take(topology.CHANGES) == b"nudge"


async def test_a_message_rejected_from_a_work_queue_goes_to_the_dead_queue(broker: Broker) -> None:
    await broker.put(topology.RAW, b"broken")
    async with broker.amqp.channel() as channel:
        delivery = await (await channel.get_queue(topology.RAW)).get(timeout=5)
        assert delivery is not None
        await delivery.reject(requeue=False)
    assert await broker.take(topology.DEAD) == b"broken"


async def test_a_missing_queue_is_named(amqp: AbstractConnection) -> None:
    with pytest.raises(StartupRefused) as refused:
        await topology.check(amqp, [topology.RAW, topology.RAW_SLOW])
    assert refused.value.faults == [
        "queue webhooks.raw is missing: run `porteiro topology`",
        "queue webhooks.raw.slow is missing: run `porteiro topology`",
    ]


async def test_a_queue_that_differs_is_refused_with_the_difference(
    amqp: AbstractConnection,
) -> None:
    other = topology.queue_arguments(topology.RAW) | {"x-delivery-limit": 7}
    async with amqp.channel() as channel:
        await channel.declare_queue(topology.RAW, durable=True, arguments=other)
    for work in (
        topology.declare(amqp, servers.RETRY_SECONDS),
        topology.check(amqp, [topology.RAW]),
    ):
        with pytest.raises(StartupRefused) as refused:
            await work
        [fault] = refused.value.faults
        assert "webhooks.raw" in fault
        assert "x-delivery-limit" in fault
        assert "7" in fault
