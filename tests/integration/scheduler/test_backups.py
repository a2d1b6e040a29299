"""A backup is readable by its identity alone, complete or absent, and the drill proves it."""

import json
import subprocess
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyrage
import pytest

from shared.crypto import KeyRing
from shared.process.lifecycle import EXIT_REFUSED
from shared.store.connections import connections, onboardings, organizations
from shared.store.connections.onboardings import NewOnboarding
from shared.store.intake import webhooks
from shared.store.pool import Conn
from tests.support.backups import IDENTITY, backup_settings
from tests.support.command_line import porteiro
from tests.support.keys import TOKEN_RING
from tests.support.samples import make_webhook, make_webhook_row
from tests.support.tokens import save_token
from tests.support.waiting import eventually

Run = Callable[..., Awaitable[tuple[int | None, str]]]
OTHER_KEY = (
    "7c1e9a4d3b5f8206a1d4c7e9f0b2a3c5d6e8f9a0b1c2d3e4f5a6b7c8d9e0f1a3"  # pragma: allowlist secret
)


@pytest.fixture
async def folder(conn: Conn, ring: KeyRing, tmp_path: Path) -> Path:
    """Fill the database. Return an empty folder for backups."""
    await organizations.add(conn, "bakery")
    until = datetime.now(UTC) + timedelta(hours=1)
    await onboardings.start(conn, TOKEN_RING, NewOnboarding("bakery", "code-1", until))
    await connections.ensure(conn, ["71"])
    await save_token(conn, TOKEN_RING, "71", "token")
    for _ in range(3):
        await webhooks.insert(conn, ring, [make_webhook_row(make_webhook(b"{}"))])
    return tmp_path / "backups"


@pytest.fixture
def run(folder: Path, environment: dict[str, str]) -> Run:
    async def run(*arguments: str, **more: str) -> tuple[int | None, str]:
        settings = backup_settings(folder, environment["DATABASE_URL"])
        return await porteiro(*arguments, **(settings | more))

    return run


def data_of(folder: Path) -> Path:
    [data] = folder.glob("*.dump.age")
    return data


async def no_scratch_database_is_left(conn: Conn) -> None:
    """Wait for that: a drill of another test may be under way on the same server."""

    async def is_none_left() -> bool:
        query = "SELECT count(*) = 0 FROM pg_database WHERE starts_with(datname, 'porteiro_drill_')"
        return bool(await conn.fetchval(query))

    await eventually(is_none_left)


async def test_a_backup_is_restored_as_its_manifest_says(
    conn: Conn, folder: Path, run: Run
) -> None:
    assert (await run("backup"))[0] == 0
    [manifest] = [json.loads(path.read_text()) for path in folder.glob("*.json")]
    assert manifest["counts"]["webhook_log"] == 3
    assert manifest["counts"]["webhook_bodies"] == 3
    assert sum(manifest["key_ids"]["whatsapp_connections.token"].values()) == 1
    assert data_of(folder).read_bytes().startswith(b"age-encryption.org/v1\n")
    code, log = await run("restore-drill")
    assert code == 0, log
    await no_scratch_database_is_left(conn)
    runs = await conn.fetch("SELECT job, outcome::text FROM job_runs ORDER BY started_at")
    assert [tuple(row) for row in runs] == [
        ("backup", "succeeded"), ("restore-drill", "succeeded"),
    ]  # fmt: skip


async def test_the_standard_age_reads_it(folder: Path, run: Run, tmp_path: Path) -> None:
    assert (await run("backup"))[0] == 0
    key = tmp_path / "key.txt"
    key.write_text(str(IDENTITY))
    decrypted = subprocess.run(
        ["age", "--decrypt", "-i", str(key), str(data_of(folder))], capture_output=True, check=True
    )
    assert decrypted.stdout.startswith(b"PGDMP")


@pytest.mark.parametrize(
    ("damage", "settings", "said"),
    [
        (lambda data: data[:-1], {}, "cannot be decrypted"),
        (lambda data: data[:300] + bytes([data[300] ^ 1]) + data[301:], {}, "cannot be decrypted"),
        (lambda data: data, {"BACKUP_IDENTITY": str(pyrage.x25519.Identity.generate())},
         "cannot be decrypted"),
        (lambda data: data, {"TOKEN_ENCRYPTION_KEY": OTHER_KEY},
         "no key at hand opens whatsapp_onboarding.sealed_tracking_code"),
    ],
    ids=["a byte missing", "a byte changed", "another identity", "the token key missing"],
)  # fmt: skip
async def test_what_cannot_be_used_fails_the_drill(
    conn: Conn, folder: Path, run: Run, damage: Callable[[bytes], bytes],
    settings: dict[str, str], said: str,
) -> None:  # fmt: skip
    assert (await run("backup"))[0] == 0
    data_of(folder).write_bytes(damage(data_of(folder).read_bytes()))
    code, log = await run("restore-drill", **settings)
    assert (code, said in log) == (1, True), log
    await no_scratch_database_is_left(conn)


async def test_another_backup_under_the_same_name_is_not_the_one_of_the_manifest(
    folder: Path, run: Run
) -> None:
    assert (await run("backup"))[0] == 0
    first = data_of(folder)
    again = folder.with_name("again")
    assert (await run("backup", BACKUP_STORE=str(again)))[0] == 0
    first.write_bytes(data_of(again).read_bytes())
    code, log = await run("restore-drill")
    assert (code, "not the one that its manifest describes" in log) == (1, True), log


async def test_the_newest_are_kept_and_what_a_killed_run_left_is_deleted(
    folder: Path, run: Run
) -> None:
    folder.mkdir()
    for day in range(1, 4):
        name = f"porteiro-2026010{day}T000000Z"
        for suffix in (".json", ".dump.age"):
            (folder / f"{name}{suffix}").write_text("{}")
    assert (await run("backup", CRASH_AT="backup.written"))[0] == -9
    assert len(list(folder.glob("*.json"))) == 3  # the one that was not finished is none
    assert len(list(folder.glob("*.dump.age"))) == 4
    assert (await run("backup", BACKUP_KEEP="2"))[0] == 0
    names = sorted(path.name for path in folder.iterdir())
    assert len(names) == 4
    assert names[0].startswith("porteiro-20260103")


async def test_without_a_backup_or_with_wrong_settings_it_says_so(folder: Path, run: Run) -> None:
    code, log = await run("restore-drill")
    assert (code, "there is no backup" in log) == (1, True)
    for name in ("BACKUP_RECIPIENT", "BACKUP_STORE"):
        code, log = await run("backup", **{name: "nonsense"})
        assert (code, name in log, "nonsense" in log) == (EXIT_REFUSED, True, False)
    code, log = await run("backup", PATH="/nowhere")
    assert code == 1


async def test_a_folder_that_cannot_be_written_is_named(folder: Path, run: Run) -> None:
    folder.write_text("a file")
    code, log = await run("backup")
    assert (code, "the store of backups could not write" in log) == (1, True), log
