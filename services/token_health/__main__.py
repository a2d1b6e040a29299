"""Run token_health: check each connection at Meta once a day, and tell what changed."""

from contextlib import AsyncExitStack
from functools import partial

import structlog
from aio_pika.abc import AbstractIncomingMessage

from services.token_health.checks import CheckWorker
from services.token_health.gauges import TokenGauges
from services.token_health.metrics import TokenHealthMetrics
from services.token_health.suspension import Suspension
from shared.broker.connect import keep_connected
from shared.broker.consumer import Consumer
from shared.broker.topology import TOKEN_CHECKS
from shared.cache import open_redis
from shared.crypto import KeyRing
from shared.graph.client import open_graph
from shared.polling_loop import PollingLoop
from shared.process import crash_points
from shared.process.health import Health, serve_health
from shared.process.lifecycle import FIRST_CHECK_SECONDS, Stop, run, running
from shared.process.metrics import open_registry
from shared.settings.load import load
from shared.settings.token_health import TokenHealthSettings
from shared.store.connections import failed_calls
from shared.store.pool import open_pool, ping

log = structlog.get_logger()

POOL_SIZE = 6


async def main(stop: Stop) -> None:
    settings = load(TokenHealthSettings)
    crash_points.arm(settings.crash_at)
    registry = open_registry()
    metrics = TokenHealthMetrics(registry)
    suspension = Suspension(metrics)
    health = Health(registry)
    broker = health.dependency("consumer", settings.rabbitmq_url)
    database = health.dependency("database", settings.database_url)
    redis_up = health.dependency("redis", settings.redis_url)
    health.needs = [[database]]  # without the others it still checks what is due
    async with AsyncExitStack() as stack:
        url = settings.database_url.get_secret_value()
        pool = await stack.enter_async_context(open_pool(url, name="token_health", size=POOL_SIZE))
        redis = await stack.enter_async_context(open_redis(settings.redis_url.get_secret_value()))
        graph = await stack.enter_async_context(
            open_graph(settings, registry, redis, partial(failed_calls.keep, pool))
        )
        ring = KeyRing(settings.token_keys)
        worker = CheckWorker(pool, ring, graph, metrics, suspension)
        checks = PollingLoop("checks", worker.work_once, seconds=2.0)
        gauges = PollingLoop(
            "gauges", TokenGauges(pool, metrics, suspension).work_once, seconds=60.0
        )

        async def on_nudge(message: AbstractIncomingMessage) -> None:
            await worker.make_due(message)
            checks.wake()

        consumer = Consumer({TOKEN_CHECKS: on_nudge}, broker)
        for background_task in (
            keep_connected(
                settings.rabbitmq_url.get_secret_value(),
                consumer.serve,
                name="token_health",
                needs=[TOKEN_CHECKS],
                dependency=broker,
            ),
            database.watch(lambda: ping(pool)),
            redis_up.watch(redis.ping),
        ):
            await stack.enter_async_context(running(background_task, stop))
        await stop.wait_for(broker.seen, database.seen, seconds=FIRST_CHECK_SECONDS)
        for loop in (checks, gauges):
            await stack.enter_async_context(running(loop.run(), stop, finish=loop.stop))
        await stack.enter_async_context(
            serve_health(health, registry, host=settings.host, port=settings.health_port)
        )
        log.info("token_health.started", environment=settings.environment)
        await stop.wait()


if __name__ == "__main__":
    run("token_health", main)
