"""A row that is interrupted again and again costs only itself, whatever interrupts it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import asyncpg
import pytest

from deploy.local.simulated_meta.writing import write
from deploy.local.stack.servers import LOOPBACK, free_port
from shared.broker.topology import DEAD, RAW
from shared.crypto import KeyRing
from shared.store.intake import webhooks
from shared.store.pool import Conn
from tests.support import running
from tests.support.broker import Broker
from tests.support.bundles import bundle
from tests.support.processes import process, service
from tests.support.refusing import refusing
from tests.support.samples import make_webhook, make_webhook_row
from tests.support.sending import account_update, message
from tests.support.waiting import eventually

INNOCENTS = 20
#: A statement cancelled, an I/O error, an internal error.
INTERRUPTIONS = ("57014", "58030", "XX000")


async def until_split(conn: Conn, count: int) -> None:
    query = "SELECT count(*) = $1 FROM webhook_log WHERE state = 'split'"
    await eventually(lambda: conn.fetchval(query, count))


def bodies() -> list[bytes]:
    """Return INNOCENTS bodies, and in their middle one that PostgreSQL refuses."""
    innocents = [write(message(number)) for number in range(INNOCENTS)]
    return [*innocents[:7], write(account_update("POISON")), *innocents[7:]]


@pytest.mark.parametrize("sqlstate", INTERRUPTIONS)
@pytest.mark.parametrize("via", ["broker", "database"])
async def test_a_change_that_interrupts_its_group_stops_no_other(
    environment: dict[str, str], broker: Broker, conn: Conn, ring: KeyRing, via: str, sqlstate: str
) -> None:
    async with refusing(conn, "POISON", table="webhook_changes", column="event", sqlstate=sqlstate):
        if via == "broker":
            await broker.put(RAW, bundle(*bodies()))
        else:
            rows = [make_webhook_row(make_webhook(body)) for body in bodies()]
            await webhooks.insert(conn, ring, rows)
        async with running.processor(environment):
            await until_split(conn, INNOCENTS)
            await eventually(
                lambda: conn.fetchval(
                    "SELECT true FROM webhook_log WHERE state = 'unsplit' AND attempts = 0"
                    " AND interruptions >= 2"
                )
            )
    async with running.processor(environment):
        await conn.execute("UPDATE webhook_log SET lease_until = now() - interval '1 s'")
        await until_split(conn, INNOCENTS + 1)
    assert await conn.fetchval("SELECT count(*) FROM dead_letters") == 0


async def test_a_statement_that_never_ends_stops_no_other(
    environment: dict[str, str], broker: Broker, conn: Conn, ring: KeyRing
) -> None:
    async with sleeping(conn):
        rows = [make_webhook_row(make_webhook(body)) for body in bodies()]
        await webhooks.insert(conn, ring, rows)
        async with running.processor(environment):
            await until_split(conn, INNOCENTS)


async def test_a_webhook_that_cannot_be_stored_stops_no_other_and_ends_no_process(
    environment: dict[str, str], broker: Broker, conn: Conn
) -> None:
    async with refusing(conn, "slow", table="webhook_log", column="lane"):
        await broker.put(RAW, bundle(*bodies()[:7]))
        await broker.put("webhooks.raw.slow", bundle(write(message(100))))
        async with service("processor", environment) as started:
            await until_split(conn, 7)

            async def is_kept() -> bool:
                return bool(await conn.fetchval("SELECT count(*) = 1 FROM dead_letters"))

            await eventually(is_kept)
            assert started.returncode is None
    assert await broker.count(DEAD) == 0


async def test_a_refused_password_ends_no_process(
    environment: dict[str, str], broker: Broker, conn: Conn, database_url: str
) -> None:
    """PostgreSQL refuses whoever connects, for whatever reason: nobody's row is to blame."""
    database = await conn.fetchval("SELECT current_database()")
    other = database_url.rpartition("/")[0] + "/postgres"
    admin = await asyncpg.connect(other)
    port = free_port()
    async with process("services.processor", environment, HEALTH_PORT=str(port)) as started:
        await broker.put(RAW, bundle(write(message(1))))
        await until_split(conn, 1)
        try:
            await admin.execute(f'ALTER DATABASE "{database}" WITH ALLOW_CONNECTIONS false')
            await admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = $1 AND application_name = 'processor'",
                database,
            )
            await broker.put(RAW, bundle(write(message(2))))
            await eventually(lambda: is_unready(port))
        finally:
            await admin.execute(f'ALTER DATABASE "{database}" WITH ALLOW_CONNECTIONS true')
            await admin.close()
        await until_split(conn, 2)
        assert started.returncode is None


async def is_unready(port: int) -> bool:
    async with aiohttp.request("GET", f"http://{LOOPBACK}:{port}/readyz") as answer:
        return answer.status == 503


@asynccontextmanager
async def sleeping(conn: Conn) -> AsyncIterator[None]:
    """Make each statement that stores the event POISON last longer than any time limit."""
    await conn.execute(
        """
        CREATE FUNCTION sleep_long() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF NEW.event = 'POISON' THEN PERFORM pg_sleep(120); END IF;
            RETURN NEW;
        END $$;
        CREATE TRIGGER sleep_long BEFORE INSERT ON webhook_changes
            FOR EACH ROW EXECUTE FUNCTION sleep_long();
        """
    )
    try:
        yield
    finally:
        await conn.execute("DROP FUNCTION sleep_long CASCADE")
