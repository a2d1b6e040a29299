"""Serve an application over HTTP while a block runs."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from aiohttp import web, web_response
from aiohttp.http_exceptions import HttpProcessingError
from prometheus_client import CollectorRegistry, Counter

#: The header `Server` of every answer, of the errors that aiohttp itself answers too: its own words
#: name the versions of Python and aiohttp.
SERVER = "porteiro"
#: How long requests in progress may take to finish after the stop signal.
FINISH_SECONDS = 10
#: How long the head of a connection's first request may take. For those that follow, the time of an
#: idle connection counts.
HEAD_SECONDS = 5.0
#: How long what still comes of a refused request is read before its connection is closed.
LINGER_SECONDS = 1.0
#: Longer than a proxy keeps an idle connection: else it may send a request into a closed one.
IDLE_SECONDS = 75.0


async def _close_late_heads(runner: web.AppRunner) -> None:
    """Close connections that are open for HEAD_SECONDS without a request. Run for ever.

    aiohttp closes them only when they are as old as an idle connection may be.
    """
    since: dict[Any, float] = {}
    while True:
        await asyncio.sleep(1)
        now = asyncio.get_running_loop().time()
        connections = runner.server.connections if runner.server else []
        since = {c: since.get(c, now) for c in connections if not _has_requested(c)}
        for connection, seen_at in since.items():
            if now - seen_at >= HEAD_SECONDS:
                connection.force_close()


def _has_requested(connection: Any) -> bool:
    """aiohttp counts the requests of a connection, and has no other name for the count."""
    return bool(connection._request_count)


class MalformedRequests(logging.Filter):
    """Count requests that are no HTTP, instead of a traceback for each: strangers send them."""

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__()
        self._count = Counter(
            "porteiro_requests_malformed", "Requests that are no valid HTTP", registry=registry
        )

    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info and isinstance(record.exc_info[1], HttpProcessingError):
            self._count.inc()
            return False
        return True


@asynccontextmanager
async def serve(
    app: web.Application,
    registry: CollectorRegistry,
    *,
    host: str,
    port: int,
    auto_decompress: bool = True,
) -> AsyncIterator[None]:
    """Serve while the block runs. Then accept no new request and finish those in progress."""
    web_response.SERVER_SOFTWARE = SERVER  # type: ignore[attr-defined]
    runner = web.AppRunner(
        app,
        access_log=None,  # a line per webhook costs 44 % of the throughput; metrics count outcomes
        keepalive_timeout=IDLE_SECONDS,
        lingering_time=LINGER_SECONDS,
        shutdown_timeout=FINISH_SECONDS,
        auto_decompress=auto_decompress,
    )
    await runner.setup()
    closing = asyncio.create_task(_close_late_heads(runner))
    malformed = MalformedRequests(registry)
    server_log = logging.getLogger("aiohttp.server")
    server_log.addFilter(malformed)
    try:
        await web.TCPSite(runner, host, port, backlog=1024).start()
        yield
    finally:
        closing.cancel()
        with suppress(asyncio.CancelledError):
            await closing
        await runner.cleanup()
        server_log.removeFilter(malformed)
