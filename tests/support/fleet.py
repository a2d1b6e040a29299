"""A fleet of connections, two workers that check it as two processes do, and a clock of strides.

When time passes, all that is stored becomes older, and Meta's clock goes on: so a day with the real
times of the product takes as long as its checks.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from types import SimpleNamespace
from typing import Any

from prometheus_client import CollectorRegistry
from pytest import MonkeyPatch
from redis.asyncio import Redis

from deploy.local.simulated_meta.grants import MANAGEMENT, MESSAGING, Grant
from deploy.local.simulated_meta.tokens import issue_token
from deploy.local.simulated_meta.world import Number, Waba
from services.token_health import suspension
from services.token_health.checks import CheckWorker
from services.token_health.gauges import TokenGauges
from services.token_health.metrics import TokenHealthMetrics
from services.token_health.suspension import Suspension
from shared.cache import open_redis
from shared.graph.client import open_graph
from shared.graph.usage import APP_KEY
from shared.settings.load import load
from shared.settings.token_health import TokenHealthSettings
from shared.store.connections import connections, eras, failed_calls, organizations
from shared.store.pool import Conn, Pool, transaction
from tests.support.aged import OWNER, ago
from tests.support.keys import TOKEN_RING
from tests.support.simulated import SimulatedMeta
from tests.support.tokens import save_token

DAY = timedelta(days=1)
STRIDE = timedelta(minutes=5)
#: Makes the next bad answer about a token the second one.
DOUBTED = """
UPDATE whatsapp_connections SET next_check_at = now(), token_doubt = 'token_revoked',
    token_bad_since = now() - interval '6 minutes',
    token_checked_at = now() - interval '6 minutes'
"""


def waba_id(number: int) -> str:
    return f"7200001{number:08}"


async def connect_fleet(
    pool: Pool, meta: SimulatedMeta, size: int, due_within: timedelta = DAY
) -> None:
    """Connect WABAs, whose checks are due evenly over the coming time. Meta was never asked about
    their tokens."""
    assert meta.world is not None
    async with transaction(pool) as conn:
        await organizations.add(conn, OWNER)
        await connections.ensure(conn, [waba_id(number) for number in range(size)])
        for number in range(size):
            waba, business = waba_id(number), f"7300001{number:08}"
            phone = Number(f"7400001{number:08}", f"1556{number:07}", is_registered=True)
            meta.world.wabas[waba] = Waba(
                waba, business, "Fleet", [phone],
                is_subscribed=True, is_shared=True, is_installed=True,
            )  # fmt: skip
            token = issue_token(meta.world, Grant(waba, business, (MANAGEMENT, MESSAGING), (waba,)))
            await eras.begin(conn, waba, OWNER, "tracking_code", ago(9))
            await save_token(conn, TOKEN_RING, waba, token)
            await conn.execute(
                """
                UPDATE whatsapp_connections
                SET organization_id = $2, attribution = 'tracking_code', state = 'active',
                    owner_business_id = $3, token_debugged_at = NULL,
                    next_check_at = now() + $4::interval,
                    token_checked_at = now() + $4::interval - interval '1 day'
                WHERE waba_id = $1
                """,
                waba,
                OWNER,
                business,
                due_within * number / size,
            )


@dataclass(frozen=True, slots=True)
class Process:
    """What one process of token_health has."""

    worker: CheckWorker
    gauges: TokenGauges
    registry: CollectorRegistry

    def count(self, metric: str, **labels: str) -> float:
        return self.registry.get_sample_value(metric, labels) or 0.0


@dataclass(slots=True)
class Fleet:
    conn: Conn
    meta: SimulatedMeta
    redis: Redis
    processes: list[Process]
    last_call: int = 0

    async def pass_time(self, strides: int = 1) -> None:
        """Let strides pass, and make the checks that are due after each."""
        for _ in range(strides):
            await self.conn.execute(
                """
                UPDATE whatsapp_connections SET
                    next_check_at = next_check_at - $1::interval,
                    token_checked_at = token_checked_at - $1::interval,
                    token_debugged_at = token_debugged_at - $1::interval,
                    token_bad_since = token_bad_since - $1::interval
                """,
                STRIDE,
            )
            self.meta.time += STRIDE.total_seconds()
            left = await self.redis.pttl(APP_KEY) - STRIDE // timedelta(milliseconds=1)
            await self.redis.pexpire(APP_KEY, max(1, left))
            await self.check()
            for process in self.processes:
                await process.gauges.work_once()

    async def check(self) -> None:
        """Make all checks that are due. No call may be refused for a limit."""
        while any(await asyncio.gather(*(each.worker.work_once() for each in self.processes))):
            pass
        calls = await self.meta.calls(after=self.last_call)
        assert [call for call in calls if call["code"] in (4, 80008)] == []
        self.last_call += len(calls)

    async def read(self, sql: str, *arguments: Any) -> Any:
        return await self.conn.fetchval(f"SELECT {sql} FROM whatsapp_connections", *arguments)

    async def told(self) -> list[str]:
        """Return the types of the events about tokens, in order."""
        rows = await self.conn.fetch(
            "SELECT type FROM events WHERE type LIKE 'connection.token%' ORDER BY id"
        )
        return [row["type"].removeprefix("connection.") for row in rows]


@asynccontextmanager
async def open_fleet(
    pool: Pool, redis_url: str, meta: SimulatedMeta, size: int, due_within: timedelta = DAY
) -> AsyncIterator[Fleet]:
    """Connect a fleet, and open two processes without their loops."""
    await connect_fleet(pool, meta, size, due_within)
    async with AsyncExitStack() as stack:
        conn = await stack.enter_async_context(pool.acquire())
        redis = await stack.enter_async_context(open_redis(redis_url))
        stack.enter_context(_suspended_by_the_clock_of(meta))
        processes = []
        for _ in range(2):
            own_redis = await stack.enter_async_context(open_redis(redis_url))
            registry = CollectorRegistry()
            graph = await stack.enter_async_context(
                open_graph(
                    load(TokenHealthSettings), registry, own_redis, partial(failed_calls.keep, pool)
                )
            )
            metrics = TokenHealthMetrics(registry)
            shown = Suspension(metrics)
            worker = CheckWorker(pool, TOKEN_RING, graph, metrics, shown)
            processes.append(Process(worker, TokenGauges(pool, metrics, shown), registry))
        yield Fleet(conn, meta, redis, processes)


@contextmanager
def _suspended_by_the_clock_of(meta: SimulatedMeta) -> Iterator[None]:
    with MonkeyPatch.context() as patch:
        patch.setattr(suspension, "time", SimpleNamespace(monotonic=lambda: meta.time))
        yield
