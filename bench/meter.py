"""Measure the cost of a fixed load (CPU by process, WAL, statements) and the machine's speed."""

import asyncio
import hmac
import statistics
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import orjson
import psutil

from shared.store.pool import Conn

#: The CPU seconds of the reference work on the machine where it was written. They make times of
#: different machines, and of different minutes on one machine, comparable.
REFERENCE_SECONDS = 0.002
_SAMPLE_EVERY_SECONDS = 0.05


def _reference_work() -> int:
    """Do a little of the services' typical work: JSON, hashing, small objects."""
    size = 0
    for number in range(130):
        body = orjson.dumps({"id": str(number), "items": [{"n": n} for n in range(30)]})
        digest = hmac.digest(b"key", body, "sha256")
        size += len({item["n"]: digest for item in orjson.loads(body)["items"]})
    return size


class Pace:
    """Measure the machine's speed during a load, by samples of the reference work."""

    def __init__(self) -> None:
        self._samples: list[float] = []

    @property
    def factor(self) -> float:
        """Return 1 if the reference work costs REFERENCE_SECONDS, 2 on a machine half as fast."""
        return statistics.median(self._samples) / REFERENCE_SECONDS

    @asynccontextmanager
    async def sampled(self) -> AsyncIterator[None]:
        """Take samples while the block runs."""
        sampling = asyncio.create_task(self._sample())
        try:
            yield
        finally:
            sampling.cancel()

    async def _sample(self) -> None:
        while True:
            started = time.thread_time()
            _reference_work()
            self._samples.append(time.thread_time() - started)
            await asyncio.sleep(_SAMPLE_EVERY_SECONDS)


@dataclass(frozen=True, slots=True)
class Reading:
    """CPU seconds by process tree, WAL bytes and statements, since the start of the servers."""

    cpu: dict[str, float]
    wal: int
    statements: int


class Meter:
    """Read the costs. `pids` are processes by name; their children are counted with them."""

    def __init__(self, pids: Mapping[str, int], conn: Conn) -> None:
        self._pids = dict(pids)
        self._conn = conn
        self._own_backend = conn.get_server_pid()  # the cost of measuring is not counted

    def pause(self, name: str) -> None:
        """Freeze a process. Resume it before its servers close its connections."""
        psutil.Process(self._pids[name]).suspend()

    def resume(self, name: str) -> None:
        psutil.Process(self._pids[name]).resume()

    async def read(self) -> Reading:
        [row] = await self._conn.fetch(
            """
            SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn AS wal,
                   (SELECT coalesce(sum(calls), 0) FROM pg_stat_statements
                    WHERE userid <> current_user::regrole) AS statements
            """
        )
        cpu = {name: sum(self._cpu_of(pid)) for name, pid in self._pids.items()}
        return Reading(cpu, int(row["wal"]), int(row["statements"]))

    async def count_stored(self) -> int:
        """Return how many webhooks are in PostgreSQL."""
        return int(await self._conn.fetchval("SELECT count(*) FROM webhook_log"))

    def _cpu_of(self, pid: int) -> Iterator[float]:
        root = psutil.Process(pid)
        for process in (root, *root.children(recursive=True)):
            if process.pid == self._own_backend:
                continue
            with suppress(psutil.NoSuchProcess):  # its time is then its parent's children's
                times = process.cpu_times()
                yield times.user + times.system + times.children_user + times.children_system
