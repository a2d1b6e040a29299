"""Run the real services, composed by their own `__main__`, in the test's event loop."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import aiohttp
from pytest import MonkeyPatch
from yarl import URL

from deploy.local.stack.servers import free_port
from services.console.__main__ import main as console_main
from services.ingress.__main__ import main as ingress_main
from services.processor.__main__ import main as processor_main
from services.token_health.__main__ import main as token_health_main
from shared.process.lifecycle import Stop
from tests.support.waiting import eventually


@asynccontextmanager
async def _service(main: Callable[[Stop], Awaitable[None]], health: str) -> AsyncIterator[None]:
    stop = Stop()
    task = asyncio.ensure_future(main(stop))

    async def is_ready() -> bool:
        if task.done():
            task.result()
        try:
            async with session.get(f"{health}/readyz") as response:
                return response.status == 200
        except aiohttp.ClientError:
            return False

    async with aiohttp.ClientSession() as session:
        await eventually(is_ready)
    try:
        yield
    finally:
        stop.set()
        await asyncio.wait_for(task, 20)


@asynccontextmanager
async def ingress(environment: dict[str, str]) -> AsyncIterator[aiohttp.ClientSession]:
    """Run the ingress. Yield a client of it."""
    health = f"http://{environment['HOST']}:{environment['HEALTH_PORT']}"
    base = f"http://{environment['HOST']}:{environment['PORT']}"
    async with _service(ingress_main, health), aiohttp.ClientSession(base) as client:
        yield client


@asynccontextmanager
async def processor(environment: dict[str, str]) -> AsyncIterator[None]:
    """Run the processor on a free health port. The ingress uses the environment's."""
    async with _on_a_free_port(processor_main, environment):
        yield


@asynccontextmanager
async def token_health(environment: dict[str, str]) -> AsyncIterator[str]:
    """Run token_health. Yield the URL of its health port."""
    async with _on_a_free_port(token_health_main, environment) as url:
        yield url


@asynccontextmanager
async def _on_a_free_port(
    main: Callable[[Stop], Awaitable[None]], environment: dict[str, str]
) -> AsyncIterator[str]:
    url = f"http://{environment['HOST']}:{free_port()}"
    with MonkeyPatch.context() as patch:
        patch.setenv("HEALTH_PORT", url.rpartition(":")[2])
        async with _service(main, url):
            yield url


@asynccontextmanager
async def console(environment: dict[str, str]) -> AsyncIterator[aiohttp.ClientSession]:
    """Run the console on ports of its own. Yield a client of it."""
    base, health_port = environment["CONSOLE_URL"], free_port()
    with MonkeyPatch.context() as patch:
        patch.setenv("PORT", str(URL(base).port))
        patch.setenv("HEALTH_PORT", str(health_port))
        health = f"http://{environment['HOST']}:{health_port}"
        async with _service(console_main, health), aiohttp.ClientSession(base) as client:
            yield client
