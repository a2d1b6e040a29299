"""Exchanges and bindings are as designed. A queue with other arguments is refused."""

import os
from collections.abc import AsyncIterator, Awaitable
from typing import Any

import pytest
from aio_pika.abc import AbstractConnection

from shared.broker import topology
from shared.broker.connect import connect
from shared.errors import StartupRefused
from tests.support import servers


@pytest.fixture
async def vhost(worker: str) -> str:
    name = f"bindings_{worker}"
    await servers.delete_vhost(name)
    await servers.create_vhost(name, declare=False)
    return name


@pytest.fixture
async def amqp(vhost: str) -> AsyncIterator[AbstractConnection]:
    url = os.environ[servers.RABBITMQ].replace("%2F", vhost)
    async with await connect(url, "test") as amqp:
        yield amqp


async def list_objects(vhost: str, kind: str) -> list[dict[str, Any]]:
    async with servers.open_management() as session, session.get(f"/api/{kind}/{vhost}") as answer:
        objects: list[dict[str, Any]] = await answer.json()
        return objects


async def refusal_fault(work: Awaitable[object]) -> str:
    """Assert that the work refuses to start, with one fault. Return the fault."""
    with pytest.raises(StartupRefused) as refusal:
        await work
    [fault] = refusal.value.faults
    return fault


async def test_each_queue_has_only_the_designed_bindings(
    amqp: AbstractConnection, vhost: str
) -> None:
    await topology.declare(amqp, [30, 300])
    bindings = {
        (binding["source"], binding["routing_key"], binding["destination"])
        for binding in await list_objects(vhost, "bindings")
        if binding["source"]  # without source: RabbitMQ's binding to its default exchange
    }
    assert bindings == {
        ("work", "webhooks.raw", "webhooks.raw"),
        ("work", "webhooks.raw.slow", "webhooks.raw.slow"),
        ("work", "webhooks.changes", "webhooks.changes"),
        ("work", "connections.provision", "connections.provision"),
        ("work", "tokens.checks", "tokens.checks"),
        ("work", "v1.relay", "v1.relay"),
        ("dead", "dead", "dead"),
        ("retry.30", "retry.30", "retry.30"),
        ("retry.300", "retry.300", "retry.300"),
    }


async def test_the_exchanges_are_durable_and_of_the_designed_type(
    amqp: AbstractConnection, vhost: str
) -> None:
    await topology.declare(amqp, [30])
    exchanges = {
        exchange["name"]: (exchange["type"], exchange["durable"], exchange["auto_delete"])
        for exchange in await list_objects(vhost, "exchanges")
        if exchange["name"] and not exchange["name"].startswith("amq.")
    }
    assert exchanges == {
        "work": ("direct", True, False),
        "dead": ("fanout", True, False),
        "retry.30": ("fanout", True, False),
        "whatsapp.events": ("topic", True, False),
    }


@pytest.mark.parametrize(
    ("argument", "current"),
    [("x-queue-type", "classic"), ("x-max-length", 5), ("x-dead-letter-exchange", "elsewhere")],
)
async def test_a_queue_with_other_arguments_is_refused_and_they_are_named(
    amqp: AbstractConnection, argument: str, current: object
) -> None:
    designed = topology.queue_arguments(topology.RAW)
    other: dict[str, Any] = {**designed, argument: current}
    if current == "classic":  # a classic queue does not know these arguments
        del other["x-dead-letter-strategy"], other["x-delivery-limit"]
    async with amqp.channel() as channel:
        await channel.declare_queue(topology.RAW, durable=True, arguments=other)

    for work in (
        topology.declare(amqp, [30]),
        topology.check(amqp, [topology.RAW]),
    ):
        fault = await refusal_fault(work)
        assert fault.startswith(f"queue {topology.RAW} exists with other arguments: {argument} ")
        assert str(designed[argument]) in fault
        assert str(current) in fault


async def test_an_exchange_of_another_type_is_refused(amqp: AbstractConnection) -> None:
    async with amqp.channel() as channel:
        await channel.declare_exchange(topology.WORK, "topic", durable=True)
    fault = await refusal_fault(topology.declare(amqp, [30]))
    assert fault.startswith("exchange work exists with other arguments: type ")


async def test_checking_creates_nothing(amqp: AbstractConnection, vhost: str) -> None:
    with pytest.raises(StartupRefused):
        await topology.check(amqp, topology.WORK_QUEUES)
    assert await list_objects(vhost, "queues") == []
