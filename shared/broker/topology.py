"""Declare and check every exchange and queue: durable quorum queues that never drop messages."""

import re
from collections.abc import Iterable
from typing import Any

from aio_pika.abc import AbstractConnection
from aio_pika.exceptions import ChannelNotFoundEntity, ChannelPreconditionFailed

from shared.errors import StartupRefused

WORK = "work"
DEAD = "dead"
EVENTS = "whatsapp.events"

RAW = "webhooks.raw"
RAW_SLOW = "webhooks.raw.slow"
CHANGES = "webhooks.changes"
PROVISION = "connections.provision"
TOKEN_CHECKS = "tokens.checks"  # noqa: S105 - the name of a queue
V1_RELAY = "v1.relay"
WORK_QUEUES = (RAW, RAW_SLOW, CHANGES, PROVISION, TOKEN_CHECKS, V1_RELAY)

Arguments = dict[str, Any]

#: Limits of a queue, with alarms at 80 %. Above them the broker refuses to publish, and the ingress
#: uses its other sink.
MAX_MESSAGES = 1_000_000
MAX_BYTES = 8 * 1024**3

#: A full queue refuses new messages. `drop-head` would lose messages silently, and would also turn
#: off at-least-once dead-lettering (rabbitmq.com/docs/quorum-queues#dead-lettering).
_SAFE: Arguments = {
    "x-queue-type": "quorum",
    "x-overflow": "reject-publish",
    "x-max-length": MAX_MESSAGES,
    "x-max-length-bytes": MAX_BYTES,
}
#: These limits stop crash loops; they are not a retry policy. `dead` has no dead-letter exchange,
#: so its limit is too high to reach. Without a limit RabbitMQ 4.x would use 20 and then drop the
#: message, and with -1 some versions lose messages.
_WORK_DELIVERY_LIMIT = 100
_DEAD_DELIVERY_LIMIT = 1_000_000


def retry_name(seconds: int) -> str:
    """Return the name of the exchange and of the queue that delay a message by `seconds`."""
    return f"retry.{seconds}"


def _dead_lettering_to(exchange: str) -> Arguments:
    return {"x-dead-letter-exchange": exchange, "x-dead-letter-strategy": "at-least-once"}


def queue_arguments(name: str) -> Arguments:
    if name == DEAD:
        return _SAFE | {"x-delivery-limit": _DEAD_DELIVERY_LIMIT}
    if name.startswith("retry."):
        ttl = {"x-message-ttl": int(name.removeprefix("retry.")) * 1000}
        return _SAFE | _dead_lettering_to(WORK) | ttl
    return _SAFE | _dead_lettering_to(DEAD) | {"x-delivery-limit": _WORK_DELIVERY_LIMIT}


async def declare(amqp: AbstractConnection, retry_seconds: Iterable[int]) -> list[str]:
    """Declare all exchanges, queues and bindings. Return the names of the queues. Idempotent.

    Raise StartupRefused if an exchange or queue exists with other arguments.
    """
    delays = [retry_name(seconds) for seconds in retry_seconds]
    exchanges = {WORK: "direct", DEAD: "fanout", EVENTS: "topic"} | dict.fromkeys(delays, "fanout")
    for name, kind in exchanges.items():
        await _declare_exchange(amqp, name, kind)
    bindings = [(name, WORK) for name in WORK_QUEUES] + [(name, name) for name in (DEAD, *delays)]
    for name, exchange in bindings:
        await _declare_queue(amqp, name)
        async with amqp.channel() as channel:
            queue = await channel.get_queue(name, ensure=False)
            await queue.bind(exchange, routing_key=name)
    return [name for name, _ in bindings]


async def check(amqp: AbstractConnection, names: Iterable[str]) -> None:
    """Raise StartupRefused with a fault for every name that is missing or has other arguments.

    Each name is a queue, except EVENTS, which is an exchange.
    """
    faults = []
    for name in names:
        kind = "exchange" if name == EVENTS else "queue"
        try:
            async with amqp.channel() as channel:
                if name == EVENTS:
                    await channel.get_exchange(name)
                else:
                    await channel.declare_queue(name, passive=True)
            # It exists, so this declaration creates nothing: the broker compares the arguments.
            if name == EVENTS:
                await _declare_exchange(amqp, name, "topic")
            else:
                await _declare_queue(amqp, name)
        except ChannelNotFoundEntity:
            faults.append(f"{kind} {name} is missing: run `porteiro topology`")
        except StartupRefused as refusal:
            faults += refusal.faults
    if faults:
        raise StartupRefused(faults)


async def _declare_queue(amqp: AbstractConnection, name: str) -> None:
    try:
        async with amqp.channel() as channel:
            await channel.declare_queue(name, durable=True, arguments=queue_arguments(name))
    except ChannelPreconditionFailed as error:
        raise StartupRefused([_difference(f"queue {name}", error)]) from None


async def _declare_exchange(amqp: AbstractConnection, name: str, kind: str) -> None:
    try:
        async with amqp.channel() as channel:
            await channel.declare_exchange(name, kind, durable=True)
    except ChannelPreconditionFailed as error:
        raise StartupRefused([_difference(f"exchange {name}", error)]) from None


def _difference(subject: str, error: ChannelPreconditionFailed) -> str:
    match = re.search(r"inequivalent arg '([^']+)'.*received (.*) but current is (.*)", str(error))
    if match is None:
        return f"{subject} exists with other arguments"
    argument, wanted, current = match.groups()
    return f"{subject} exists with other arguments: {argument} should be {wanted} but is {current}"
