"""Migrate the database's schema."""

from datetime import UTC, datetime

import asyncpg
import structlog

from shared.settings.groups import DatabaseSettings
from shared.settings.load import load
from shared.store import migrate as migrations
from shared.store.intake import partitions
from shared.store.pool import CONNECT_SECONDS

log = structlog.get_logger()


async def migrate_schema(to: str) -> None:
    """Bring the schema to revision `to`. At `head`, also add the partitions of the coming days."""
    url = load(DatabaseSettings).database_url.get_secret_value()
    await migrations.migrate(url, to)
    if to == "head":
        conn = await asyncpg.connect(url, timeout=CONNECT_SECONDS)
        try:
            await partitions.add_ahead(conn, datetime.now(UTC).date())
        finally:
            await conn.close()
    log.info("migrate.done", revision=migrations.newest_revision() if to == "head" else to)
