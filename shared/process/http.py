"""Serving an application over HTTP while a block runs."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

#: How long requests under way may take to finish after a stop signal.
FINISH_SECONDS = 10


@asynccontextmanager
async def serve(
    app: web.Application, *, host: str, port: int, auto_decompress: bool = True
) -> AsyncIterator[None]:
    """Listen while the block runs; then take no more, and finish what is under way."""
    runner = web.AppRunner(
        app,
        access_log=None,  # a line a webhook costs 44 % of the throughput; outcomes are metrics
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
