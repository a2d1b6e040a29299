"""`python -m bench.migrations`: migrate a million rows while 500 webhooks a second are written.

From the schema of release 0.1.0 to the newest, then the partitions of the bodies, once alone and
once while a reader sits on every table. For each step: how long it and the writes waited for locks.
"""

import asyncio
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from shutil import rmtree
from typing import Any

import asyncpg
from rich.console import Console
from rich.table import Table
from uuid_utils.compat import uuid7

from deploy.local.stack import install, servers
from deploy.local.stack.supervisor import Supervisor
from shared.store.intake import partitions
from shared.store.migrate import migrate, revisions
from shared.store.pool import Conn

FROM_REVISION = "0006"
TO_REVISIONS = [revision for revision in reversed(revisions()) if revision > FROM_REVISION]
WRITES_PER_SECOND = 500
TOGETHER = 10
WRITERS = 2
#: How long the reader sits on its tables, from the start of each step.
READER_SECONDS = 8.0
SAMPLE_SECONDS = 0.02
#: The bounds of each wait for a lock, and of each write. A sample may come too late.
MAX_WAIT_SECONDS = 0.6
MAX_WRITE_SECONDS = 1.1

#: 1,000,000 webhooks and changes of yesterday, 100,000 connections, half of them owned.
_FILL = """
INSERT INTO organizations (id) VALUES ('bakery');
INSERT INTO whatsapp_connections (id, waba_id)
    SELECT gen_random_uuid(), n::text FROM generate_series(1, 100000) AS n;
INSERT INTO whatsapp_onboarding
        (id, organization_id, tracking_code, state, waba_id, expires_at, flow, proven_at)
    SELECT gen_random_uuid(), 'bakery', n::text, 'completed', n::text, now(), 'popup', now()
    FROM generate_series(1, 50000) AS n;
UPDATE whatsapp_connections SET organization_id = 'bakery', attribution = 'tracking_code'
    WHERE waba_id::int <= 50000;
CREATE TEMP TABLE ids AS
    SELECT gen_random_uuid() AS id, now() - interval '1 day' AS at, n
    FROM generate_series(1, 1000000) AS n;
INSERT INTO webhook_log (id, received_at, digest, kind, lane, stored_via, state, processed)
    SELECT id, at, sha256(id::text::bytea), 'whatsapp', 'fast', 'broker', 'split', true FROM ids;
INSERT INTO webhook_bodies (id, received_at, body)
    SELECT id, at, decode(repeat('5a', 300), 'hex') FROM ids;
INSERT INTO webhook_changes (id, webhook_id, received_at, key, waba_id, state)
    SELECT id, id, at, sha256(id::text::bytea), (n % 100000 + 1)::text, 'processed'
    FROM ids;
DROP TABLE ids;
ANALYZE"""
_WRITE = (
    """
    INSERT INTO webhook_log (id, received_at, digest, kind, lane, stored_via, state, processed)
    SELECT id, now(), '\\x00', 'whatsapp', 'fast', 'broker', 'split', true
    FROM unnest($1::uuid[]) AS id
    """,
    """
    INSERT INTO webhook_bodies (id, received_at, body)
    SELECT id, now(), '\\x00' FROM unnest($1::uuid[]) AS id
    """,
    """
    INSERT INTO webhook_changes (id, webhook_id, received_at, key, waba_id, state)
    SELECT id, id, now(), sha256(id::text::bytea), '1', 'processed' FROM unnest($1::uuid[]) AS id
    """,
    """
    UPDATE whatsapp_connections SET updated_at = now()
    WHERE waba_id = (1 + abs(hashtext($1::uuid[]::text)) % 100000)::text
    """,
)
_READ = (
    "webhook_log", "webhook_bodies", "webhook_changes", "events", "replays", "dead_letters",
    "organizations", "whatsapp_connections", "whatsapp_onboarding", "phone_numbers",
    "connection_facts", "follow_ups", "api_keys", "audit_log",
)  # fmt: skip
#: The longest wait of those that wait for a lock now: the writers', and all others'. An index
#: that is made beside writes waits for older transactions (`virtualxid`): nobody waits behind it.
_WAITS = """
SELECT application_name = 'writer' AS is_write,
       extract(epoch FROM max(clock_timestamp() - waitstart))::float8 AS seconds
FROM pg_locks JOIN pg_stat_activity USING (pid)
WHERE waitstart IS NOT NULL AND locktype <> 'virtualxid' AND datname = current_database()
GROUP BY is_write
"""


@dataclass(slots=True)
class Measured:
    """What one step cost, in seconds."""

    step: str
    took: float = 0.0
    waited: float = 0.0
    slowest_write: float = 0.0
    writes: int = 0

    @property
    def is_sound(self) -> bool:
        return self.waited <= MAX_WAIT_SECONDS and self.slowest_write <= MAX_WRITE_SECONDS


