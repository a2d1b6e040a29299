"""A connection to RabbitMQ that is opened again whenever it is lost."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

import aio_pika
from aio_pika.abc import AbstractConnection
from aio_pika.exceptions import AMQPError
from yarl import URL

from shared.broker import topology
from shared.errors import StartupRefused
from shared.process.health import Dependency

CONNECT_SECONDS = 5
RECONNECT_SECONDS = 1
#: A silent link is given up after about three of these.
HEARTBEAT_SECONDS = 5


class BrokerLost(Exception):
    """The broker is away, or the link to it died; what was under way has an unknown outcome."""


@contextmanager
def cancellation_as_broker_lost() -> Iterator[None]:
    """aiormq cancels whoever waits on a link it gives up; nobody asked *this task* to stop."""
    try:
        yield
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        raise BrokerLost from None


@contextmanager
def ignoring_broker_loss() -> Iterator[None]:
    """Settle a delivery here: if its channel is gone it comes again, and changes nothing."""
    with suppress(AMQPError, BrokerLost, OSError, RuntimeError), cancellation_as_broker_lost():
        yield


async def connect(url: str, name: str) -> AbstractConnection:
    """One plain connection; whoever opens it closes it."""
    address = URL(url).update_query(heartbeat=HEARTBEAT_SECONDS)
    with cancellation_as_broker_lost():
        return await aio_pika.connect(
            address, timeout=CONNECT_SECONDS, client_properties={"connection_name": name}
        )


async def keep_connected(
    url: str,
    serve: Callable[[AbstractConnection], Awaitable[None]],
    *,
    name: str,
    needs: Sequence[str],
    dependency: Dependency,
) -> None:
    """For ever: connect, check the queues in `needs`, `serve` until the link is lost, begin again.

    `serve` opens what it needs, marks `dependency` up, and returns or raises when that is gone.
    Raises Refusal when the broker answers but its topology is wrong.
    """
    while True:
        try:
            amqp = await connect(url, name)
            try:
                with cancellation_as_broker_lost():
                    await topology.check(amqp, needs)
                    await serve(amqp)
            finally:
                with suppress(Exception):
                    await asyncio.wait_for(amqp.close(), CONNECT_SECONDS)
            dependency.mark(up=False)
        except StartupRefused:
            raise
        except Exception as error:  # refused, reset, unresolvable, late: the broker is not usable
            dependency.mark(up=False, error=error)
        await asyncio.sleep(RECONNECT_SECONDS)
