"""A cheap load client: prepared requests over open connections, without an HTTP library."""

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast

CONNECTIONS = 64
#: The longest wait for answers after the last request was due.
LINGER_SECONDS = 30


@dataclass(slots=True)
class Result:
    """`seconds` has a latency for each answer. With a fixed rate it counts from when it was due."""

    started: float = 0.0
    ended: float = 0.0
    accepted: int = 0
    refused: int = 0
    seconds: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        return self.accepted / (self.ended - self.started)

    def percentile(self, share: float) -> float:
        ranked = sorted(self.seconds)
        return ranked[min(len(ranked) - 1, int(share * len(ranked)))]


class _Connection(asyncio.Protocol):
    def __init__(self, load: "_Load") -> None:
        self._load = load
        self._due = 0.0
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)

    def send(self, request: bytes, due: float) -> None:
        self._due = due
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        # Both contestants answer with an empty body, so an answer ends with its headers.
        self._received += data
        if self._received.endswith(b"\r\n\r\n"):
            accepted = self._received.startswith(b"HTTP/1.1 200")
            self._received = b""
            self._load.answered(self, accepted=accepted, due=self._due)

    def connection_lost(self, _: Exception | None) -> None:
        self._load.lost()


class _Load:
    def __init__(self, requests: Sequence[bytes], rate: float | None) -> None:
        self._requests = iter(requests)
        self._rate = rate
        self._total = len(requests)
        self._idle: deque[_Connection] = deque()
        self._waiting: deque[tuple[bytes, float]] = deque()
        self._finished = asyncio.get_running_loop().create_future()
        self.result = Result()

    async def run(self, connections: Sequence[_Connection]) -> None:
        self._idle.extend(connections)
        self.result.started = time.perf_counter()
        if self._rate is None:
            for connection in connections:
                self._next(connection)
        else:
            await self._pace(self._rate)
        await asyncio.wait_for(self._finished, LINGER_SECONDS + self._total / (self._rate or 500))
        self.result.ended = time.perf_counter()

    async def _pace(self, rate: float) -> None:
        """Send each request when it is due, also if earlier ones have no answer yet.

        So a slow server cannot lower the rate (no coordinated omission).
        """
        for number, request in enumerate(self._requests):
            due = self.result.started + number / rate
            if (wait := due - time.perf_counter()) > 0:
                await asyncio.sleep(wait)
            if self._idle:
                self._idle.popleft().send(request, due)
            else:
                self._waiting.append((request, due))

    def answered(self, connection: _Connection, *, accepted: bool, due: float) -> None:
        self.result.seconds.append(time.perf_counter() - due)
        self.result.accepted += accepted
        self.result.refused += not accepted
        if len(self.result.seconds) == self._total:
            self._finished.set_result(None)
        elif self._rate is None:
            self._next(connection)
        elif self._waiting:
            connection.send(*self._waiting.popleft())
        else:
            self._idle.append(connection)

    def _next(self, connection: _Connection) -> None:
        if (request := next(self._requests, None)) is not None:
            connection.send(request, time.perf_counter())

    def lost(self) -> None:
        if not self._finished.done():
            self._finished.set_exception(ConnectionError("the server closed a connection"))


async def send_load(port: int, requests: Sequence[bytes], *, rate: float | None = None) -> Result:
    """Send all requests: as fast as they are answered, or `rate` per second."""
    load = _Load(requests, rate)
    loop = asyncio.get_running_loop()
    opened = [
        await loop.create_connection(lambda: _Connection(load), "127.0.0.1", port)
        for _ in range(CONNECTIONS)
    ]
    try:
        await load.run([protocol for _, protocol in opened])
    finally:
        for transport, _ in opened:
            transport.abort()
    return load.result
