"""The rehearsal of a lost database comes true with data in it, and says what does not."""

import asyncio
import shlex
from pathlib import Path

import asyncpg
import pytest

from deploy.local import rehearse
from tests.support import servers


@pytest.fixture
async def database(
    environment: dict[str, str], worker: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> str:
    """Yield the URL of a database that has an organization, as the stack's file names it."""
    url = await servers.create_database(f"rehearsed_{worker}")
    conn = await asyncpg.connect(url)
    await conn.execute("INSERT INTO organizations (id) VALUES ('bakery')")
    await conn.close()
    settings = environment | {"DATABASE_URL": url}
    file = tmp_path / "porteiro.env"
    file.write_text("".join(f"export {name}={shlex.quote(settings[name])}\n" for name in settings))
    monkeypatch.setattr(rehearse, "ENV_FILE", file)
    return url


async def test_a_database_with_data_is_lost_and_restored(
    database: str, capsys: pytest.CaptureFixture[str]
) -> None:
    is_sound = await asyncio.to_thread(rehearse.rehearse, {"database": database})

    shown = capsys.readouterr().out
    assert is_sound, shown
    assert "tables compared: all equal" in shown
    conn = await asyncpg.connect(database)
    try:
        assert await conn.fetchval("SELECT id FROM organizations") == "bakery"
    finally:
        await conn.close()
