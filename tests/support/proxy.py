"""A TCP proxy to put between a service and one of its servers, and to break the link with."""

import asyncio
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit

from deploy.local.stack.servers import LOOPBACK, free_port

_CHUNK_BYTES = 65_536


class Proxy:
    """Forwards until told otherwise; `url` is the target's with this proxy's address in it."""

    def __init__(self, target_url: str) -> None:
        target = urlsplit(target_url)
        credentials, at, _ = target.netloc.rpartition("@")
        self._target = (str(target.hostname), target.port)
        self._port = free_port()
        self._server: asyncio.Server | None = None
        self._links: set[asyncio.Task[None]] = set()
        self._writers: set[StreamWriter] = set()
        self._flowing = asyncio.Event()
        self._answering = asyncio.Event()
        self.url = target._replace(netloc=f"{credentials}{at}{LOOPBACK}:{self._port}").geturl()

    async def cut(self) -> None:
        """Close every connection, and refuse new ones until healed."""
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
        """Keep connections, and take new ones, but carry nothing either way until healed."""
        self._flowing.clear()
        self._answering.clear()

    def mute(self) -> None:
        """Carry what the service says, and hold back what its server answers, until healed."""
        self._answering.clear()

    async def heal(self) -> None:
        """Carry on: what was held back while stalled arrives now."""
        self._flowing.set()
        self._answering.set()
        if self._server is None:
            self._server = await asyncio.start_server(self._accept, LOOPBACK, self._port)

    def _accept(self, reader: StreamReader, writer: StreamWriter) -> None:
        link = asyncio.create_task(self._link(reader, writer))
        self._links.add(link)
        link.add_done_callback(self._links.discard)

    async def _link(self, reader: StreamReader, writer: StreamWriter) -> None:
        async with self._closing(writer):
            await self._flowing.wait()
            with suppress(OSError):
                far_reader, far_writer = await asyncio.open_connection(*self._target)
                async with self._closing(far_writer):
                    there = asyncio.create_task(self._pump(reader, far_writer, self._flowing))
                    back = asyncio.create_task(self._pump(far_reader, writer, self._answering))
                    try:
                        await asyncio.wait({there, back}, return_when="FIRST_COMPLETED")
                    finally:
                        there.cancel()
                        back.cancel()
                        await asyncio.gather(there, back, return_exceptions=True)

    async def _pump(
        self, reader: StreamReader, writer: StreamWriter, flowing: asyncio.Event
    ) -> None:
        while data := await reader.read(_CHUNK_BYTES):
            await flowing.wait()
            writer.write(data)
            await writer.drain()
        await flowing.wait()  # a link that is silent does not tell of its end either

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
