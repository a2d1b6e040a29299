"""pywa, a client of Meta's Cloud API that is not ours, unmodified, against a simulated Meta."""

import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import fastapi
import httpx
import uvicorn
from pywa.client import WhatsApp

from deploy.local.stack.servers import LOOPBACK, free_port
from tests.support.environment import APP_ID, APP_SECRET
from tests.support.waiting import eventually

VERIFY_TOKEN = "word-of-the-door"


class ToSimulatedMeta(httpx.HTTPTransport):
    """Send what is meant for graph.facebook.com to the simulated Meta."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = httpx.URL(url)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.url = request.url.copy_with(
            scheme=self._url.scheme, host=self._url.host, port=self._url.port
        )
        return super().handle_request(request)


@contextmanager
def client(url: str, token: str) -> Iterator[WhatsApp]:
    """Yield a client with this token. Its session is the only thing it must be given."""
    with httpx.Client(transport=ToSimulatedMeta(url)) as session:
        yield WhatsApp(token=token, session=session)


@asynccontextmanager
async def listening_client(url: str, token: str) -> AsyncIterator[WhatsApp]:
    """Yield a client that serves its own webhook handler, and registers it at the app by itself."""
    server, port = fastapi.FastAPI(), free_port()
    listener = uvicorn.Server(uvicorn.Config(server, host=LOOPBACK, port=port, log_config=None))
    thread = threading.Thread(target=listener.run)
    thread.start()

    async def is_started() -> bool:
        return listener.started

    try:
        await eventually(is_started)
        with httpx.Client(transport=ToSimulatedMeta(url)) as session:
            yield WhatsApp(
                token=token,
                session=session,
                server=server,
                callback_url=f"http://{LOOPBACK}:{port}",
                verify_token=VERIFY_TOKEN,
                app_id=APP_ID,
                app_secret=APP_SECRET,
                webhook_challenge_delay=0,
            )
    finally:
        listener.should_exit = True
        thread.join()
