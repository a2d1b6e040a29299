"""Run a stack of `deploy.local` in a folder of its own, as a developer does."""

import asyncio
import json
import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from deploy.local.stack.stack import SERVER_URLS
from deploy.local.stack.supervisor import MARK

REPOSITORY = Path(__file__).parents[2]
#: Much more than any of its commands needs.
COMMAND_SECONDS = 90


class LocalStack:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.file = folder / ".local" / "stack.json"

    @property
    def details(self) -> dict[str, Any]:
        """The content of stack.json."""
        details: dict[str, Any] = json.loads(self.file.read_text())
        return details

    async def run(self, command: str) -> str:
        """Run `python -m deploy.local COMMAND`, and return what it says. Ignore server URLs that
        the shell has set."""
        inherited = {name: value for name, value in os.environ.items() if name not in SERVER_URLS}
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "deploy.local", command),
            cwd=self._folder,
            env=inherited | {"PYTHONPATH": str(REPOSITORY)},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await asyncio.wait_for(process.communicate(), COMMAND_SECONDS)
        assert process.returncode == 0, output.decode()
        return output.decode()

    def supervisor(self) -> psutil.Process:
        [process] = [p for p in self._marked() if _command(p)[-2:] == ["deploy.local", "serve"]]
        return process

    def processes(self) -> set[psutil.Process]:
        """Return all processes with the stack's mark, and their children.

        PostgreSQL's child processes have no mark of their own.
        """
        found = set(self._marked())
        for process in list(found):
            with suppress(psutil.NoSuchProcess):  # a scheduled job may just have ended
                found.update(process.children(recursive=True))
        return found

    def _marked(self) -> list[psutil.Process]:
        return [p for p in psutil.process_iter() if self._has_mark(p)]

    def _has_mark(self, process: psutil.Process) -> bool:
        try:
            return process.environ().get(MARK) == str(self.file.parent)
        except (psutil.Error, OSError):
            return False


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:  # a scheduled job may just have ended
        return []


def is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def listening_addresses(processes: Iterable[psutil.Process] | None = None) -> set[tuple[str, int]]:
    """Return the addresses and ports that these processes (None: all) listen on."""
    sockets = psutil.net_connections("tcp")
    pids = {socket.pid for socket in sockets} if processes is None else {p.pid for p in processes}
    return {
        (socket.laddr.ip, socket.laddr.port)
        for socket in sockets
        if socket.laddr and socket.status == psutil.CONN_LISTEN and socket.pid in pids
    }
