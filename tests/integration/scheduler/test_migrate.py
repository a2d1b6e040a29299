"""`porteiro migrate` says what it does, and deletes no data unless it was told to."""

import json
from collections.abc import AsyncIterator

import asyncpg
import pytest

from shared.process.lifecycle import EXIT_REFUSED
from shared.store.migrate import newest_revision
from tests.support import servers
from tests.support.command_line import on_terminal, porteiro


@pytest.fixture
async def database(environment: dict[str, str], worker: str) -> AsyncIterator[str]:
    """Yield the URL of a migrated database that has an organization."""
    url = await servers.create_database(f"migrated_{worker}")
    conn = await asyncpg.connect(url)
    try:
        await conn.execute("INSERT INTO organizations (id) VALUES ('bakery')")
        yield url
    finally:
        await conn.close()


async def test_data_are_deleted_only_with_yes(database: str) -> None:
    for to in ("base", "0001"):
        code, shown = await on_terminal("migrate", "--to", to, DATABASE_URL=database)
        assert (code, f"error: going down to {to} deletes data" in shown) == (EXIT_REFUSED, True)
    conn = await asyncpg.connect(database)
    try:
        assert await conn.fetchval("SELECT count(*) FROM organizations") == 1
        code, log = await porteiro("migrate", "--to", "base", "--yes", DATABASE_URL=database)
        assert code == 0, log
        assert await conn.fetchval("SELECT to_regclass('organizations')") is None
    finally:
        await conn.close()


async def test_each_migration_is_named(database: str) -> None:
    code, _ = await porteiro("migrate", "--to", "base", "--yes", DATABASE_URL=database)
    assert code == 0
    code, log = await porteiro("migrate", DATABASE_URL=database)
    lines = [json.loads(line) for line in log.splitlines()]
    steps = [line["revision"] for line in lines if line["event"] == "migrate.step"]
    assert (steps[0], steps[-1]) == ("0001", newest_revision())
    assert not [line for line in lines if "%" in line["event"]]


async def test_an_unknown_revision_is_refused(database: str) -> None:
    code, shown = await on_terminal("migrate", "--to", "9999", DATABASE_URL=database)
    assert (code, shown.startswith("error: there is no revision 9999")) == (EXIT_REFUSED, True)