@asynccontextmanager
async def connected(url: str, name: str) -> AsyncIterator[Conn]:
    conn = await asyncpg.connect(url, server_settings={"application_name": name})
    try:
        yield conn
    finally:
        conn.terminate()


async def _write(conn: Conn, measured: Measured) -> None:
    """Write webhooks at the writer's share of the rate, and measure each transaction."""
    pause = TOGETHER * WRITERS / WRITES_PER_SECOND
    due = time.monotonic()
    while True:
        began = time.monotonic()
        async with conn.transaction():
            ids = [uuid7() for _ in range(TOGETHER)]
            for statement in _WRITE:
                await conn.execute(statement, ids)
        measured.slowest_write = max(measured.slowest_write, time.monotonic() - began)
        measured.writes += TOGETHER
        due += pause
        await asyncio.sleep(max(0.0, due - time.monotonic()))


async def _sample(conn: Conn, measured: Measured) -> None:
    while True:
        for record in await conn.fetch(_WAITS):
            if not record["is_write"]:
                measured.waited = max(measured.waited, record["seconds"])
        await asyncio.sleep(SAMPLE_SECONDS)


async def _sit(conn: Conn) -> None:
    async with conn.transaction():
        for table in _READ:
            await conn.fetch(f"SELECT FROM {table} LIMIT 1")
        await asyncio.sleep(READER_SECONDS)


async def measure(
    url: str, name: str, step: Callable[[], Awaitable[object]], *, has_reader: bool
) -> Measured:
    """Run a step beside the writers, and a reader if asked for, and one second of calm after it."""
    measured = Measured(name)
    async with AsyncExitStack() as stack:
        conns = [await stack.enter_async_context(connected(url, "writer")) for _ in range(WRITERS)]
        tasks = [asyncio.ensure_future(_write(conn, measured)) for conn in conns]
        watcher = await stack.enter_async_context(connected(url, "watcher"))
        tasks.append(asyncio.ensure_future(_sample(watcher, measured)))
        if has_reader:
            reader = await stack.enter_async_context(connected(url, "reader"))
            tasks.append(asyncio.ensure_future(_sit(reader)))
            await asyncio.sleep(0.5)
        began = time.monotonic()
        await step()
        measured.took = time.monotonic() - began
        await asyncio.sleep(1)
        for task in tasks:
            task.cancel()
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(outcome, Exception):
                raise outcome
    return measured


async def _run(url: str, *, has_reader: bool) -> list[Measured]:
    steps = [
        await measure(url, revision, partial(migrate, url, revision), has_reader=has_reader)
        for revision in TO_REVISIONS
    ]

    async def add_partitions() -> None:
        async with connected(url, "partitions") as conn:
            await partitions.add_ahead(conn, datetime.now(UTC).date())

    return [*steps, await measure(url, "partitions", add_partitions, has_reader=has_reader)]


async def _bench(console: Console, url: str) -> bool:
    await migrate(url, FROM_REVISION)
    async with connected(url, "fill") as conn:
        for statement in _FILL.split(";\n"):
            await conn.execute(statement)
    admin = url.rpartition("/")[0] + "/template1"
    with_reader = url.rpartition("/")[0] + "/with_reader"
    async with connected(admin, "copy") as conn:
        await conn.execute("CREATE DATABASE with_reader TEMPLATE postgres")
    is_sound = True
    for title, database, has_reader in (
        ("alone", url, False),
        (f"a reader sits on every table for {READER_SECONDS:.0f} s", with_reader, True),
    ):
        table = Table("step", "took", "waited for a lock", "slowest write", "writes", title=title)
        for step in await _run(database, has_reader=has_reader):
            is_sound = is_sound and step.is_sound
            table.add_row(
                step.step,
                f"{step.took:.1f} s",
                f"{step.waited * 1000:.0f} ms",
                f"{step.slowest_write * 1000:.0f} ms",
                f"{step.writes:,}",
                style=None if step.is_sound else "red",
            )
        console.print(table)
    return is_sound


def run_on_postgresql(bench: Callable[[Console, str], Coroutine[Any, Any, bool]]) -> None:
    """Run a bench on a PostgreSQL of its own. Exit with 1 unless it returns that all was sound."""
    console = Console(width=90)
    install.ensure()
    folder = Path(tempfile.mkdtemp(prefix="porteiro-bench-"))
    folder.chmod(0o711)
    supervisor = Supervisor(str(folder), folder, lambda _: None)
    try:
        database = servers.postgresql(folder, fsync=True, options={"max_wal_size": "8GB"})
        supervisor.start(database)
        is_sound = asyncio.run(bench(console, database.url))
    finally:
        supervisor.stop()
        rmtree(folder, ignore_errors=True)
    bounds = f"locks waited for {MAX_WAIT_SECONDS} s, writes took {MAX_WRITE_SECONDS} s at most"
    console.print(f"sound: {bounds}" if is_sound else "NOT SOUND")
    sys.exit(not is_sound)


if __name__ == "__main__":
    run_on_postgresql(_bench)
