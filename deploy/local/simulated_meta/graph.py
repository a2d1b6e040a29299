"""Serve the Graph API: read a request, answer it (or with a fault), add it to the call log."""

import asyncio
from collections.abc import Awaitable
from functools import partial
from typing import Any

from aiohttp import web

from deploy.local.simulated_meta.access import GraphRequest
from deploy.local.simulated_meta.calls import CALLS, Call, meant
from deploy.local.simulated_meta.errors import GraphError
from deploy.local.simulated_meta.faults import Fault, Faults
from deploy.local.simulated_meta.ledger import CallLog
from deploy.local.simulated_meta.usage import Usage
from deploy.local.simulated_meta.world import World

#: Path prefixes: no version, or any version.
VERSIONS = ("", r"/{version:v[0-9]+\.[0-9]+}")


class Graph:
    def __init__(self, world: World, faults: Faults, call_log: CallLog) -> None:
        self._world = world
        self._faults = faults
        self._call_log = call_log
        self.usage = Usage(world)

    def add_routes(self, router: web.UrlDispatcher) -> None:
        for version in VERSIONS:
            for call in CALLS:
                # As at Meta, a path may end with a slash.
                path = version + call.path + "{_:/?}"
                router.add_route(call.method, path, partial(self._handle, call))
        router.add_route("*", VERSIONS[1] + "/{rest:.*}", self._unknown)

    async def _handle(self, call: Call, request: web.Request) -> web.Response:
        graph_request = await _read_request(request)
        call = meant(self._world, call, graph_request)
        subject = _subject(self._world, call, graph_request)
        entry = self._call_log.begin(call.name, subject, self._world.now())
        over_limit = self.usage.count(call.name, graph_request)
        fault = self._faults.take(call.name, subject)
        response, code = await self._answer(call, graph_request, fault, over_limit)
        response.headers.update(self.usage.headers(graph_request.object_id))
        if fault is not None:
            response.headers.update(fault.headers)
            await asyncio.sleep(fault.seconds)
            if fault.drop:
                entry.status = 0
                if request.transport is not None:
                    request.transport.abort()
                return response
        entry.status, entry.code = response.status, code
        return response

    async def _answer(
        self,
        call: Call,
        graph_request: GraphRequest,
        fault: Fault | None,
        over_limit: GraphError | None,
    ) -> tuple[web.Response, int | None]:
        try:
            if fault is not None and fault.body is not None:
                return web.Response(text=fault.body, status=fault.status), None
            if fault is not None and fault.code is not None:
                raise GraphError(
                    fault.code,
                    f"(#{fault.code}) A simulated fault",
                    subcode=fault.subcode,
                    status=fault.status,
                    is_transient=fault.is_transient,
                )
            if over_limit is not None:
                raise over_limit
            answer = call.run(self._world, graph_request)
            if isinstance(answer, Awaitable):
                answer = await answer
            return web.json_response(answer), None
        except GraphError as error:
            return web.json_response(error.body(), status=error.status), error.code

    async def _unknown(self, request: web.Request) -> web.Response:
        path = f"/{request.match_info['rest']}"
        error = GraphError(2500, f"Unknown path components: {path}")
        entry = self._call_log.begin("unknown", path, self._world.now())
        entry.status, entry.code = error.status, error.code
        headers = self.usage.headers("")
        return web.json_response(error.body(), status=error.status, headers=headers)


def _subject(world: World, call: Call, graph_request: GraphRequest) -> str:
    """Return what the call log shows as the subject: the object of the request.

    For a token or a code, which are secret, return its WABA, or an empty text if it is unknown.
    """
    match call.name:
        case "sync":
            return f"{graph_request.object_id}:{graph_request.text('sync_type')}"
        case "exchange_code":
            code = world.codes.get(graph_request.text("code"))
            return code.grant.waba_id if code else ""
        case "debug_token" | "read_me":
            value = (
                graph_request.text("input_token")
                if call.name == "debug_token"
                else graph_request.bearer
            )
            token = world.tokens.get(value)
            return token.grant.waba_id if token else ""
        case _:
            return graph_request.object_id


async def _read_request(request: web.Request) -> GraphRequest:
    params: dict[str, Any] = {**request.query, **await _body(request)}
    scheme, _, value = request.headers.get("Authorization", "").partition(" ")
    header = value.strip() if scheme.lower() == "bearer" else ""
    # A client that sends both means the parameter: pywa asks so with its app's token.
    bearer = str(params.get("access_token") or header)
    object_id = request.match_info.get("object_id", "")
    url = str(request.url.with_query(None))
    return GraphRequest(request.method, url, object_id, params, bearer)


async def _body(request: web.Request) -> dict[str, Any]:
    """Return the parameters of a form or of JSON.

    Any other body has no parameters; the call then answers which one is missing.
    """
    if request.content_type != "application/json":
        return dict(await request.post())
    try:
        body = await request.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}
