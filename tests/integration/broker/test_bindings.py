"""How messages find their queue: exchanges, bindings, and what a queue of the same name may be."""

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
async def connection(vhost: str) -> AsyncIterator[AbstractConnection]:
    url = os.environ[servers.RABBITMQ].replace("%2F", vhost)
    async with await connect(url, "test") as amqp:
        yield amqp


async def described(vhost: str, what: str) -> list[dict[str, Any]]:
    async with servers.open_management() as session, session.get(f"/api/{what}/{vhost}") as answer:
        found: list[dict[str, Any]] = await answer.json()
        return found


async def refused(work: Awaitable[object]) -> str:
    """The one fault it names."""
    with pytest.raises(StartupRefused) as refusal:
        await work
    [fault] = refusal.value.faults
    return fault


async def test_each_queue_is_bound_as_designed_and_no_other_way(
    amqp: AbstractConnection, vhost: str
) -> None:
    await topology.declare(amqp, [30, 300])
    bindings = {
        (one["source"], one["routing_key"], one["destination"])
        for one in await described(vhost, "bindings")
        if one["source"]  # else the broker's own binding to its default exchange
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


async def test_the_exchanges_are_durable_and_of_their_kind(
    amqp: AbstractConnection, vhost: str
) -> None:
    await topology.declare(amqp, [30])
    exchanges = {
        one["name"]: (one["type"], one["durable"], one["auto_delete"])
        for one in await described(vhost, "exchanges")
        if one["name"] and not one["name"].startswith("amq.")
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
async def test_a_queue_of_other_arguments_is_refused_naming_them(
    amqp: AbstractConnection, argument: str, current: object
) -> None:
    wanted = topology.queue_arguments(topology.RAW)
    other: dict[str, Any] = {**wanted, argument: current}
    if current == "classic":  # it does not know these
        del other["x-dead-letter-strategy"], other["x-delivery-limit"]
    async with amqp.channel() as channel:
        await channel.declare_queue(topology.RAW, durable=True, arguments=other)

    for work in (
        topology.declare(amqp, [30]),
        topology.check(amqp, [topology.RAW]),
    ):
        fault = await refused(work)
        assert fault.startswith(f"queue {topology.RAW} exists with other arguments: {argument} ")
        assert str(wanted[argument]) in fault
        assert str(current) in fault


async def test_an_exchange_of_another_kind_is_refused(amqp: AbstractConnection) -> None:
    async with amqp.channel() as channel:
        await channel.declare_exchange(topology.WORK, "topic", durable=True)
    fault = await refused(topology.declare(amqp, [30]))
    assert fault.startswith("exchange work exists with other arguments: type ")


async def test_checking_creates_nothing(amqp: AbstractConnection, vhost: str) -> None:
    with pytest.raises(StartupRefused):
        await topology.check(amqp, topology.WORK_QUEUES)
    assert await described(vhost, "queues") == []
