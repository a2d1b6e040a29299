"""A backup beside writes, and beside work that changes the schema, is exactly its manifest."""

import asyncio
import json
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import pytest

from shared.crypto import KeyRing
from shared.store import contents
from shared.store.intake import changes, partitions, past_partitions, webhooks
from shared.store.pool import Conn, Pool, transaction
from tests.support.backups import backup_settings
from tests.support.command_line import porteiro
from tests.support.samples import changes_of, make_change, make_webhook, make_webhook_row
from tests.support.waiting import eventually

#: Stands in for pg_dump: waits until it may go on, and for a lock half a second only.
HELD_DUMP = """#!/bin/bash
touch {folder}/is_waiting
until [ -e {folder}/may_go_on ]; do sleep 0.02; done
exec {pg_dump} "${{@/--lock-wait-timeout=*/--lock-wait-timeout=500}}"
"""


class HeldDump:
    """A backup that stops after its rows were counted, before pg_dump begins."""

    def __init__(self, folder: Path, database_url: str) -> None:
        pg_dump = shutil.which("pg_dump")
        assert pg_dump is not None
        programs = folder / "programs"
        programs.mkdir()
        script = programs / "pg_dump"
        script.write_text(HELD_DUMP.format(folder=folder, pg_dump=pg_dump))
        script.chmod(0o755)
        self.store = folder / "backups"
        self._folder = folder
        self._settings = backup_settings(self.store, database_url)
        self._path = f"{programs}:{os.environ['PATH']}"

    @asynccontextmanager
    async def running(self) -> AsyncIterator["asyncio.Task[tuple[int | None, str]]"]:
        backup = asyncio.create_task(porteiro("backup", **self._settings, PATH=self._path))
        waiting = self._folder / "is_waiting"
        await eventually(lambda: asyncio.to_thread(waiting.exists), seconds=30)
        try:
            yield backup
        finally:
            self.go_on()
            await backup

    def go_on(self) -> None:
        (self._folder / "may_go_on").touch()

    def manifest_counts(self) -> dict[str, int]:
        [manifest] = self.store.glob("*.json")
        counts: dict[str, int] = json.loads(manifest.read_text())["counts"]
        return counts

    async def drill(self) -> tuple[int | None, str]:
        return await porteiro("restore-drill", **self._settings)


@pytest.fixture
def held(tmp_path: Path, environment: dict[str, str]) -> HeldDump:
    return HeldDump(tmp_path, environment["DATABASE_URL"])


async def store_one(pool: Pool, ring: KeyRing, number: int) -> None:
    webhook = make_webhook()
    async with transaction(pool) as conn:
        await webhooks.insert(conn, ring, [make_webhook_row(webhook, state="split")])
        await changes.insert(conn, ring, changes_of(webhook, make_change(number)))


@asynccontextmanager
async def traffic(pool: Pool, ring: KeyRing) -> AsyncIterator[None]:
    """Store webhooks, and delete some, until the block ends."""

    async def write() -> None:
        number = 0
        while True:
            number += 1
            await store_one(pool, ring, number)
            if number % 5 == 0:
                await pool.execute("DELETE FROM webhook_log WHERE id = (SELECT min(id::text)::uuid"
                                   " FROM webhook_log)")  # fmt: skip

    writing = asyncio.create_task(write())
    try:
        yield
        assert not writing.done(), writing
    finally:
        writing.cancel()
        with suppress(asyncio.CancelledError):
            await writing


async def until_stored(conn: Conn, more: int) -> None:
    """Wait until so many webhooks more are stored than now."""
    query = "SELECT count(*) FROM webhook_log"
    enough = await conn.fetchval(query) + more

    async def is_enough() -> bool:
        return bool(await conn.fetchval(query) >= enough)

    await eventually(is_enough)


async def until_locks_wait(conn: Conn) -> None:
    await eventually(lambda: conn.fetchval("SELECT pid FROM pg_locks WHERE NOT granted"))


async def test_a_backup_under_traffic_is_restored_as_its_manifest_says(
    held: HeldDump, pool: Pool, conn: Conn, ring: KeyRing
) -> None:
    async with traffic(pool, ring):
        await until_stored(conn, 50)
        async with held.running() as backup:
            await until_stored(conn, 50)
            held.go_on()
            code, log = await backup
        assert code == 0, log
        code, log = await held.drill()
        assert code == 0, log
    counted = held.manifest_counts()
    assert 50 <= counted["webhook_log"] < await conn.fetchval("SELECT count(*) FROM webhook_log")
    assert counted["webhook_changes"] == counted["webhook_log"]  # as each transaction left them


async def test_a_job_that_changes_the_schema_waits_and_nobody_waits_behind_it(
    held: HeldDump, pool: Pool, conn: Conn, ring: KeyRing
) -> None:
    """A past day is to be dropped while the backup is made: it is dropped afterwards."""
    past = datetime.now(UTC).date() - timedelta(days=60)
    await partitions.add_ahead(conn, past)
    async with traffic(pool, ring):
        async with held.running() as backup:
            dropping = asyncio.create_task(porteiro("partitions"))
            await until_locks_wait(conn)
            await until_stored(conn, 50)
            held.go_on()
            code, log = await backup
        assert code == 0, log
        code, log = await dropping
        assert code == 0, log
    assert await past_partitions.days_before(conn, past + timedelta(days=30)) == []
    code, log = await held.drill()
    assert code == 0, log


async def test_an_alteration_that_waits_without_a_limit_ends_the_backup_and_goes_on(
    held: HeldDump, pool: Pool, conn: Conn
) -> None:
    async def alter() -> None:
        async with pool.acquire() as other, other.transaction():
            await other.execute("SET LOCAL lock_timeout = 0")
            await other.execute("LOCK TABLE webhook_log")

    async with held.running() as backup:
        altering = asyncio.create_task(alter())
        await until_locks_wait(conn)
        held.go_on()
        code, log = await backup
        assert (code, "locked for 15 s by work that alters it" in log) == (1, True), log
        await altering
    assert list(held.store.glob("*.json")) == []


async def test_no_table_is_altered_or_dropped_while_its_snapshot_is_counted(
    pool: Pool, conn: Conn
) -> None:
    async with pool.acquire() as other, contents.exported_snapshot(other):
        for statement in ("DROP TABLE webhook_bodies_default", "ALTER TABLE replays ADD x int"):
            with pytest.raises(asyncpg.LockNotAvailableError):
                await partitions.alter(conn, statement)
