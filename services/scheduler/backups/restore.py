"""Restore a backup, and see that all of it is there."""

from services.scheduler.backups import dumps
from services.scheduler.backups.manifest import Manifest
from services.scheduler.backups.stores import Store
from services.scheduler.run_job import JobFailed
from shared.store import contents
from shared.store.pool import Conn


def restore_backup(store: Store, made: Manifest, identity: str, url: str) -> None:
    """Blocking. Raise DumpFailed or StoreFailed."""
    with store.read(made.data) as file:
        dumps.restore(url, identity, file, made.sha256)


async def compare_counts(conn: Conn, made: Manifest) -> None:
    """Raise JobFailed if a table has not as many rows as the manifest says."""
    found = await contents.count_rows(conn)
    wrong = sorted(
        table for table in {*found, *made.counts} if found.get(table) != made.counts.get(table)
    )
    if wrong:
        raise JobFailed(f"{made.name}: other rows than in its manifest: {', '.join(wrong)}")
