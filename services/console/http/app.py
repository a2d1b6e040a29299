"""The console's HTTP application: endpoints and pages, API keys, limits and error responses."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import asyncpg
import structlog
from aiohttp import web

from services.console.connect.pages import ConnectPages
from services.console.http.addresses import ClientAddresses
from services.console.http.endpoints import (
    MAX_BODY_BYTES,
    Caller,
    Endpoint,
    Handler,
    Problem,
    problem_of,
    read_call,
)
from services.console.http.limits import (
    PER_ADDRESS,
    PER_ORGANIZATION,
    ConcurrencyLimit,
    SlidingWindow,
)
from services.console.http.metrics import ConsoleMetrics
from services.console.http.openapi import build_document
from shared.actions.errors import UseCaseError
from shared.store import api_keys
from shared.store.errors import is_infrastructure
from shared.store.pool import Pool, transaction

log = structlog.get_logger()

OPENAPI_PATH = "/api/v1/openapi.json"
STATIC = Path(__file__).parents[1] / "connect" / "static"
#: Retry-After while PostgreSQL is unreachable.
RETRY_AFTER_SECONDS = 5.0


class EndpointServer:
    """Serve endpoints. Check the limit of the address, then the key, the other limits and the
    request itself."""

    def __init__(self, pool: Pool, addresses: ClientAddresses, metrics: ConsoleMetrics) -> None:
        self._pool = pool
        self._address_of = addresses.of
        self._metrics = metrics
        self._address_window = SlidingWindow(PER_ADDRESS)
        self._organization_window = SlidingWindow(PER_ORGANIZATION)
        self._concurrency = ConcurrencyLimit()

    def handler(self, endpoint: Endpoint) -> Handler:
        """Return the request handler of an endpoint."""

        async def handle(request: web.Request) -> web.StreamResponse:
            caller = await self._authenticate(request, needs_key=endpoint.needs_key)
            name = str(caller.key_id) if caller else self._address_of(request)
            with self._concurrency.admit(name) as is_allowed:
                if not is_allowed:
                    raise self._limit_problem("concurrent", 1.0)
                self._count_for_organization(caller)
                call = await read_call(endpoint, request, caller)
                status, answer = await endpoint.handle(call)
            return web.Response(
                status=status,
                body=answer.model_dump_json(),
                content_type="application/json",
            )

        return handle

    def page_handler(self, show: Handler) -> Handler:
        """Return the request handler of a page. A browser has no key, so its address counts."""

        async def handle(request: web.Request) -> web.StreamResponse:
            with self._concurrency.admit(self._address_of(request)) as is_allowed:
                if not is_allowed:
                    raise self._limit_problem("concurrent", 1.0)
                return await show(request)

        return handle

    @web.middleware
    async def guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Apply the limit of the address, turn errors into responses, and set the common headers.

        Every error is JSON with a code and reveals nothing internal.
        """
        try:
            wait_seconds = self._address_window.seconds_left(self._address_of(request), _now())
            if wait_seconds:
                raise self._limit_problem("address", wait_seconds)
            response = await handler(request)
        except UseCaseError as error:
            response = problem_of(error).response()
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
            response = self._error_response(error)
        self._metrics.requests.labels(f"{response.status // 100}xx").inc()
        response.headers.setdefault("Cache-Control", "no-store")
        # Browsers obey it over HTTPS alone (RFC 6797, 8.1).
        response.headers["Strict-Transport-Security"] = "max-age=31536000"
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Referrer-Policy"] = "no-referrer"
        return response

    async def _authenticate(self, request: web.Request, *, needs_key: bool) -> Caller | None:
        """Return the caller, or None if there is no key and none is needed. Raises Problem."""
        scheme, _, key = request.headers.get("Authorization", "").partition(" ")
        if not key and not needs_key:
            return None
        api_key = None
        if scheme.lower() == "bearer" and key.startswith(api_keys.PREFIX) and key.isascii():
            async with transaction(self._pool) as conn:
                api_key = await api_keys.use(conn, key)
        if api_key is None:
            raise Problem(401, "key_needed", "Send an API key that works as Bearer token.")
        return Caller(api_key.id, api_key.name, api_key.organization_id)

    def _count_for_organization(self, caller: Caller | None) -> None:
        """Count a request of an organization. Raises Problem beyond PER_ORGANIZATION."""
        if caller is not None and caller.organization_id is not None:
            wait_seconds = self._organization_window.seconds_left(caller.organization_id, _now())
            if wait_seconds:
                raise self._limit_problem("organization", wait_seconds)

    def _limit_problem(self, limit: str, seconds: float) -> Problem:
        self._metrics.limited.labels(limit).inc()
        return Problem(429, "too_many", "Too many requests.", retry_after=seconds)

    def _error_response(self, error: Exception) -> web.Response:
        if is_infrastructure(error) or isinstance(error, asyncpg.PostgresConnectionError):
            log.warning("request.database_unavailable", exc_info=error)
            return Problem(
                503, "unavailable", "Try again soon.", retry_after=RETRY_AFTER_SECONDS
            ).response()
        log.error("request.failed", exc_info=error)
        return web.json_response(
            {"code": "failed", "message": "This is our fault, and logged."}, status=500
        )


def create_app(
    endpoints: Sequence[Endpoint], pages: ConnectPages, server: EndpointServer
) -> web.Application:
    app = web.Application(client_max_size=MAX_BODY_BYTES, middlewares=[server.guard])
    for endpoint in endpoints:
        app.router.add_route(endpoint.method, endpoint.path, server.handler(endpoint))
    openapi_document = build_document(endpoints)

    async def openapi(_: web.Request) -> web.Response:
        return web.json_response(openapi_document)

    app.router.add_get(OPENAPI_PATH, openapi, allow_head=False)
    for method, path, show in pages.routes():
        app.router.add_route(method, path, server.page_handler(show))
    app.router.add_static("/static/", STATIC)
    return app


def _now() -> float:
    return asyncio.get_running_loop().time()
