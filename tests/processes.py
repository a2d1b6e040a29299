"""The real services as processes of their own: to be refused, killed and frozen."""

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

from deploy.local.servers import free_port
from tests import servers
from tests.environment import APP_SECRET, BODY_KEY, VERIFY_TOKEN
from tests.waiting import eventually

PASSWORD = "hidden-7c1d93e0"  # pragma: allowlist secret


def passwords() -> list[str]:
    """Those of the servers the tests run on."""
    urls = (servers.POSTGRESQL, servers.REDIS, servers.RABBITMQ)
    return [str(urlsplit(os.environ[url]).password) for url in urls]


async def start(module: str, *arguments: str, env: Mapping[str, str]) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, *arguments,
        env={"PATH": os.environ["PATH"], "PYTHONWARNINGS": "ignore", **env},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip


async def ended(process: asyncio.subprocess.Process) -> tuple[int, list[dict[str, Any]]]:
    """Its exit code and its log; no line of it is anything but JSON."""
    output, _ = await asyncio.wait_for(process.communicate(), 60)
    for secret in (APP_SECRET, VERIFY_TOKEN, BODY_KEY, PASSWORD, *passwords()):
        assert secret.encode() not in output
    assert process.returncode is not None
    return process.returncode, [json.loads(line) for line in output.splitlines()]


@asynccontextmanager
async def service(
    name: str, environment: Mapping[str, str], **settings: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    """`services.NAME`, ready for work; killed at the end of the block if it still lives."""
    own = {**environment, "HEALTH_PORT": str(free_port()), **settings}
    process = await start(f"services.{name}", env=own)
    assert process.stdout is not None
    reading = asyncio.ensure_future(process.stdout.read())  # else a full pipe would stop it
    try:
        await eventually(
            lambda: _is_ready(process, f"http://{environment['HOST']}:{own['HEALTH_PORT']}")
        )
        yield process
    finally:
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGKILL)
        await asyncio.wait_for(process.wait(), 10)
        await reading


async def _is_ready(process: asyncio.subprocess.Process, health: str) -> bool:
    assert process.returncode is None
    try:
        async with aiohttp.request("GET", f"{health}/readyz") as answer:
            return answer.status == 200
    except aiohttp.ClientError:
        return False


async def until_frozen(process: asyncio.subprocess.Process) -> None:
    async def frozen() -> bool:
        return psutil.Process(process.pid).status() == psutil.STATUS_STOPPED

    await eventually(frozen)
