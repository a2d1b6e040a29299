"""Declare the exchanges and queues on RabbitMQ."""

import structlog

from shared.broker import topology
from shared.broker.connect import connect
from shared.settings.groups import TopologySettings
from shared.settings.load import load

log = structlog.get_logger()


async def declare_topology() -> None:
    """Declare everything. Raise StartupRefused if something exists with other arguments."""
    settings = load(TopologySettings)
    amqp = await connect(settings.rabbitmq_url.get_secret_value(), "porteiro topology")
    async with amqp:
        queues = await topology.declare(amqp, settings.retry_seconds)
    log.info("topology.done", count=len(queues))
