"""Run the real services in processes of their own, so that tests can kill and freeze them."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import psutil

from deploy.local.stack.servers import free_port
from tests.support import servers
from tests.support.environment import APP_SECRET, BODY_KEY, VERIFY_TOKEN
from tests.support.waiting import eventually

PASSWORD = "hidden-7c1d93e0"  # pragma: allowlist secret


def passwords() -> list[str]:
    """Return the passwords of the test servers."""
    urls = (servers.POSTGRESQL, servers.REDIS, servers.RABBITMQ)
    return [str(urlsplit(os.environ[url]).password) for url in urls]


async def start(module: str, *arguments: str, env: Mapping[str, str]) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, *arguments,
        env={"PATH": os.environ["PATH"], "PYTHONWARNINGS": "ignore", **env},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip


async def wait_for_exit(process: asyncio.subprocess.Process) -> tuple[int, list[dict[str, Any]]]:
    """Return the exit code and the log. Assert that the log is JSON lines without a secret."""
    output, _ = await asyncio.wait_for(process.communicate(), 60)
    for secret in (APP_SECRET, VERIFY_TOKEN, BODY_KEY, PASSWORD, *passwords()):
        assert secret.encode() not in output
    assert process.returncode is not None
    return process.returncode, [json.loads(line) for line in output.splitlines()]


@asynccontextmanager
async def process(
    module: str, environment: Mapping[str, str], **settings: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run `python -m MODULE`. Kill it at the end of the block if it still runs."""
    started = await start(module, env={**environment, "HEALTH_PORT": str(free_port()), **settings})
    assert started.stdout is not None
    reading = asyncio.ensure_future(started.stdout.read())  # a full pipe would block the process
    try:
        yield started
    finally:
        with suppress(ProcessLookupError):
            started.kill()
        await asyncio.wait_for(started.wait(), 10)
        await reading


@asynccontextmanager
async def service(
    name: str, environment: Mapping[str, str], **settings: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run `services.NAME` and wait until it is ready. Kill it at the end of the block."""
    port = str(free_port())
    health = f"http://{environment['HOST']}:{port}"
    async with process(f"services.{name}", environment, HEALTH_PORT=port, **settings) as started:
        await eventually(lambda: _is_ready(started, health))
        yield started


async def _is_ready(process: asyncio.subprocess.Process, health: str) -> bool:
    assert process.returncode is None, "the process ended before it was ready"
    try:
        async with aiohttp.request("GET", f"{health}/readyz") as answer:
            return answer.status == 200
    except aiohttp.ClientError:
        return False


async def until_frozen(process: asyncio.subprocess.Process) -> None:
    async def is_frozen() -> bool:
        return psutil.Process(process.pid).status() == psutil.STATUS_STOPPED

    await eventually(is_frozen)


async def until_killed(process: asyncio.subprocess.Process) -> None:
    """Wait until the process has killed itself with SIGKILL. Any other exit fails the test."""
    assert await asyncio.wait_for(process.wait(), 30) == -signal.SIGKILL
