"""Restore the newest backup into a scratch database, and see that it is all there and readable."""

import asyncio
from functools import partial
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import structlog

from services.scheduler.answers import say
from services.scheduler.backups import manifest
from services.scheduler.backups.dumps import DumpFailed
from services.scheduler.backups.manifest import BrokenManifest, Manifest
from services.scheduler.backups.restore import compare_counts, restore_backup
from services.scheduler.backups.stores import Store, StoreFailed, open_store
from services.scheduler.run_job import JobFailed
from services.scheduler.run_scheduled import JobRun, run_scheduled
from shared.crypto import KeyRing, Undecryptable
from shared.settings.backup import RestoreDrillSettings
from shared.settings.load import load
from shared.store import contents, rotation
from shared.store.pool import Conn, connect

log = structlog.get_logger()


async def drill() -> None:
    """Restore the newest backup. Raise JobFailed if it cannot be restored, if a table has not the
    rows of the manifest, or if no key at hand opens a value of a sealed column.

    The scratch database is dropped in the end. The database itself is not touched.
    """
    settings = load(RestoreDrillSettings)
    await run_scheduled("restore-drill", settings, partial(_drill, settings))


async def _drill(settings: RestoreDrillSettings, run: JobRun) -> None:
    try:
        store = open_store(settings.backup_store)
        names = await asyncio.to_thread(manifest.names, store)
        if not names:
            raise JobFailed("there is no backup in BACKUP_STORE")
        newest = await asyncio.to_thread(manifest.read, store, names[-1])
        url = settings.drill_database_url.get_secret_value()
        server = await connect(url)
        try:
            database = await contents.create_scratch(server)
            try:
                await _restore_and_compare(settings, store, newest, _with_database(url, database))
            finally:
                await contents.drop_scratch(server, database)
        finally:
            await server.close()
    except (DumpFailed, StoreFailed, BrokenManifest) as failure:
        raise JobFailed(str(failure)) from None
    run.counts["rows"] = sum(newest.counts.values())
    log.info("backup.restored", backup=newest.name)
    say(f"{newest.name} is all there, and the keys at hand open it.")


async def _restore_and_compare(
    settings: RestoreDrillSettings, store: Store, made: Manifest, url: str
) -> None:
    await asyncio.to_thread(
        restore_backup, store, made, settings.backup_identity.get_secret_value(), url
    )
    conn: asyncpg.Connection[asyncpg.Record] = await connect(url)
    try:
        await compare_counts(conn, made)
        tokens, bodies = KeyRing(settings.token_keys), KeyRing(settings.body_keys)
        await _open_each_column(conn, made, {"tokens": tokens, "bodies": bodies})
    finally:
        await conn.close()


async def _open_each_column(
    conn: Conn, made: Manifest, rings: dict[rotation.SealedData, KeyRing]
) -> None:
    """Open one value for each key of each sealed column. Raise JobFailed."""
    unopened = []
    for data, columns in rotation.COLUMNS.items():
        for sealed in columns:
            for key_id in made.key_ids.get(sealed.name, {}):
                found = await contents.find_envelope(conn, sealed, key_id)
                try:
                    if found is not None:
                        rings[data].open(found[0], sealed.binding(*found[1]))
                except Undecryptable:
                    unopened.append(f"{sealed.name} (key {key_id})")
    if unopened:
        raise JobFailed(
            f"{made.name}: no key at hand opens {', '.join(unopened)}: find the key before you need"
            " it, or every customer connects anew"
        )


def _with_database(url: str, database: str) -> str:
    return urlunsplit(urlsplit(url)._replace(path=f"/{database}"))
