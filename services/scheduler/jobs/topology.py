"""Declare the exchanges and queues on RabbitMQ."""

from services.scheduler.answers import Answer
from shared.broker import topology
from shared.broker.connect import connect
from shared.settings.groups import TopologySettings
from shared.settings.load import load


async def declare_topology() -> None:
    """Declare everything. Raise StartupRefused if something exists with other arguments."""
    settings = load(TopologySettings)
    amqp = await connect(settings.rabbitmq_url.get_secret_value(), "porteiro topology")
    async with amqp:
        queues = await topology.declare(amqp, settings.retry_seconds)
    sentence = f"All {len(queues)} queues are there."
    Answer("topology.done", sentence, count=len(queues)).say()
