"""Whatever is sent to the services' ports: no crash, no 5xx, no traceback."""

import asyncio
import logging

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs
from yarl import URL

from services.ingress.app import PATH
from shared.store.pool import Pool
from tests.support.onboarding_setup import Installation

_TOKEN = st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-", min_size=1, max_size=20)
METHODS = st.sampled_from(["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "TRACE"]) | _TOKEN
_ANY_PATH = st.text(st.characters(max_codepoint=255, exclude_characters="\r\n \0"), max_size=60)
PATHS = _ANY_PATH | st.sampled_from(
    [
        PATH, f"{PATH}/test", f"{PATH}/../test", "/", "//", "*", "/static/../app.py",
        "/static/connect.js", "/connect/return", "/connect/x/status", "/api/v1/openapi.json",
        "/api/v1/whatsapp/check-connection", "/api/v1/whatsapp/connections/1", "http://elsewhere/x",
        "/%00", "/connect/%ff%fe", "/api/v1/whatsapp/onboarding/%2e%2e%2f",
    ]
)  # fmt: skip
HEADERS = st.lists(
    st.tuples(
        st.sampled_from(
            [
                "Content-Type", "X-Hub-Signature-256", "Authorization", "Content-Encoding",
                "X-Forwarded-For", "Origin", "Cookie", "Expect", "Idempotency-Key", "Range",
                "Connection", "Upgrade", "If-None-Match",
            ]
        ) | _TOKEN,
        st.sampled_from(
            [
                "application/json", "sha256=" + "0" * 64, "sha256=", "Bearer porteiro_x", "gzip",
                "1.2.3.4, ::1, x", "null", "100-continue", "bytes=0-", "upgrade", "websocket", "",
            ]
        ) | st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=60),
    ),
    max_size=6,
)  # fmt: skip
BODIES = st.binary(max_size=200) | st.sampled_from([b"{}", b"[]", b'{"organization_id":null}'])


async def send(url: URL, raw: bytes) -> bytes:
    """Send these bytes, and return what is answered until the connection ends."""
    reader, writer = await asyncio.open_connection(url.host, url.port)
    try:
        writer.write(raw)
        await writer.drain()
        return await asyncio.wait_for(reader.read(), 20)
    except ConnectionResetError:
        return b""
    finally:
        writer.close()


def _request(method: str, path: str, headers: list[tuple[str, str]], body: bytes) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: x", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers]
    lines.append("Connection: close")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


@pytest.mark.parametrize("service", ["ingress", "console"])
async def test_no_request_is_answered_with_an_error_of_ours(
    installation: Installation, pool: Pool, service: str, caplog: pytest.LogCaptureFixture
) -> None:
    environment, loop = installation.environment, asyncio.get_running_loop()
    url = URL(environment["CONSOLE_URL"])
    if service == "ingress":
        url = URL(f"http://{environment['HOST']}:{environment['PORT']}")

    @given(METHODS, PATHS, HEADERS, BODIES)
    @settings(
        max_examples=150, deadline=None, suppress_health_check=list(HealthCheck), database=None
    )
    @example("GET", "/%00", [], b"")
    @example("POST", PATH, [("Content-Encoding", "gzip")], b"x")
    @example("GET", "/connect/%ff%fe", [("Origin", "null")], b"")
    def play(method: str, path: str, headers: list[tuple[str, str]], body: bytes) -> None:
        raw = _request(method, path, headers, body)
        answer = asyncio.run_coroutine_threadsafe(send(url, raw), loop).result(30)
        assert answer == b"" or answer.startswith(b"HTTP/1."), answer
        assert answer[9:10] != b"5", answer

    with capture_logs() as logged:
        await asyncio.to_thread(play)
    faults = [line for line in logged if line["log_level"] in ("error", "critical")]
    assert faults == []
    assert [r.getMessage() for r in caplog.records if r.levelno >= logging.ERROR] == []
