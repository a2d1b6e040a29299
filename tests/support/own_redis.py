"""A Redis that a test may freeze and kill."""

import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from deploy.local.stack import servers
from deploy.local.stack.supervisor import Supervisor


@asynccontextmanager
async def own_redis(folder: Path) -> AsyncIterator[tuple[str, int]]:
    """The URL and pid of a Redis of this test's own, to be frozen and killed."""
    pids: dict[str, int] = {}
    supervisor = Supervisor(str(folder), folder, pids.update)
    program = servers.redis(folder)
    supervisor.start(program)
    try:
        yield program.url, pids["redis"]
    finally:
        with suppress(ProcessLookupError):
            os.kill(pids["redis"], signal.SIGCONT)
        supervisor.stop()
