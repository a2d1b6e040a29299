"""Which requests the receiver accepts, and how it answers the others."""

import asyncio
import hmac
from collections.abc import AsyncIterator

import aiohttp
import orjson
import pytest
from pytest import MonkeyPatch

from deploy.local.simulated_meta.writing import write
from services.ingress import bodies
from services.ingress.app import PATH
from services.ingress.bodies import MAX_BODY_BYTES
from shared.broker.topology import RAW
from shared.messages import decode_bundle
from shared.store.pool import Conn
from tests.support import running
from tests.support.broker import Broker
from tests.support.environment import APP_SECRET, VERIFY_TOKEN
from tests.support.sending import message, post

BODY = write(message(1, "ação / ok"))
OLD_SECRET = "0f1e2d3c4b5a69788796a5b4c3d2e1f0"  # pragma: allowlist secret


def sign(body: bytes, secret: str = APP_SECRET) -> str:
    return "sha256=" + hmac.digest(secret.encode(), body, "sha256").hex()


@pytest.fixture
async def client(
    environment: dict[str, str], monkeypatch: MonkeyPatch
) -> AsyncIterator[aiohttp.ClientSession]:
    monkeypatch.setenv("META_APP_SECRET_PREVIOUS", OLD_SECRET)
    async with running.ingress(environment) as client:
        yield client


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({}, id="missing"),
        pytest.param({"X-Hub-Signature-256": ""}, id="empty"),
        pytest.param({"X-Hub-Signature-256": "sha256=beef"}, id="too short"),
        pytest.param({"X-Hub-Signature-256": sign(BODY).upper()}, id="prefix in capitals"),
        pytest.param({"X-Hub-Signature-256": f"sha256={'é' * 64}"}, id="not ASCII"),
        pytest.param({"X-Hub-Signature-256": sign(BODY, "guess")}, id="wrong secret"),
        pytest.param({"X-Hub-Signature-256": sign(b" " + BODY)}, id="of other bytes"),
        pytest.param(
            {"X-Hub-Signature": "sha1=" + hmac.digest(APP_SECRET.encode(), BODY, "sha1").hex()},
            id="SHA-1 only",
        ),
    ],
)
async def test_without_the_right_signature_nothing_is_accepted(
    client: aiohttp.ClientSession, broker: Broker, conn: Conn, headers: dict[str, str]
) -> None:
    async with client.post(PATH, data=BODY, headers=headers) as answer:
        assert answer.status == 401
        assert await answer.read() == b""
    assert await broker.count(RAW) == 0
    assert await conn.fetchval("SELECT count(*) FROM webhook_log") == 0


async def test_the_same_json_in_other_bytes_needs_its_own_signature(
    client: aiohttp.ClientSession,
) -> None:
    unescaped = orjson.dumps(orjson.loads(BODY))
    async with client.post(
        PATH, data=unescaped, headers={"X-Hub-Signature-256": sign(BODY)}
    ) as answer:
        assert answer.status == 401


@pytest.mark.parametrize("secret", [APP_SECRET, OLD_SECRET])
async def test_every_live_secret_is_accepted(
    client: aiohttp.ClientSession, broker: Broker, secret: str
) -> None:
    assert await post(client, BODY, secret) == 200
    [webhook] = decode_bundle(await broker.take(RAW)).webhooks
    assert webhook.body == BODY
    assert webhook.signature == sign(BODY, secret)


async def test_a_body_at_the_limit_is_accepted_and_one_byte_more_is_refused(
    client: aiohttp.ClientSession, broker: Broker
) -> None:
    largest = b" " * MAX_BODY_BYTES
    assert await post(client, largest) == 200
    assert decode_bundle(await broker.take(RAW)).webhooks[0].body == largest
    assert await post(client, largest + b" ") == 413


async def test_a_body_of_undeclared_length_is_refused_at_the_limit(
    client: aiohttp.ClientSession,
) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(2 * MAX_BODY_BYTES // 65_536):
            yield b" " * 65_536

    header = {"X-Hub-Signature-256": sign(b"")}
    async with client.post(PATH, data=endless(), headers=header) as answer:
        assert answer.status == 413


async def test_a_body_that_stalls_is_answered_with_408(
    client: aiohttp.ClientSession, monkeypatch: MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "FIRST_SECONDS", 0.2)
    never = asyncio.Event()

    async def stalling() -> AsyncIterator[bytes]:
        yield BODY[:10]
        await never.wait()

    header = {"X-Hub-Signature-256": sign(BODY), "Content-Length": str(len(BODY))}
    async with client.post(PATH, data=stalling(), headers=header) as answer:
        assert answer.status == 408


@pytest.mark.parametrize(
    ("mode", "token", "status"),
    [
        ("subscribe", VERIFY_TOKEN, 200),
        ("subscribe", "wrong-token", 403),
        ("subscribe", "tökén", 403),
        ("unsubscribe", VERIFY_TOKEN, 403),
    ],
)
async def test_the_handshake_echoes_the_challenge_only_with_the_right_token(
    client: aiohttp.ClientSession, mode: str, token: str, status: int
) -> None:
    query = {"hub.mode": mode, "hub.verify_token": token, "hub.challenge": "<b>1158201444"}
    async with client.get(PATH, params=query) as answer:
        assert answer.status == status
        assert answer.content_type == ("text/plain" if status == 200 else answer.content_type)
        assert await answer.text() == ("<b>1158201444" if status == 200 else "")


async def test_a_full_receiver_answers_503_with_retry_after(
    client: aiohttp.ClientSession, monkeypatch: MonkeyPatch
) -> None:
    monkeypatch.setattr("services.ingress.byte_budget.MAX_BYTES", len(BODY) - 1)
    async with client.post(PATH, data=BODY, headers={"X-Hub-Signature-256": sign(BODY)}) as answer:
        assert answer.status == 503
        assert int(answer.headers["Retry-After"]) > 0
