"""A TCP proxy between a service and one of its servers, which a test can interrupt."""

import asyncio
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit

from deploy.local.stack.servers import LOOPBACK, free_port

_CHUNK_BYTES = 65_536


class Proxy:
    """Forward every byte unless interrupted. `url` is the target's, with the proxy's address."""

    def __init__(self, target_url: str) -> None:
        target = urlsplit(target_url)
        credentials, at, _ = target.netloc.rpartition("@")
        self._target = (str(target.hostname), target.port)
        self._port = free_port()
        self._server: asyncio.Server | None = None
        self._links: set[asyncio.Task[None]] = set()
        self._writers: set[StreamWriter] = set()
        self._requests_flow = asyncio.Event()
        self._answers_flow = asyncio.Event()
        self.url = target._replace(netloc=f"{credentials}{at}{LOOPBACK}:{self._port}").geturl()

    async def cut(self) -> None:
        """Close every link. Refuse new ones until `heal`."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
            self._server = None
        while self._links:
            for writer in self._writers:
                writer.transport.abort()
            for link in self._links:
                link.cancel()
            await asyncio.wait(self._links)

    def stall(self) -> None:
        """Keep links and accept new ones, but forward nothing in either direction until `heal`."""
        self._requests_flow.clear()
        self._answers_flow.clear()

    def mute(self) -> None:
        """Forward the service's bytes, but delay the server's answers until `heal`."""
        self._answers_flow.clear()

    async def heal(self) -> None:
        """Forward again, including the delayed bytes. Accept new links."""
        self._requests_flow.set()
        self._answers_flow.set()
        if self._server is None:
            self._server = await asyncio.start_server(self._accept, LOOPBACK, self._port)

    def _accept(self, reader: StreamReader, writer: StreamWriter) -> None:
        link = asyncio.create_task(self._link(reader, writer))
        self._links.add(link)
        link.add_done_callback(self._links.discard)

    async def _link(self, reader: StreamReader, writer: StreamWriter) -> None:
        async with self._closing(writer):
            await self._requests_flow.wait()
            with suppress(OSError):
                target_reader, target_writer = await asyncio.open_connection(*self._target)
                async with self._closing(target_writer):
                    to_target = asyncio.create_task(
                        self._pump(reader, target_writer, self._requests_flow)
                    )
                    to_service = asyncio.create_task(
                        self._pump(target_reader, writer, self._answers_flow)
                    )
                    try:
                        await asyncio.wait({to_target, to_service}, return_when="FIRST_COMPLETED")
                    finally:
                        to_target.cancel()
                        to_service.cancel()
                        await asyncio.gather(to_target, to_service, return_exceptions=True)

    async def _pump(self, reader: StreamReader, writer: StreamWriter, flows: asyncio.Event) -> None:
        while data := await reader.read(_CHUNK_BYTES):
            await flows.wait()
            writer.write(data)
            await writer.drain()
        await flows.wait()  # a stalled link does not show its end either

    @asynccontextmanager
    async def _closing(self, writer: StreamWriter) -> AsyncIterator[None]:
        self._writers.add(writer)
        try:
            yield
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()
            self._writers.discard(writer)


@asynccontextmanager
async def open_proxy(target_url: str) -> AsyncIterator[Proxy]:
    proxy = Proxy(target_url)
    await proxy.heal()
    try:
        yield proxy
    finally:
        await proxy.cut()
