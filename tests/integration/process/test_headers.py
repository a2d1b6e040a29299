"""No answer tells the versions of what we run on, and browsers are told to keep to HTTPS."""

import asyncio

from deploy.local.stack.servers import LOOPBACK
from services.ingress.app import PATH
from tests.support import running


async def raw_answer(port: int, request: bytes) -> str:
    """Send bytes that are perhaps no HTTP. Return the answer's head in lower case."""
    reader, writer = await asyncio.open_connection(LOOPBACK, port)
    writer.write(request)
    answer = await asyncio.wait_for(reader.read(4096), 10)
    writer.close()
    return answer.decode("latin-1").lower()


async def test_no_answer_of_the_ingress_tells_a_version(environment: dict[str, str]) -> None:
    async with running.ingress(environment):
        for port in (int(environment["PORT"]), int(environment["HEALTH_PORT"])):
            for request in (
                f"GET {PATH} HTTP/1.1\r\nHost: x\r\n\r\n".encode(),
                b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
                b"this is no HTTP\r\n\r\n",
            ):
                answer = await raw_answer(port, request)
                assert "aiohttp" not in answer
                assert "python" not in answer
                assert "server: porteiro" in answer


async def test_the_console_tells_browsers_to_keep_to_https(environment: dict[str, str]) -> None:
    async with running.console(environment) as client, client.get("/nothing-here") as answer:
        assert answer.headers["Server"] == "porteiro"
        assert answer.headers["Strict-Transport-Security"] == "max-age=31536000"
