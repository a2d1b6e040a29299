"""Start private servers for a benchmark."""

from collections.abc import Mapping
from pathlib import Path

from deploy.local.stack import servers
from deploy.local.stack.settings import service_settings
from deploy.local.stack.supervisor import Supervisor
from shared.broker import topology
from shared.broker.connect import connect
from shared.store.migrate import migrate


async def prepare(
    folder: Path, supervisor: Supervisor, postgresql_options: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Start the servers in `folder`. Return the environment for services that use them."""
    broker = servers.rabbitmq(folder, management_port=None)
    redis = servers.redis(folder)
    database = servers.postgresql(folder, fsync=True, options=postgresql_options or {})
    for program in (*broker, redis, database):
        supervisor.start(program)
    await migrate(database.url)
    async with await connect(broker[-1].url, "bench") as amqp:
        await topology.declare(amqp, (30, 300, 1800))
    return service_settings(database.url, broker[-1].url, redis.url)
