"""`make rehearse`: lose the database, restore it, and roll a migration back and forth.

On the local stack, with what the demo has left in it.
"""

import asyncio
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pyrage

from deploy.local.stack.stack import ENV_FILE
from shared.store import contents
from shared.store.pool import REQUIRED_REVISION


def rehearse(stack: Mapping[str, str]) -> bool:
    """Return whether every step came true. Print each."""
    url = stack["database"]
    with tempfile.TemporaryDirectory(prefix="porteiro-backups-") as folder:
        identity = pyrage.x25519.Identity.generate()
        words = shlex.split(ENV_FILE.read_text(), comments=True)
        environment = os.environ | dict(word.split("=", 1) for word in words if "=" in word)
        environment |= {
            "BACKUP_STORE": folder,
            "BACKUP_RECIPIENT": str(identity.to_public()),
            "BACKUP_IDENTITY": str(identity),
            "DRILL_DATABASE_URL": url,
        }
        before = f"{int(REQUIRED_REVISION) - 1:04}"
        steps = (
            ("backup", ("backup",)),
            ("restore drill", ("restore-drill",)),
            ("restore into an empty database", ("backups", "restore")),
            (f"migrate down to {before}", ("migrate", "--to", before, "--yes")),
            (f"migrate up to {REQUIRED_REVISION}", ("migrate",)),
        )
        counted: dict[str, int] = {}
        left: list[str] = []
        for name, command in steps:
            if command == ("backups", "restore"):
                counted = asyncio.run(_count(url))
                asyncio.run(_recreate(url))
                print("  database dropped and created empty")
            if not _run(name, Path(folder), environment, *command):
                return False
            if "--to" in command:
                left = list(asyncio.run(_count(url)))
        found = asyncio.run(_count(url))
        # Going down drops tables. The backup's own run is recorded after its snapshot.
        compared = [table for table in left if table != "job_runs"]
        wrong = [table for table in compared if counted[table] != found[table]]
        print(f"  rows of {len(compared)} tables compared: {', '.join(wrong) or 'all equal'}")
        return not wrong


def _run(name: str, folder: Path, environment: Mapping[str, str], *command: str) -> bool:
    done = subprocess.run(
        [sys.executable, "-m", "services.scheduler", *command],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    megabytes = sum(path.stat().st_size for path in folder.iterdir()) / 1e6
    print(f"  {name}: {'done' if done.returncode == 0 else done.stdout[-2000:]}")
    if name == "backup":
        print(f"  {megabytes:.1f} MB, encrypted")
    return done.returncode == 0


async def _count(url: str) -> dict[str, int]:
    conn = await asyncpg.connect(url)
    try:
        return await contents.count_rows(conn)
    finally:
        await conn.close()


async def _recreate(url: str) -> None:
    """Lose the database: drop it under the running services, and create it empty."""
    parts = urlsplit(url)
    name = parts.path.lstrip("/")
    conn = await asyncpg.connect(urlunsplit(parts._replace(path="/postgres")))
    try:
        await conn.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
        await conn.execute(f'CREATE DATABASE "{name}" TEMPLATE template0')
    finally:
        await conn.close()
