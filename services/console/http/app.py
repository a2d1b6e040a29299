"""The console's HTTP application: endpoints and pages, API keys, limits and error responses."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import structlog
from aiohttp import web
from structlog.contextvars import bound_contextvars

from services.console.connect.pages import ConnectPages
from services.console.http.concurrency import ConcurrencyLimit
from services.console.http.endpoints import (
    MAX_BODY_BYTES,
    ApiCall,
    Caller,
    Endpoint,
    Handler,
    read_call,
)
from services.console.http.metrics import ConsoleMetrics
from services.console.http.openapi import build_document
from services.console.http.problems import Problem, limit_problem, problem_of
from services.console.http.request_ids import HEADER, request_id_of
from shared.addresses import ClientAddresses
from shared.limits import Limit, Limiter
from shared.store import api_keys
from shared.store.pool import Pool, transaction

log = structlog.get_logger()

OPENAPI_PATH = "/api/v1/openapi.json"
STATIC = Path(__file__).parents[1] / "connect" / "static"
#: Handles that look for keys: whoever sends wrong ones leaves the others to those with a right one.
MAX_AUTHENTICATING = 3
#: Where a request keeps the id of the key it came with, once that works.
_KEY_ID = web.RequestKey("key_id", str)


class EndpointServer:
    """Serve endpoints. Check the limit of the address, then the key, the request itself and the
    limit of whom it is about."""

    def __init__(
        self,
        pool: Pool,
        addresses: ClientAddresses,
        limiter: Limiter,
        metrics: ConsoleMetrics,
        *,
        per_address: int,
        per_organization: int,
    ) -> None:
        self._pool = pool
        self._address_of = addresses.of
        self._limiter = limiter
        self._metrics = metrics
        self._per_address = Limit("address", per_address)
        self._per_organization = Limit("organization", per_organization)
        #: Of the company's key, for requests that name no organization.
        self._per_key = Limit("key", per_address)
        self._concurrency = ConcurrencyLimit()
        self._authenticating = asyncio.Semaphore(MAX_AUTHENTICATING)

    def handler(self, endpoint: Endpoint) -> Handler:
        """Return the request handler of an endpoint."""

        async def handle(request: web.Request) -> web.StreamResponse:
            caller = await self._authenticate(request, endpoint)
            name = str(caller.key_id) if caller else self._address_of(request)
            with self._concurrency.admit(name) as is_allowed:
                if not is_allowed:
                    raise self._too_many_at_once()
                call = await read_call(endpoint, request, caller)
                await self._count(call)
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
                    raise self._too_many_at_once()
                return await show(request)

        return handle

    @web.middleware
    async def guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Apply the limit of the address, turn errors into responses, and set the common headers.

        Every error is a problem with a code and reveals nothing internal. What is logged meanwhile
        has the id of the request.
        """
        request_id = request_id_of(request)
        with bound_contextvars(request_id=request_id):
            try:
                response = await self._answer(request, handler)
            except Exception as error:
                response = self._note(request, error).response(request_id)
        self._metrics.requests.labels(f"{response.status // 100}xx").inc()
        response.headers[HEADER] = request_id
        response.headers.setdefault("Cache-Control", "no-store")
        # Browsers obey it over HTTPS alone (RFC 6797, 8.1).
        response.headers["Strict-Transport-Security"] = "max-age=31536000"
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Referrer-Policy"] = "no-referrer"
        return response

    async def _answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        over = await self._limiter.count(self._per_address, self._address_of(request))
        if over is not None:
            raise limit_problem(over)
        try:
            return await handler(request)
        except web.HTTPRedirection as redirection:
            location = redirection.headers["Location"]
            return web.Response(status=redirection.status, headers={"Location": location})

    def _note(self, request: web.Request, error: Exception) -> Problem:
        """Return the error's problem. Log it if it is our fault, or if a key was refused, or what
        it may do."""
        problem = problem_of(error)
        if problem.status in (401, 403):
            self._metrics.refused.labels(problem.code).inc()
            log.warning(
                "request.refused",
                reason=problem.code,
                key_id=request.get(_KEY_ID),
                address=self._address_of(request),
            )
        elif problem.status == 503:
            log.warning("request.database_unavailable", exc_info=error)
        elif problem.status == 500:
            log.error("request.failed", exc_info=error)
        return problem

    async def _authenticate(self, request: web.Request, endpoint: Endpoint) -> Caller | None:
        """Return the caller, or None if there is no key and none is needed. Raises Problem."""
        scheme, _, key = request.headers.get("Authorization", "").partition(" ")
        if not key and not endpoint.needs_key:
            return None
        api_key = None
        if scheme.lower() == "bearer" and key.startswith(api_keys.PREFIX) and key.isascii():
            async with self._authenticating, transaction(self._pool) as conn:
                api_key = await api_keys.use(conn, key)
        if api_key is None:
            raise Problem(401, "key_needed", "Send an API key that works as Bearer token.")
        request[_KEY_ID] = str(api_key.id)
        if endpoint.right not in api_key.rights:
            raise Problem(403, "right_missing", f"This key lacks the right `{endpoint.right}`.")
        return Caller(api_key.id, api_key.name, api_key.organization_id)

    async def _count(self, call: ApiCall) -> None:
        """Count a request with a key. Raises Problem if it is over its limit."""
        if call.caller is None:
            return
        if (organization_id := call.organization_id) is not None:
            over = await self._limiter.count(self._per_organization, organization_id)
        else:
            over = await self._limiter.count(self._per_key, str(call.caller.key_id))
        if over is not None:
            raise limit_problem(over)

    def _too_many_at_once(self) -> Problem:
        self._metrics.concurrent.inc()
        return Problem(429, "too_many", "Too many requests at once.", headers={"Retry-After": "1"})


def create_app(
    endpoints: Sequence[Endpoint], pages: ConnectPages, server: EndpointServer
) -> web.Application:
    app = web.Application(
        client_max_size=MAX_BODY_BYTES, middlewares=[pages.in_words, server.guard]
    )
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
