"""The console's HTTP: endpoints and pages behind keys and limits, and what each fault answers."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import asyncpg
import structlog
from aiohttp import web

from services.console.connect.pages import ConnectPages
from services.console.http.addresses import ClientAddresses
from services.console.http.endpoints import MAX_BODY_BYTES, Caller, Endpoint, Problem, read_call
from services.console.http.limits import (
    PER_ADDRESS,
    PER_ORGANIZATION,
    ConcurrencyLimit,
    SlidingWindow,
)
from services.console.http.metrics import ConsoleMetrics
from services.console.http.openapi import document
from shared.store import api_keys
from shared.store.errors import is_infrastructure
from shared.store.pool import Pool, transaction

log = structlog.get_logger()

PAGES = "/connect/"
OPENAPI_PATH = "/api/v1/openapi.json"
STATIC = Path(__file__).parents[1] / "connect" / "static"
#: How long a caller without a database should stay away.
RETRY_AFTER_SECONDS = 5.0

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class EndpointServer:
    """Serves endpoints: limits first, then the key, then the request's own checks."""

    def __init__(self, pool: Pool, addresses: ClientAddresses, metrics: ConsoleMetrics) -> None:
        self._pool = pool
        self._of = addresses.of
        self._metrics = metrics
        self._addresses = SlidingWindow(PER_ADDRESS)
        self._organizations = SlidingWindow(PER_ORGANIZATION)
        self._at_once = ConcurrencyLimit()

    def handler(self, endpoint: Endpoint) -> Handler:
        async def handle(request: web.Request) -> web.StreamResponse:
            caller = await self._caller(request, needs_key=endpoint.needs_key)
            who = str(caller.key_id) if caller else self._of(request)
            with self._at_once.room(who) as has_room:
                if not has_room:
                    raise self._limited("concurrent", 1.0)
                self._count(caller)
                call = await read_call(endpoint, request, caller)
                status, answer = await endpoint.handle(call)
            return web.Response(
                status=status, body=answer.model_dump_json(), content_type="application/json"
            )

        return handle

    @web.middleware
    async def guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Every answer is JSON with a code, and says nothing of what went on inside."""
        try:
            left = self._addresses.seconds_left(self._of(request), _now())
            if left:
                raise self._limited("address", left)
            if request.path.startswith(PAGES):  # whose browsers have no key to count by
                with self._at_once.room(self._of(request)) as has_room:
                    if not has_room:
                        raise self._limited("concurrent", 1.0)
                    response = await handler(request)
            else:
                response = await handler(request)
        except Problem as problem:
            response = problem.response()
        except web.HTTPRedirection as redirection:
            response = web.Response(
                status=redirection.status, headers={"Location": redirection.headers["Location"]}
            )
        except web.HTTPException as error:
            body = {"code": error.reason.lower().replace(" ", "_"), "message": error.reason}
            response = web.json_response(body, status=error.status)
            if "Allow" in error.headers:
                response.headers["Allow"] = error.headers["Allow"]
        except Exception as error:
            response = self._failed(error)
        self._metrics.requests.labels(f"{response.status // 100}xx").inc()
        response.headers.setdefault("Cache-Control", "no-store")
        response.headers["Server"] = "porteiro"
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Referrer-Policy"] = "no-referrer"
        return response

    async def _caller(self, request: web.Request, *, needs_key: bool) -> Caller | None:
        scheme, _, key = request.headers.get("Authorization", "").partition(" ")
        if not key and not needs_key:
            return None
        found = None
        if scheme.lower() == "bearer" and key.startswith(api_keys.PREFIX) and key.isascii():
            async with transaction(self._pool) as conn:
                found = await api_keys.find(conn, key)
        if found is None:
            raise Problem(401, "key_needed", "Send an API key that works as Bearer token.")
        return Caller(found.id, found.name, found.organization_id)

    def _count(self, caller: Caller | None) -> None:
        if caller is not None and caller.organization_id is not None:
            left = self._organizations.seconds_left(caller.organization_id, _now())
            if left:
                raise self._limited("organization", left)

    def _limited(self, limit: str, seconds: float) -> Problem:
        self._metrics.limited.labels(limit).inc()
        return Problem(429, "too_many", "Too many requests.", retry_after=seconds)

    def _failed(self, error: Exception) -> web.Response:
        if is_infrastructure(error) or isinstance(error, asyncpg.PostgresConnectionError):
            log.warning("request.interrupted", exc_info=error)
            return Problem(
                503, "unavailable", "Try again soon.", retry_after=RETRY_AFTER_SECONDS
            ).response()
        log.error("request.failed", exc_info=error)
        return web.json_response(
            {"code": "failed", "message": "This is our fault, and logged."}, status=500
        )


def create_app(
    endpoints: Sequence[Endpoint], pages: ConnectPages, serving: EndpointServer
) -> web.Application:
    app = web.Application(client_max_size=MAX_BODY_BYTES, middlewares=[serving.guard])
    for one in endpoints:
        app.router.add_route(one.method, one.path, serving.handler(one))
    described = document(endpoints)

    async def openapi(_: web.Request) -> web.Response:
        return web.json_response(described)

    app.router.add_get(OPENAPI_PATH, openapi, allow_head=False)
    pages.add_to(app)
    app.router.add_static("/static/", STATIC)
    return app


def _now() -> float:
    return asyncio.get_running_loop().time()
