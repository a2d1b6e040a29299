"""Whatever is refused or fails is answered with a problem (RFC 9457), and each answer has an id."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import aiohttp
import asyncpg
import pytest
from structlog.contextvars import merge_contextvars
from structlog.testing import capture_logs

from services.console.http import concurrency
from shared.store.connections import views
from shared.store.pool import Conn
from tests.support import running
from tests.support.keys import make_key
from tests.support.onboarding_setup import CHECK, CONNECTIONS, ONBOARDING, ORPHANS
from tests.support.simulated import WABA

CLAIM = f"{ORPHANS}/{WABA}/claim"
JSON = {"Content-Type": "application/json"}


@pytest.fixture
async def http(environment: dict[str, str], conn: Conn) -> AsyncIterator[aiohttp.ClientSession]:
    """The console alone, called with a key of the company."""
    async with running.console(environment) as client:
        client.headers["Authorization"] = f"Bearer {await make_key(conn)}"
        yield client


async def _assert_problem(answer: aiohttp.ClientResponse, status: int, code: str) -> None:
    problem = await answer.json()
    assert (answer.status, problem["code"]) == (status, code)
    assert answer.content_type == "application/problem+json"
    assert problem == {
        "type": f"urn:porteiro:problem:{code}",
        "title": code.replace("_", " ").capitalize(),
        "status": status,
        "detail": problem["message"],
        "code": code,
        "message": problem["message"],
        "request_id": answer.headers["X-Request-Id"],
    }


REFUSED: tuple[tuple[str, str, Any, int, str], ...] = (
    ("GET", "/nowhere", {}, 404, "not_found"),
    ("PATCH", CONNECTIONS, {}, 405, "method_not_allowed"),
    ("GET", f"{CONNECTIONS}/x", {}, 422, "invalid_path"),
    ("GET", f"{CONNECTIONS}?limit=0", {}, 422, "invalid_query"),
    ("GET", f"{CONNECTIONS}?limit=1&limit=2", {}, 422, "invalid_query"),
    ("POST", CLAIM, {"data": b"{", "headers": JSON}, 400, "not_json"),
    ("POST", CLAIM, {"data": b"{}", "headers": {"Content-Type": "text/plain"}}, 415, "not_json"),
    ("POST", CLAIM, {"data": b"[]", "headers": JSON}, 422, "invalid_body"),
    ("POST", CLAIM, {"data": b"x" * 70_000, "headers": JSON}, 413, "too_large"),
    ("GET", CONNECTIONS, {"headers": {"Authorization": "Bearer x"}}, 401, "key_needed"),
    ("POST", ONBOARDING, {"json": {}}, 403, "organization_needed"),
    ("GET", f"{ONBOARDING}/guessed", {}, 404, "no_such_onboarding"),
    ("POST", f"/connect/{'x' * 24}/pin", {}, 403, "other_origin"),
    ("GET", "/static/", {}, 403, "forbidden"),
)


async def test_a_refusal_is_a_problem(http: aiohttp.ClientSession) -> None:
    for method, path, sent, status, code in REFUSED:
        async with http.request(method, path, **sent) as answer:
            await _assert_problem(answer, status, code)
            assert ("Allow" in answer.headers) == (status == 405)
            assert ("WWW-Authenticate" in answer.headers) == (status == 401)


async def test_too_many_requests_are_a_problem(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIMIT_PER_ADDRESS", "1")
    monkeypatch.setattr(concurrency, "AT_ONCE", 0)
    async with running.console(environment) as client:
        for _ in ("at once", "a minute"):
            async with client.get(CHECK) as answer:
                await _assert_problem(answer, 429, "too_many")
                assert "Retry-After" in answer.headers


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (RuntimeError("CANARY"), 500, "failed"),
        (asyncpg.PostgresConnectionError("CANARY"), 503, "unavailable"),
    ],
)
async def test_a_failure_is_a_problem_and_is_logged_with_the_id_of_the_request(
    http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch, error: Exception, status: int,
    code: str,
) -> None:  # fmt: skip
    async def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(views, "connections", fail)
    with capture_logs([merge_contextvars]) as logged:
        async with http.get(CONNECTIONS, headers={"X-Request-Id": "theirs-1.2_3"}) as answer:
            await _assert_problem(answer, status, code)
            assert answer.headers["X-Request-Id"] == "theirs-1.2_3"
            assert "CANARY" not in await answer.text()
    [line] = [line for line in logged if line["event"].startswith("request.")]
    assert line["request_id"] == "theirs-1.2_3"


async def test_an_id_that_is_not_safe_to_log_is_replaced(http: aiohttp.ClientSession) -> None:
    for sent in ("", "x" * 65, "two words", "\u00fc", '"quoted"', "a,b"):
        ids = {sent}
        for path in (CHECK, "/static/connect.js"):
            async with http.get(path, headers={"X-Request-Id": sent}) as answer:
                ids.add(str(UUID(answer.headers["X-Request-Id"])))
        assert len(ids) == 3
