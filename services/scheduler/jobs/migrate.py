"""Migrate the database's schema."""

from datetime import UTC, datetime

import asyncpg

from services.scheduler.answers import Answer
from services.scheduler.run_job import UsageError
from shared.settings.groups import DatabaseSettings
from shared.settings.load import load
from shared.store import job_runs
from shared.store import migrate as migrations
from shared.store.intake import partitions
from shared.store.pool import CONNECT_SECONDS


async def migrate_schema(to: str, *, may_lose_data: bool = False) -> None:
    """Bring the schema to revision `to`. At `head`, also add the partitions of the coming days, and
    record the run: jobs that never ran are overdue only if they were due since the first one.

    Raise UsageError if there is no such revision, or if it is lower than the database's, there are
    data, and not `may_lose_data`.
    """
    if not migrations.is_known(to):
        raise UsageError(
            [f"there is no revision {to}: the newest is {migrations.newest_revision()}"]
        )
    url = load(DatabaseSettings).database_url.get_secret_value()
    if not may_lose_data and await migrations.would_lose_data(url, to):
        raise UsageError(
            [f"going down to {to} deletes data: make a backup, then run it again with --yes"]
        )
    await migrations.migrate(url, to)
    if to == "head":
        conn = await asyncpg.connect(url, timeout=CONNECT_SECONDS)
        try:
            await partitions.add_ahead(conn, datetime.now(UTC).date())
            await job_runs.record_migration(conn)
        finally:
            await conn.close()
    revision = migrations.newest_revision() if to == "head" else to
    Answer("migrate.done", f"The schema is at {revision}.", revision=revision).say()
