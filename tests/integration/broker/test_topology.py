"""Every queue as designed, and clear words where one is not."""

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
    """A virtual host of its own, emptied, without any topology."""
    name = f"topology_{worker}"
    await servers.delete_vhost(name)
    await servers.create_vhost(name, declare=False)
    return name


@pytest.fixture
async def connection(vhost: str) -> AsyncIterator[AbstractConnection]:
    url = os.environ[servers.RABBITMQ].replace("%2F", vhost)
    async with await connect(url, "test") as amqp:
        yield amqp


async def described(vhost: str, what: str) -> list[dict[str, Any]]:
    url = urlsplit(os.environ[servers.RABBITMQ])
    auth = aiohttp.encode_basic_auth(str(url.username), str(url.password))
    headers = {"Authorization": auth}
    async with aiohttp.ClientSession(os.environ[servers.MANAGEMENT], headers=headers) as session:
        async with session.get(f"/api/{what}/{vhost}") as answer:
            answer.raise_for_status()
            found: list[dict[str, Any]] = await answer.json()
            return found


async def test_every_queue_is_a_quorum_queue_that_refuses_what_it_cannot_hold(
    amqp: AbstractConnection, vhost: str
) -> None:
    await topology.declare(amqp, servers.RETRY_SECONDS)
    await topology.declare(amqp, servers.RETRY_SECONDS)
    queues = {queue["name"]: queue for queue in await described(vhost, "queues")}
    waits = {"retry.30", "retry.300", "retry.1800"}
    assert queues.keys() == {*topology.WORK_QUEUES, topology.DEAD, *waits}
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
        if name in waits:
            assert arguments["x-dead-letter-exchange"] == topology.WORK
            assert arguments["x-message-ttl"] == int(name.removeprefix("retry.")) * 1000
        else:
            assert arguments["x-dead-letter-exchange"] == topology.DEAD
            assert arguments["x-delivery-limit"] == 100


async def test_a_waiting_message_comes_home_again_and_again(
    amqp: AbstractConnection, vhost: str
) -> None:
    await topology.declare(amqp, [1])
    async with amqp.channel(on_return_raises=True) as channel:
        broker = Broker("", amqp, channel)
        waiting = await channel.get_exchange(topology.retry_name(1), ensure=False)
        for _ in range(3):
            await waiting.publish(aio_pika.Message(b"nudge"), topology.CHANGES, timeout=5)
            assert await broker.take(topology.CHANGES) == b"nudge"


async def test_what_is_rejected_from_a_work_queue_rests_in_dead(broker: Broker) -> None:
    await broker.put(topology.RAW, b"broken")
    async with broker.connection.channel() as channel:
        taken = await (await channel.get_queue(topology.RAW)).get(timeout=5)
        assert taken is not None
        await taken.reject(requeue=False)
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
    for refusing in (
        topology.declare(amqp, servers.RETRY_SECONDS),
        topology.check(amqp, [topology.RAW]),
    ):
        with pytest.raises(StartupRefused) as refused:
            await refusing
        [fault] = refused.value.faults
        assert "webhooks.raw" in fault
        assert "x-delivery-limit" in fault
        assert "7" in fault
