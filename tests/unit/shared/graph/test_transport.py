"""Call Meta, here played by servers that misbehave."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import structlog
from aiohttp import web
from aiohttp.test_utils import TestServer
from prometheus_client import CollectorRegistry

from shared.domain.graph_errors import GraphError, MetaRefused, MetaThrottled, MetaUnavailable
from shared.graph import transport
from shared.graph.metrics import GraphMetrics
from shared.graph.transport import (
    MAX_ANSWER_BYTES,
    GraphCall,
    KeepFailure,
    Transport,
    open_session,
)

TOKEN = "EAAcanary"
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


async def keep_nothing(subject: str, phone_number_id: str, error: GraphError) -> None:
    pass


@asynccontextmanager
async def meta_answering(
    answer: Answer, keep_failure: KeepFailure = keep_nothing
) -> AsyncIterator[Transport]:
    app = web.Application()
    app.router.add_route("*", "/v25.0/{any:.*}", answer)
    async with TestServer(app) as server, open_session() as session:
        url = str(server.make_url("/v25.0"))
        metrics = GraphMetrics(CollectorRegistry())
        yield Transport(session, url, b"secret", metrics, keep_failure)


def of_waba(waba_id: str) -> GraphCall:
    return GraphCall("read_waba", waba_id, "GET", waba_id, TOKEN, limited_by=waba_id)


async def failure(answer: Answer) -> GraphError:
    async with meta_answering(answer) as graph:
        with pytest.raises(GraphError) as raised:
            await graph.call(GraphCall("read_waba", "71", "GET", "71", TOKEN), dict)
    assert TOKEN not in f"{raised.value} {raised.value!r} {raised.getrepr()}"
    return raised.value


async def test_a_redirect_is_not_followed() -> None:
    asked = []

    async def away(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response(status=302, headers={"Location": "/v25.0/elsewhere"})

    assert isinstance(await failure(away), MetaUnavailable)
    assert asked == ["/v25.0/71"]


async def test_an_endless_answer_is_given_up() -> None:
    async def flood(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(2 * MAX_ANSWER_BYTES // 65_536):
            await response.write(b"x" * 65_536)
        return response

    assert isinstance(await failure(flood), MetaUnavailable)


async def test_a_server_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "CALL_SECONDS", 0.1)

    async def silent(_: web.Request) -> web.Response:
        await asyncio.sleep(3)
        return web.Response()

    assert isinstance(await failure(silent), MetaUnavailable)


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"null", b'{"error": 1}', b"\xff"])
async def test_a_body_that_is_no_answer_is_an_error_to_retry(body: bytes) -> None:
    async def malformed(_: web.Request) -> web.Response:
        return web.Response(body=body)

    assert isinstance(await failure(malformed), MetaUnavailable)


async def test_after_a_limit_further_calls_are_not_sent() -> None:
    asked = []

    async def limited(request: web.Request) -> web.Response:
        asked.append(request.path)
        error = {"error": {"code": 80008, "message": "limit"}}
        return web.json_response(error, status=400)

    async with meta_answering(limited) as graph:
        for _ in range(3):
            with pytest.raises(MetaThrottled):
                await graph.call(
                    GraphCall("read_waba", "71", "GET", "71", TOKEN, limited_by="71"), dict
                )
        assert len(asked) == 1
        with pytest.raises(MetaThrottled):  # another WABA has its own limit
            await graph.call(
                GraphCall("read_waba", "71", "GET", "72", TOKEN, limited_by="72"), dict
            )
        assert len(asked) == 2


async def test_high_usage_stops_calls_before_the_limit_except_urgent_ones() -> None:
    asked = []

    async def busy(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.json_response({"id": "71"}, headers={"X-App-Usage": '{"call_count": 95}'})

    async with meta_answering(busy) as graph:
        await graph.call(GraphCall("debug_token", "71", "GET", "debug_token", TOKEN), dict)
        with pytest.raises(MetaThrottled):
            await graph.call(GraphCall("debug_token", "71", "GET", "debug_token", TOKEN), dict)
        await graph.call(
            GraphCall("exchange_code", "71", "GET", "oauth", None, is_urgent=True), dict
        )
        # A customer's call has a limit of its own.
        await graph.call(of_waba("72"), dict)
    assert len(asked) == 3


async def test_metas_error_message_is_not_kept() -> None:
    async def refuse(_: web.Request) -> web.Response:
        error = {"code": 100, "error_subcode": 33, "message": f"no {TOKEN}"}
        return web.json_response({"error": error}, status=400)

    error = await failure(refuse)
    assert isinstance(error, MetaRefused)
    assert (error.code, error.subcode, error.reason) == (100, 33, "not_found")


async def test_a_failed_call_is_logged_with_its_step_and_metas_codes() -> None:
    async def refused(_: web.Request) -> web.Response:
        error = {"code": 133006, "error_subcode": 7, "message": f"a text with {TOKEN}"}
        return web.json_response({"error": error}, status=400)

    async with meta_answering(refused) as graph:
        with structlog.testing.capture_logs() as lines, pytest.raises(GraphError):
            await graph.call(GraphCall("register", "71", "POST", "61/register", TOKEN), dict)
    assert lines == [
        {
            "event": "graph.call_failed", "log_level": "warning", "step": "register",
            "path": "61/register", "reason": "not_verified", "code": 133006, "subcode": 7,
        }
    ]  # fmt: skip
