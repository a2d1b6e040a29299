"""Connect to RabbitMQ, and connect again whenever the connection is lost."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

import aio_pika
import structlog
from aio_pika.abc import AbstractConnection
from aio_pika.exceptions import AMQPError
from tenacity import AsyncRetrying, retry_if_result, wait_random
from yarl import URL

from shared.broker import topology
from shared.errors import StartupRefused
from shared.process.health import Dependency

log = structlog.get_logger()

CONNECT_SECONDS = 5
RECONNECT_SECONDS = (1.0, 1.5)
#: The client gives up a silent RabbitMQ connection after about three of these.
HEARTBEAT_SECONDS = 5


class BrokerLost(Exception):
    """RabbitMQ is unreachable or its connection was lost. What the operation did is unknown."""


@contextmanager
def cancellation_as_broker_lost() -> Iterator[None]:
    """Raise BrokerLost when aiormq cancels a wait on a lost connection.

    A cancellation of the current task itself is raised unchanged.
    """
    try:
        yield
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        raise BrokerLost from None


@contextmanager
def ignoring_broker_loss() -> Iterator[None]:
    """Ignore the loss of the channel while one delivery is acked or rejected in the block.

    The broker then delivers it again, which is harmless.
    """
    with suppress(AMQPError, BrokerLost, OSError, RuntimeError), cancellation_as_broker_lost():
        yield


async def connect(url: str, name: str) -> AbstractConnection:
    """Open one plain RabbitMQ connection. The caller must close it."""
    address = URL(url).update_query(heartbeat=HEARTBEAT_SECONDS)
    with cancellation_as_broker_lost():
        return await aio_pika.connect(
            address, timeout=CONNECT_SECONDS, client_properties={"connection_name": name}
        )


def until_stopped() -> AsyncRetrying:
    """Return the policy for a connection that was refused or lost: connect again, for ever.

    The pause is random, so that not all processes come back to a restarted broker at once.
    """
    return AsyncRetrying(
        retry=retry_if_result(lambda _: True), wait=wait_random(*RECONNECT_SECONDS)
    )


async def keep_connected(
    url: str,
    serve: Callable[[AbstractConnection], Awaitable[None]],
    *,
    name: str,
    needs: Sequence[str],
    dependency: Dependency,
) -> None:
    """Repeat for ever: connect, check the queues in `needs`, `serve` until the connection is lost.

    `serve` opens its channels, marks `dependency` up, and returns or raises when they are lost.
    Raise StartupRefused if the broker answers but its topology is wrong. If that happens later, the
    broker is down until the topology is mended: what needs no broker goes on.
    """
    was_right = False
    faults: Sequence[str] = ()

    async def connect_once() -> None:
        nonlocal was_right, faults
        try:
            amqp = await connect(url, name)
            try:
                with cancellation_as_broker_lost():
                    await topology.check(amqp, needs)
                    was_right, faults = True, ()
                    await serve(amqp)
            finally:
                with suppress(Exception):
                    await asyncio.wait_for(amqp.close(), CONNECT_SECONDS)
            dependency.mark(up=False)
        except StartupRefused as refusal:
            if not was_right:
                raise
            dependency.mark(up=False, error=refusal)
            for fault in set(refusal.faults) - set(faults):
                log.error("broker.topology_wrong", fault=fault)
            faults = refusal.faults
        except Exception as error:  # refused, reset, unresolvable, too late: the broker is down
            dependency.mark(up=False, error=error)

    await until_stopped()(connect_once)
