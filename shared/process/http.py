"""Serve an application over HTTP while a block runs."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web, web_response

#: The header `Server` of every answer, of the errors that aiohttp itself answers too: its own words
#: name the versions of Python and aiohttp.
SERVER = "porteiro"
#: How long requests in progress may take to finish after the stop signal.
FINISH_SECONDS = 10


@asynccontextmanager
async def serve(
    app: web.Application, *, host: str, port: int, auto_decompress: bool = True
) -> AsyncIterator[None]:
    """Serve while the block runs. Then accept no new request and finish those in progress."""
    web_response.SERVER_SOFTWARE = SERVER  # type: ignore[attr-defined]
    runner = web.AppRunner(
        app,
        access_log=None,  # a line per webhook costs 44 % of the throughput; metrics count outcomes
        keepalive_timeout=75,
        shutdown_timeout=FINISH_SECONDS,
        auto_decompress=auto_decompress,
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port, backlog=1024).start()
        yield
    finally:
        await runner.cleanup()
