"""Commands for backups."""

import asyncio
from collections.abc import Coroutine
from typing import Annotated, Any

import typer

from services.scheduler.admin.tables import Columns, JsonOption, print_list
from services.scheduler.answers import Answer
from services.scheduler.backups import manifest
from services.scheduler.backups.dumps import DumpFailed
from services.scheduler.backups.manifest import BrokenManifest, Manifest
from services.scheduler.backups.restore import compare_counts, restore_backup
from services.scheduler.backups.stores import Store, StoreFailed, open_store
from services.scheduler.run_job import JobFailed, UsageError, run_job
from shared.settings.backup import BackupStoreSettings, RestoreSettings
from shared.settings.load import load
from shared.store import contents
from shared.store.pool import connect

app = typer.Typer(
    help="Show backups, and restore one: `porteiro backup` makes one.", no_args_is_help=True
)


_COLUMNS: Columns[Manifest] = {
    "name": lambda made: made.name,
    "schema": lambda made: made.schema,
    "rows": lambda made: f"{sum(made.counts.values()):,}",
    "MB": lambda made: f"{made.size / 1e6:,.1f}",
}


@app.command("list")
def list_backups(as_json: JsonOption = False) -> None:
    """List the complete backups in BACKUP_STORE, the oldest first."""

    async def show() -> None:
        store = open_store(load(BackupStoreSettings).backup_store)
        made = await asyncio.to_thread(_read_all, store)
        print_list("Backups", _COLUMNS, made, as_json=as_json)

    run_job("backups", _said(show()))


@app.command("restore")
def restore(
    name: Annotated[str | None, typer.Argument(help="A backup's name (see `list`).")] = None,
) -> None:
    """Restore a backup, else the newest.

    It goes into the empty database of DATABASE_URL. Then the rows of each table are compared
    with the backup's manifest.
    """

    async def run() -> None:
        settings = load(RestoreSettings)
        url = settings.database_url.get_secret_value()
        store = open_store(settings.backup_store)
        names = await asyncio.to_thread(manifest.names, store)
        if not names or (name or names[-1]) not in names:
            raise UsageError(["there is no such backup: see `porteiro backups list`"])
        made = await asyncio.to_thread(manifest.read, store, name or names[-1])
        conn = await connect(url)
        try:
            if not await contents.is_empty(conn):
                raise UsageError(["the database of DATABASE_URL is not empty: create another"])
            identity = settings.backup_identity.get_secret_value()
            await asyncio.to_thread(restore_backup, store, made, identity, url)
            await compare_counts(conn, made)
        finally:
            await conn.close()
        rows = sum(made.counts.values())
        sentence = f"{made.name} is restored: all {rows:,} rows of its manifest are there."
        Answer("backup.restored", sentence, backup=made.name, count=rows).say()

    run_job("backups", _said(run()))


def _read_all(store: Store) -> list[Manifest]:
    return [manifest.read(store, name) for name in manifest.names(store)]


async def _said(work: Coroutine[Any, Any, None]) -> None:
    """Run `work`. Raise JobFailed with what the store or pg_restore said."""
    try:
        await work
    except (DumpFailed, StoreFailed, BrokenManifest) as failure:
        raise JobFailed(str(failure)) from None
