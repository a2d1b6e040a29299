"""A stack of `deploy.local` in a folder of its own, as its user sees it."""

import asyncio
import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import psutil

from deploy.local.stack.stack import SERVER_URLS
from deploy.local.stack.supervisor import MARK

REPOSITORY = Path(__file__).parents[2]
#: Far past what any of its commands takes.
COMMAND_SECONDS = 90


class LocalStack:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.file = folder / ".local" / "stack.json"

    @property
    def facts(self) -> dict[str, Any]:
        facts: dict[str, Any] = json.loads(self.file.read_text())
        return facts

    async def run(self, command: str) -> None:
        """`python -m deploy.local COMMAND`, with private servers whatever the shell says."""
        given = {name: value for name, value in os.environ.items() if name not in SERVER_URLS}
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "deploy.local", command),
            cwd=self._folder,
            env=given | {"PYTHONPATH": str(REPOSITORY)},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await asyncio.wait_for(process.communicate(), COMMAND_SECONDS)
        assert process.returncode == 0, output.decode()

    def supervisor(self) -> psutil.Process:
        [found] = [p for p in self._marked() if p.cmdline()[-2:] == ["deploy.local", "serve"]]
        return found

    def processes(self) -> set[psutil.Process]:
        """Everything that bears the stack's mark, and its children (PostgreSQL's bear none)."""
        marked = self._marked()
        return {*marked, *(child for p in marked for child in p.children(recursive=True))}

    def _marked(self) -> list[psutil.Process]:
        return [p for p in psutil.process_iter() if self._has_mark(p)]

    def _has_mark(self, process: psutil.Process) -> bool:
        try:
            return process.environ().get(MARK) == str(self.file.parent)
        except (psutil.Error, OSError):
            return False


def is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def listening(processes: Iterable[psutil.Process] | None = None) -> set[tuple[str, int]]:
    """Addresses and ports that these processes, or any at all, listen on."""
    connections = psutil.net_connections("tcp")
    pids = {c.pid for c in connections} if processes is None else {p.pid for p in processes}
    return {
        (c.laddr.ip, c.laddr.port)
        for c in connections
        if c.laddr and c.status == psutil.CONN_LISTEN and c.pid in pids
    }
