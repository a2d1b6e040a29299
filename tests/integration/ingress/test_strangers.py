"""Strangers without a right signature are limited, and do not hold the door shut to Meta."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import aiohttp
import psutil
import pytest
from pytest import MonkeyPatch
from structlog.testing import capture_logs

from deploy.local.simulated_meta.writing import headers, write
from services.ingress import bodies
from services.ingress.app import PATH
from shared.process import http
from tests.support import processes, running
from tests.support.metrics import metric
from tests.support.sending import message, post
from tests.support.waiting import eventually

LIMIT = 20
FORGED = "sha256=" + "0" * 64


@asynccontextmanager
async def strange_socket(
    environment: dict[str, str], sent: bytes, *, address: str = "127.0.0.2"
) -> AsyncIterator[asyncio.StreamReader]:
    """Open a connection from an address, send these bytes and nothing more."""
    reader, writer = await asyncio.open_connection(
        environment["HOST"], int(environment["PORT"]), local_addr=(address, 0)
    )
    writer.write(sent)
    await writer.drain()
    try:
        yield reader
    finally:
        writer.close()


def head(environment: dict[str, str], length: int) -> bytes:
    return (
        f"POST {PATH} HTTP/1.1\r\nHost: {environment['HOST']}\r\nContent-Length: {length}\r\n"
        f"X-Hub-Signature-256: {FORGED}\r\n\r\n"
    ).encode()


@pytest.mark.parametrize("signature", [None, "nonsense", FORGED])
async def test_the_address_of_strangers_is_limited_and_signed_webhooks_are_not(
    environment: dict[str, str], monkeypatch: MonkeyPatch, signature: str | None
) -> None:
    monkeypatch.setenv("LIMIT_PER_ADDRESS", str(LIMIT))
    sent = {} if signature is None else {"X-Hub-Signature-256": signature}
    async with running.ingress(environment) as client:
        statuses = []
        for _ in range(LIMIT + 2):
            async with client.post(PATH, data=b"{}", headers=sent) as answer:
                statuses.append(answer.status)
        assert statuses == [401] * LIMIT + [429] * 2
        assert int(answer.headers["Retry-After"]) > 0
        assert answer.headers["RateLimit-Policy"] == f'"address";q={LIMIT};w=60'
        assert answer.headers["RateLimit"].startswith('"address";r=0;t=')
        assert [await post(client, message(n)) for n in range(3 * LIMIT)] == [200] * 3 * LIMIT
        query = {"hub.mode": "subscribe", "hub.verify_token": "wrong", "hub.challenge": "1"}
        async with client.get(PATH, params=query) as answer:
            assert answer.status == 429


@pytest.mark.parametrize("addresses", [250, 1])
async def test_bytes_that_are_promised_take_no_room(
    environment: dict[str, str], monkeypatch: MonkeyPatch, addresses: int
) -> None:
    """Three hundred strangers promise 900 MB. Meta may come from the address of them all."""
    monkeypatch.setattr(bodies, "FIRST_SECONDS", 60.0)
    monkeypatch.setattr(bodies, "BODY_SECONDS", 60.0)
    async with running.ingress(environment) as client, AsyncExitStack() as stack:
        for number in range(300):
            address = f"127.0.0.{2 + number % addresses}" if addresses > 1 else "127.0.0.1"
            promise = head(environment, bodies.MAX_BODY_BYTES)
            await stack.enter_async_context(
                strange_socket(environment, promise + b"{", address=address)
            )
        sizes = [10, 100_000, 2_000_000]
        webhooks = [write(message(n, "x" * size)) for n, size in enumerate(sizes)]
        assert [await post(client, webhook) for webhook in webhooks] == [200] * len(sizes)
        assert await metric(environment, "porteiro_ingress_bytes_in_flight") == 300


async def test_a_stranger_who_sends_much_is_refused_before_others_are(
    environment: dict[str, str], monkeypatch: MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "FIRST_SECONDS", 60.0)
    monkeypatch.setattr(bodies, "BODY_SECONDS", 60.0)
    promise = head(environment, bodies.MAX_BODY_BYTES) + b"x" * 3_000_000
    async with running.ingress(environment) as client, AsyncExitStack() as stack:
        assert await post(client, message(1)) == 200
        readers = [
            await stack.enter_async_context(strange_socket(environment, promise)) for _ in range(4)
        ]
        first = [asyncio.ensure_future(reader.readline()) for reader in readers]
        done, waiting = await asyncio.wait(first, timeout=20, return_when="FIRST_COMPLETED")
        assert b"503" in done.pop().result()
        assert await post(client, write(message(2, "x" * 1_000_000))) == 200
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting)


async def test_a_head_that_does_not_come_is_not_waited_for(
    environment: dict[str, str], monkeypatch: MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "HEAD_SECONDS", 0.5)
    half = head(environment, 10)[:40]
    async with running.ingress(environment) as client:
        assert await post(client, message(1)) == 200
        async with (
            strange_socket(environment, half) as dripping,
            strange_socket(environment, b"") as silent,
        ):
            assert await asyncio.wait_for(dripping.read(), 20) == b""
            assert await asyncio.wait_for(silent.read(), 20) == b""
        assert await post(client, message(2)) == 200  # Meta's idle connection is kept


async def test_a_body_slower_than_the_pace_is_given_up(
    environment: dict[str, str], monkeypatch: MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "FIRST_SECONDS", 0.2)
    async with (
        running.ingress(environment),
        strange_socket(environment, head(environment, 1_000_000) + b"{") as reader,
    ):
        answer = await asyncio.wait_for(reader.read(), 20)
        assert answer.startswith(b"HTTP/1.1 408")


@pytest.mark.parametrize(
    "malformed",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /" + b"A" * 20_000 + b" HTTP/1.1\r\n\r\n",
    ],
)
async def test_a_request_that_is_no_http_costs_a_counter_and_no_traceback(
    environment: dict[str, str], malformed: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with running.ingress(environment):
        with capture_logs() as logged:
            async with strange_socket(environment, malformed) as reader:
                answer = await asyncio.wait_for(reader.read(), 20)
                assert answer.startswith(b"HTTP/1.") or answer == b""
        assert logged == []
        assert [r for r in caplog.records if r.levelname in ("ERROR", "WARNING")] == []
        assert await metric(environment, "porteiro_requests_malformed_total") == 1


async def test_no_answer_allows_another_origin(environment: dict[str, str]) -> None:
    body = write(message(1))
    async with running.ingress(environment) as client:
        origin = {"Origin": "https://elsewhere.test", "Access-Control-Request-Method": "POST"}
        for method in ("OPTIONS", "GET", "POST"):
            async with client.request(method, PATH, headers=origin) as answer:
                assert [h for h in answer.headers if h.lower().startswith("access-control")] == []
        async with client.post(PATH, data=body, headers=headers(body, "x") | origin) as answer:
            assert "Access-Control-Allow-Origin" not in answer.headers


async def test_the_1001st_of_a_minute_is_limited_and_6000_signed_webhooks_are_not(
    environment: dict[str, str],
) -> None:
    async with running.ingress(environment) as client:
        forged = {"X-Hub-Signature-256": FORGED}
        statuses = []
        for _ in range(1001):
            async with client.post(PATH, data=b"{}", headers=forged) as answer:
                statuses.append(answer.status)
        assert statuses == [401] * 1000 + [429]
        for start in range(0, 6000, 500):
            numbers = range(start, start + 500)
            statuses = await asyncio.gather(*(post(client, message(n)) for n in numbers))
            assert set(statuses) == {200}


async def test_at_the_limit_of_file_descriptors_others_are_refused_and_then_it_is_healthy(
    environment: dict[str, str],
) -> None:
    async with processes.service("ingress", environment) as process:
        ingress = psutil.Process(process.pid)
        ingress.rlimit(psutil.RLIMIT_NOFILE, (ingress.num_fds() + 20,) * 2)
        async with AsyncExitStack() as stack:
            for _ in range(60):
                await stack.enter_async_context(strange_socket(environment, b"POST"))
            await eventually(lambda: is_full(ingress))
        base = f"http://{environment['HOST']}:{environment['PORT']}"

        async def is_served() -> bool:
            try:
                async with aiohttp.ClientSession(base) as client:
                    return await post(client, message(1)) == 200
            except aiohttp.ClientError:  # as long as it is full
                return False

        await eventually(is_served)
        assert process.returncode is None


async def is_full(process: psutil.Process) -> bool:
    return process.num_fds() >= process.rlimit(psutil.RLIMIT_NOFILE)[0] - 1


async def test_the_door_stays_open_while_redis_is_away(
    environment: dict[str, str], monkeypatch: MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://:x@127.0.0.1:1/0")  # pragma: allowlist secret
    monkeypatch.setenv("LIMIT_PER_ADDRESS", str(LIMIT))
    async with running.ingress(environment) as client:
        statuses = []
        for _ in range(LIMIT + 1):
            async with client.post(PATH, data=b"{}") as answer:
                statuses.append(answer.status)
        assert statuses == [401] * LIMIT + [429]
        assert await post(client, message(1)) == 200
        assert await metric(environment, "porteiro_limiter_fallback_total") == LIMIT
