"""Start a Redis that a test may freeze and kill."""

import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from deploy.local.stack import servers
from deploy.local.stack.supervisor import Supervisor


@asynccontextmanager
async def own_redis(folder: Path) -> AsyncIterator[tuple[str, int]]:
    """Start a Redis for one test. Yield its URL and its pid."""
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
