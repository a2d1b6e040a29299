"""Start the test servers. Give a test its database, broker, Redis and services."""

import os
import time
from collections.abc import AsyncIterator

import asyncpg
import pytest
import structlog
from pytest import Config, MonkeyPatch

from shared.broker.topology import DEAD, WORK_QUEUES, retry_name
from shared.cache import open_redis
from shared.crypto import KeyRing
from shared.store.pool import Conn, Pool, open_pool
from tests.support import servers
from tests.support.broker import Broker, open_broker
from tests.support.environment import BODY_KEY, service_environment
from tests.support.onboarding_setup import Installation, open_installation

_SERVERS = pytest.StashKey[servers.TestServers]()


def pytest_configure(config: Config) -> None:
    # The default formatter prints every local variable in colour. That blocks the event loop for
    # longer than a webhook's deadline.
    plain = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(processors=[structlog.processors.add_log_level, plain])
    # Whoever runs these tests may have started the servers: a controller, or tests/mutants.py.
    if servers.POSTGRESQL not in os.environ and not config.option.collectonly:
        config.stash[_SERVERS] = servers.TestServers()


def pytest_unconfigure(config: Config) -> None:
    if _SERVERS in config.stash:
        config.stash[_SERVERS].stop()


@pytest.fixture(scope="session")
def worker() -> str:
    return os.environ.get("PYTEST_XDIST_WORKER", "gw0")


@pytest.fixture(scope="session")
async def _database(worker: str) -> str:
    return await servers.create_database(f"porteiro_{worker}")


@pytest.fixture(scope="session")
async def _vhost(worker: str) -> str:
    return await servers.create_vhost(f"porteiro_{worker}")


@pytest.fixture
async def database_url(_database: str) -> str:
    """Return the URL of the worker's database, with every table emptied."""
    conn = await asyncpg.connect(_database)
    try:
        await conn.execute(
            "TRUNCATE organizations, whatsapp_connections, connection_facts, phone_numbers,"
            " failed_calls,"
            " webhook_log, webhook_bodies, dead_letters, replays, audit_log, follow_ups,"
            " api_keys, job_runs, old_keys CASCADE"
        )
    finally:
        await conn.close()
    return _database


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    async with open_pool(database_url, name="test", size=8) as pool:
        yield pool


@pytest.fixture
async def conn(pool: Pool) -> AsyncIterator[Conn]:
    async with pool.acquire() as conn:
        yield conn


@pytest.fixture
async def broker(_vhost: str) -> AsyncIterator[Broker]:
    """Yield the worker's virtual host, with its queues emptied."""
    async with open_broker(_vhost) as broker:
        await broker.purge(*WORK_QUEUES, DEAD, *map(retry_name, servers.RETRY_SECONDS))
        yield broker


@pytest.fixture
async def redis_url(worker: str) -> str:
    """Return the URL of the worker's Redis database, emptied."""
    number = int(worker.removeprefix("gw"))
    url = os.environ[servers.REDIS].rpartition("/")[0] + f"/{number}"
    async with open_redis(url) as redis:
        await redis.flushdb()
    return url


@pytest.fixture
def ring() -> KeyRing:
    return KeyRing([bytes.fromhex(BODY_KEY)])


@pytest.fixture
def environment(
    database_url: str, broker: Broker, redis_url: str, monkeypatch: MonkeyPatch
) -> dict[str, str]:
    """Return the settings of every service. Set them for this process too."""
    values = service_environment(database_url, broker.url, redis_url)
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    return values


@pytest.fixture
async def installation(environment: dict[str, str], pool: Pool) -> AsyncIterator[Installation]:
    """Yield every service and a simulated Meta whose clock shows the current time."""
    async with open_installation(environment, pool) as installation:
        installation.meta.time = time.time()
        yield installation
