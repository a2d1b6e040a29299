"""Back up the database: encrypted, to a store, with a manifest. The newest ones are kept."""

import asyncio
from datetime import UTC, datetime
from functools import partial

import structlog

from services.scheduler.answers import say
from services.scheduler.backups import dumps, manifest
from services.scheduler.backups.dumps import DumpFailed
from services.scheduler.backups.manifest import Manifest
from services.scheduler.backups.stores import Store, StoreFailed, open_store
from services.scheduler.run_job import JobFailed
from services.scheduler.run_scheduled import JobRun, run_scheduled
from shared.process.crash_points import crash_point
from shared.settings.backup import BackupSettings
from shared.settings.load import load
from shared.store import contents
from shared.store.pool import ACQUIRE_SECONDS

log = structlog.get_logger()


async def back_up() -> None:
    """Make a backup, and delete those beyond BACKUP_KEEP.

    Whoever makes it cannot read it. Raise JobFailed if pg_dump or the store fails: then there is
    no new backup, and the old ones stay.
    """
    settings = load(BackupSettings)
    await run_scheduled("backup", settings, partial(_back_up, settings))


async def _back_up(settings: BackupSettings, run: JobRun) -> None:
    try:
        store = open_store(settings.backup_store)
        made = await _make(settings, store, run)
        log.info("backup.made", backup=made.name, count=made.size)
        say(f"The backup {made.name} is made.")
        run.counts["bytes"], run.counts["rows"] = made.size, sum(made.counts.values())
        run.counts["deleted"] = await asyncio.to_thread(_delete_old, store, settings.backup_keep)
    except (DumpFailed, StoreFailed) as failure:
        raise JobFailed(str(failure)) from None


async def _make(settings: BackupSettings, store: Store, run: JobRun) -> Manifest:
    name = f"porteiro-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    async with (
        run.pool.acquire(timeout=ACQUIRE_SECONDS) as conn,
        contents.exported_snapshot(conn) as snapshot,
    ):
        schema, server = await contents.schema_and_server(conn)
        counts, key_ids = await contents.count_rows(conn), await contents.count_key_ids(conn)
        written = await asyncio.to_thread(_dump, settings, store, name, snapshot)
    crash_point("backup.written")
    made = Manifest(name, schema, server, counts, key_ids, written.sha256, written.size)
    await asyncio.to_thread(manifest.write, store, made)
    crash_point("backup.made")
    return made


def _dump(settings: BackupSettings, store: Store, name: str, snapshot: str) -> dumps.Written:
    with store.create(manifest.data_name(name)) as writer:
        return dumps.dump(
            settings.database_url.get_secret_value(), snapshot, settings.backup_recipient, writer
        )


def _delete_old(store: Store, keep: int) -> int:
    """Delete all backups but the newest, and what killed runs have left. Return how many."""
    complete = manifest.names(store)
    old = [*complete[:-keep], *manifest.incomplete(store)]
    for name in old:
        manifest.delete(store, name)
    return len(old)
