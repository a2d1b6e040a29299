"""`make bench`: compare accepted webhooks per second and latencies with FastAPI + FastStream.

Everything runs on one machine. Client, broker, database and contestants share its cores, so only
the ratios of a run have a meaning, not the absolute speeds.
"""

import asyncio
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from shutil import rmtree

import asyncpg
import uvloop
from rich.console import Console
from rich.table import Table

from bench.contestants import Contestant, ours, peer
from bench.load import Result, send_load
from bench.stack import prepare
from bench.traffic import Traffic
from deploy.local.stack import install
from deploy.local.stack.supervisor import Supervisor
from shared.store.pool import Conn

ROUNDS = 3
#: Requests of one round: enough for some seconds.
INGRESS_REQUESTS = {"Porteiro": 40_000, "FastAPI + FastStream": 8_000}
WARM_UP = 2_000
#: The rates of the end-to-end test in webhooks per second. Each lasts STEP_SECONDS.
LADDER = {"Porteiro": (1_500, 3_000, 4_500, 6_000), "FastAPI + FastStream": (300, 600, 900, 1_200)}
STEP_SECONDS = 10
#: A rate is sustained if all webhooks are processed this soon after the last request.
SUSTAINED_SECONDS = 2.0


@dataclass(slots=True)
class Figures:
    ingress: list[Result] = field(default_factory=list)
    processor_rates: list[float] = field(default_factory=list)
    steps: list[tuple[int, Result, float]] = field(default_factory=list)


class Bench:
    def __init__(self, supervisor: Supervisor, env: dict[str, str], conn: Conn) -> None:
        self._supervisor = supervisor
        self._conn = conn
        self._env = env
        self._seed = int(time.time()) % 100_000 * 100

    async def measure(self, contestant: Contestant) -> Figures:
        figures = Figures()
        for _ in range(ROUNDS):
            await self._round(contestant, figures)
        self._supervisor.start(contestant.ingress)
        self._supervisor.start(contestant.processor)
        for rate in LADDER[contestant.name]:
            requests = self._requests(rate * STEP_SECONDS)
            await self._empty()
            result = await send_load(contestant.ingress_port, requests, rate=rate)
            processed_at = await self._until_processed(result.accepted)
            figures.steps.append((rate, result, processed_at - result.ended))
        self._supervisor.stop_only("processor", "ingress")
        return figures

    async def _round(self, contestant: Contestant, figures: Figures) -> None:
        """Measure the ingress alone (it fills the queue), then the processor (it empties it)."""
        self._supervisor.start(contestant.ingress)
        warm_up = await send_load(contestant.ingress_port, self._requests(WARM_UP))
        result = await send_load(
            contestant.ingress_port, self._requests(INGRESS_REQUESTS[contestant.name])
        )
        figures.ingress.append(result)
        self._supervisor.stop_only("ingress")
        queued = warm_up.accepted + result.accepted
        await self._empty()
        self._supervisor.start(contestant.processor)
        # The first tenth is not measured: it includes the start of the process.
        started = await self._until_processed(queued // 10)
        first_count = await self._count_processed()
        ended = await self._until_processed(queued)
        figures.processor_rates.append((queued - first_count) / (ended - started))
        self._supervisor.stop_only("processor")

    def _requests(self, count: int) -> list[bytes]:
        self._seed += 1
        return Traffic(self._seed, self._env["META_APP_SECRET"]).requests(count)

    async def _empty(self) -> None:
        """Empty the tables. Counting processed webhooks is cheap only while the table is small."""
        await self._conn.execute("TRUNCATE webhook_log, webhook_bodies, connection_facts CASCADE")

    async def _count_processed(self) -> int:
        query = "SELECT count(*) FROM webhook_log WHERE processed"
        return int(await self._conn.fetchval(query))

    async def _until_processed(self, count: int) -> float:
        """Wait until `count` webhooks are processed. Return the time. Raise TimeoutError."""
        deadline = time.perf_counter() + 120
        while await self._count_processed() < count:
            if time.perf_counter() > deadline:
                missing = count - await self._count_processed()
                raise TimeoutError(f"{missing} webhooks were not processed in time")
            await asyncio.sleep(0.1)
        return time.perf_counter()


async def main(folder: Path, supervisor: Supervisor) -> None:
    env = await prepare(folder, supervisor)
    conn = await asyncpg.connect(env["DATABASE_URL"])
    results = {}
    for contestant in (peer(env), ours(env)):
        print(f"measuring {contestant.name} ...", file=sys.stderr, flush=True)
        results[contestant.name] = await Bench(supervisor, env, conn).measure(contestant)
    await conn.close()
    _print(results)


def _print(results: dict[str, Figures]) -> None:
    console = Console(width=110)
    table = Table(
        title=f"Each service alone, median of {ROUNDS} rounds (webhooks/s; answers in ms)"
    )
    for column in ("", "ingress", "p50", "p99", "processor"):
        table.add_column(column, justify="right" if column else "left")
    for name, figures in results.items():
        rates = sorted(figures.ingress, key=lambda result: result.rate)
        median = rates[len(rates) // 2]
        table.add_row(
            name, f"{median.rate:,.0f}", f"{median.percentile(0.5) * 1000:.1f}",
            f"{median.percentile(0.99) * 1000:.1f}",
            f"{statistics.median(figures.processor_rates):,.0f}",
        )  # fmt: skip
    console.print(table)
    table = Table(title=f"End to end, {STEP_SECONDS} s at each rate (answers in ms)")
    for column in (
        "",
        "offered/s",
        "accepted",
        "refused",
        "p50",
        "p99",
        "max",
        "all processed after",
    ):
        table.add_column(column, justify="right" if column else "left")
    for name, figures in results.items():
        for rate, result, seconds in figures.steps:
            sustained = "" if seconds <= SUSTAINED_SECONDS else " (not sustained)"
            table.add_row(
                name, f"{rate:,}", f"{result.accepted:,}", f"{result.refused:,}",
                *(f"{result.percentile(p) * 1000:.1f}" for p in (0.5, 0.99, 1.0)),
                f"{seconds:.1f} s{sustained}",
            )  # fmt: skip
    console.print(table)


def run() -> None:
    install.ensure()
    folder = Path(tempfile.mkdtemp(prefix="porteiro-bench-"))
    folder.chmod(0o711)
    supervisor = Supervisor(str(folder), folder, lambda _: None)
    try:
        uvloop.run(main(folder, supervisor))
    finally:
        supervisor.stop()
        rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    run()
