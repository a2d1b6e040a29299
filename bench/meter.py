"""What a fixed load costs: CPU by process, WAL, statements; and how fast the machine is."""

import asyncio
import hmac
import statistics
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import orjson
import psutil

from shared.store.pool import Conn

#: What one piece of the reference work cost where it was written, in CPU seconds: it makes times of
#: different machines, and of different minutes of one machine, comparable.
REFERENCE_SECONDS = 0.002
_SAMPLE_EVERY_SECONDS = 0.05


def _reference_work() -> int:
    """A little of what services do all day: JSON, hashing, small objects."""
    size = 0
    for number in range(130):
        body = orjson.dumps({"id": str(number), "items": [{"n": n} for n in range(30)]})
        digest = hmac.digest(b"key", body, "sha256")
        size += len({item["n"]: digest for item in orjson.loads(body)["items"]})
    return size


class Pace:
    """How fast the machine is while something else runs on it, by samples of the reference work."""

    def __init__(self) -> None:
        self._samples: list[float] = []

    @property
    def factor(self) -> float:
        """1 where the reference work costs REFERENCE_SECONDS; 2 on a machine half as fast."""
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
    """CPU seconds by process group, WAL bytes and statements, all since the servers' start."""

    cpu: dict[str, float]
    wal: int
    statements: int


class Meter:
    """`pids` are root processes by name; to each belongs all that it started."""

    def __init__(self, pids: Mapping[str, int], database: Conn) -> None:
        self._pids = dict(pids)
        self._database = database
        self._own_backend = database.get_server_pid()  # what measuring costs is not part of it

    def pause(self, name: str) -> None:
        """Freeze a process, for less than the seconds after which its servers would miss it."""
        psutil.Process(self._pids[name]).suspend()

    def resume(self, name: str) -> None:
        psutil.Process(self._pids[name]).resume()

    async def read(self) -> Reading:
        [record] = await self._database.fetch(
            """
            SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn AS wal,
                   (SELECT coalesce(sum(calls), 0) FROM pg_stat_statements
                    WHERE userid <> current_user::regrole) AS statements
            """
        )
        cpu = {name: sum(self._cpu_of(pid)) for name, pid in self._pids.items()}
        return Reading(cpu, int(record["wal"]), int(record["statements"]))

    def _cpu_of(self, pid: int) -> Iterator[float]:
        root = psutil.Process(pid)
        for process in (root, *root.children(recursive=True)):
            if process.pid != self._own_backend:
                times = process.cpu_times()
                yield times.user + times.system + times.children_user + times.children_system
