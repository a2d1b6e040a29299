"""Start private servers for a benchmark, and read what the services cost them."""

import os
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg

from bench.traffic import WABAS, waba_id
from deploy.local.stack import servers
from deploy.local.stack.settings import service_settings
from deploy.local.stack.supervisor import Supervisor
from shared.actions import ownership
from shared.broker import topology
from shared.broker.connect import connect
from shared.crypto import KeyRing
from shared.store.connections import connections, onboardings, organizations
from shared.store.connections.onboardings import NewOnboarding
from shared.store.migrate import migrate
from shared.store.pool import Conn

#: Every second WABA of the load has an owner, so that half of the webhooks lead to events.
OWNED_EVERY = 2
ORGANIZATIONS = 100
#: Options of a PostgreSQL whose work is counted.
COUNTING = {
    "shared_preload_libraries": "pg_stat_statements",
    "autovacuum": "off",  # it runs at unpredictable times
    "checkpoint_timeout": "1h",
    "max_wal_size": "8GB",
}
_METER = "meter"


def uuid7_sql(at: str, text: str) -> str:
    """Return an SQL expression for an id as the services make it: a time, then as random."""
    digits = f"md5({text}::text)"
    return (
        f"(lpad(to_hex((extract(epoch FROM {at}) * 1000)::bigint), 12, '0')"
        f" || '7' || substr({digits}, 1, 3) || '8' || substr({digits}, 4, 15))::uuid"
    )


def key_sql(at: str, text: str) -> str:
    """Return an SQL expression for a change's key as `splitting` makes it: likewise."""
    return (
        f"(substring(int8send(extract(epoch FROM {at})::bigint) FROM 5)"
        f" || substring(sha256({text}::text::bytea) FOR 16))"
    )


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


async def open_database(url: str) -> Conn:
    """Connect as a separate user, created here, whose statements are not counted."""
    admin = await asyncpg.connect(url)
    await admin.execute("CREATE EXTENSION pg_stat_statements")
    await admin.execute(f"CREATE ROLE {_METER} SUPERUSER LOGIN PASSWORD '{_METER}'")
    await admin.close()
    return await connect_meter(url)


async def connect_meter(url: str) -> Conn:
    """Connect as that user to another database of the server."""
    return await asyncpg.connect(url, user=_METER, password=_METER)


async def give_owners(url: str) -> None:
    """Give owners to WABAs by proofs, as onboardings do."""
    conn = await asyncpg.connect(url)
    now, ring = datetime.now(UTC), KeyRing([os.urandom(32)])
    async with conn.transaction():
        for number in range(0, WABAS, OWNED_EVERY):
            organization_id = f"organization-{number % ORGANIZATIONS}"
            await organizations.add(conn, organization_id)
            new = NewOnboarding(organization_id, f"bench-{number}", now + timedelta(days=1))
            await onboardings.start(conn, ring, new)
            onboarding = await onboardings.find(conn, new.tracking_code, organization_id=None)
            row = await connections.ensure_locked(conn, waba_id(number))
            await ownership.record_proof(conn, row, onboarding, None, now)
        # What follows from the proofs is not part of the load.
        await conn.execute("UPDATE follow_ups SET state = 'done', ended_at = now()")
    await conn.close()
