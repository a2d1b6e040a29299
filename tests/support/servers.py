"""Start private servers for a test run, with a database, virtual host and Redis db per worker."""

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from shutil import rmtree
from urllib.parse import urlsplit

import aiohttp
import asyncpg

from deploy.local.stack import install, servers
from deploy.local.stack.supervisor import Supervisor
from shared.broker import topology
from shared.broker.connect import connect
from shared.store.migrate import migrate

#: Environment variables with the servers' URLs, from the controlling process to its workers.
POSTGRESQL, REDIS, RABBITMQ, MANAGEMENT = (
    f"PORTEIRO_TEST_{name}" for name in ("POSTGRESQL", "REDIS", "RABBITMQ", "MANAGEMENT")
)
TEMPLATE = "template_porteiro"
RETRY_SECONDS = (30, 300, 1800)


class TestServers:
    """The servers of a test run. The controller starts them and sets their URLs for its workers."""

    def __init__(self) -> None:
        install.ensure({**install.SERVERS, **install.FOR_TESTS})
        self._folder = Path(tempfile.mkdtemp(prefix="porteiro-test-"))
        self._folder.chmod(0o711)
        self._supervisor = Supervisor(str(self._folder), self._folder, lambda _: None)
        try:
            self._start()
        except BaseException:
            self.stop()
            raise

    def _start(self) -> None:
        management = servers.free_port()
        database = servers.postgresql(self._folder, fsync=False)
        redis = servers.redis(self._folder)
        broker = servers.rabbitmq(self._folder, management_port=management)
        for program in (*broker, database, redis):
            self._supervisor.start(program)
        os.environ[POSTGRESQL] = database.url
        os.environ[REDIS] = redis.url
        os.environ[RABBITMQ] = broker[-1].url
        os.environ[MANAGEMENT] = f"http://{servers.LOOPBACK}:{management}"
        asyncio.run(_make_template(database.url))

    def stop(self) -> None:
        self._supervisor.stop()
        rmtree(self._folder, ignore_errors=True)


async def _make_template(url: str) -> None:
    await _execute(url, f'CREATE DATABASE "{TEMPLATE}"')
    await migrate(database_url(TEMPLATE))


async def _execute(url: str, statement: str) -> None:
    conn = await asyncpg.connect(url)
    try:
        await conn.execute(statement)
    finally:
        await conn.close()


def database_url(name: str) -> str:
    return os.environ[POSTGRESQL].rpartition("/")[0] + f"/{name}"


async def create_database(name: str, *, template: str = TEMPLATE) -> str:
    await _execute(os.environ[POSTGRESQL], f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
    await _execute(os.environ[POSTGRESQL], f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
    return database_url(name)


@asynccontextmanager
async def open_management() -> AsyncIterator[aiohttp.ClientSession]:
    """Yield a client of RabbitMQ's HTTP API."""
    url = urlsplit(os.environ[RABBITMQ])
    auth = aiohttp.encode_basic_auth(str(url.username), str(url.password))
    async with aiohttp.ClientSession(
        os.environ[MANAGEMENT], headers={"Authorization": auth}, raise_for_status=True
    ) as session:
        yield session


async def create_vhost(
    name: str, *, declare: bool = True, retry_seconds: Sequence[int] = RETRY_SECONDS
) -> str:
    """Create a virtual host and, with `declare`, its topology. Return its URL."""
    user = urlsplit(os.environ[RABBITMQ]).username
    rights = {"configure": ".*", "write": ".*", "read": ".*"}
    async with open_management() as session:
        (await session.put(f"/api/vhosts/{name}", json={})).release()
        (await session.put(f"/api/permissions/{name}/{user}", json=rights)).release()
    vhost = os.environ[RABBITMQ].replace("%2F", name)
    if declare:
        async with await connect(vhost, "test") as amqp:
            await topology.declare(amqp, retry_seconds)
    return vhost


async def delete_vhost(name: str) -> None:
    """Delete the virtual host. Idempotent."""
    url = urlsplit(os.environ[RABBITMQ])
    headers = {"Authorization": aiohttp.encode_basic_auth(str(url.username), str(url.password))}
    async with aiohttp.ClientSession(os.environ[MANAGEMENT], headers=headers) as session:
        async with session.delete(f"/api/vhosts/{name}") as answer:
            assert answer.status in (204, 404)
