"""The processor: raw webhooks in, rows out."""

from contextlib import AsyncExitStack
from functools import partial

import structlog
from aio_pika.abc import AbstractIncomingMessage
from prometheus_client import CollectorRegistry

from services.processor.due import DueWork
from services.processor.fuse import Fuse
from services.processor.intake import QUEUES, Intake
from services.processor.loop import Loop
from services.processor.metrics import ProcessorMetrics
from services.processor.nudges import Nudges
from services.processor.relay import Relay
from services.processor.settings import ProcessorSettings
from services.processor.worker import WORKERS, Worker
from shared import crash
from shared.actions.failing import Failing
from shared.actions.following import FollowUps
from shared.actions.group import Groups
from shared.actions.means import Means
from shared.actions.metrics import FollowUpMetrics, WorkMetrics
from shared.actions.working import Work
from shared.broker.consumer import Consumer
from shared.broker.link import keep_connected
from shared.broker.publisher import Publisher
from shared.broker.topology import CHANGES, DEAD, EVENTS, PROVISION, retry_name
from shared.cache import Cache, open_redis
from shared.crypto import KeyRing
from shared.graph.client import open_graph
from shared.health import Health, serve_health
from shared.lifecycle import FIRST_LOOK_SECONDS, Stop, run, running
from shared.settings import hex_bytes, load
from shared.store.pool import look, open_pool

log = structlog.get_logger()

POOL_SIZE = 8
#: Each waits for Meta most of its time.
FOLLOW_UP_LOOPS = 4


async def main(stop: Stop) -> None:
    settings = load(ProcessorSettings)
    if settings.crash_at:
        crash.arm(settings.crash_at)
    registry = CollectorRegistry()
    metrics = ProcessorMetrics(registry)
    work_metrics = WorkMetrics(registry)
    health = Health(registry)
    broker, publishing, consuming, database = map(
        health.dependency, ("broker", "publisher", "consumer", "database")
    )
    health.needs = [[database]]  # without the broker it still works what rests in the database
    ring = KeyRing(hex_bytes(settings.body_encryption_key, *settings.body_encryption_keys_previous))
    intake = Intake(broker, metrics)
    publisher = Publisher(publishing)
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(
            open_pool(settings.database_url.get_secret_value(), name="processor", size=POOL_SIZE)
        )
        redis = await stack.enter_async_context(open_redis(settings.redis_url.get_secret_value()))
        graph = await stack.enter_async_context(open_graph(settings, registry))
        tokens = KeyRing(
            hex_bytes(settings.token_encryption_key, *settings.token_encryption_keys_previous)
        )
        failing = Failing(settings.retry_seconds, work_metrics)
        groups = Groups(pool, ring, failing, work_metrics)
        nudges = Nudges(publisher, metrics)
        due_work = DueWork(pool, Work(pool, ring, groups, failing), nudges)
        due = Loop("due", due_work.work_once, seconds=2.0)
        relaying = Relay(pool, ring, publisher, Cache(redis, registry), metrics)
        relay = Loop("relay", relaying.work_once, seconds=1.0)
        fuse = Fuse(pool, ring, work_metrics)
        follow_ups = FollowUps(
            Means(pool, tokens, graph), settings.retry_seconds, FollowUpMetrics(registry)
        )
        following = [
            Loop("follow_up", follow_ups.work_once, seconds=2.0) for _ in range(FOLLOW_UP_LOOPS)
        ]

        async def hear(message: AbstractIncomingMessage) -> None:
            for loop in following:
                await loop.hear(message)

        consumer = Consumer({CHANGES: due.hear, PROVISION: hear, DEAD: fuse.keep}, consuming)
        connect = partial(
            keep_connected, settings.rabbitmq_url.get_secret_value(), name="processor"
        )
        waits = [retry_name(seconds) for seconds in settings.retry_seconds]
        for work in (
            connect(publisher.serve, needs=[*waits, EVENTS], dependency=publishing),
            connect(intake.serve, needs=list(QUEUES.values()), dependency=broker),
            connect(consumer.serve, needs=[CHANGES, PROVISION, DEAD], dependency=consuming),
            database.watch(lambda: look(pool)),
        ):
            await stack.enter_async_context(running(work, stop))
        await stop.wait_for(broker.seen, database.seen, seconds=FIRST_LOOK_SECONDS)
        worker = Worker(intake, groups, nudges, due, relay, metrics)
        for _ in range(WORKERS):
            working = running(worker.run(), stop, finish=intake.close)
            await stack.enter_async_context(working)
        for loop in (due, relay, *following):
            await stack.enter_async_context(running(loop.run(), stop, finish=loop.stop))
        await stack.enter_async_context(
            serve_health(health, registry, host=settings.host, port=settings.health_port)
        )
        log.info("processor.started", environment=settings.environment)
        await stop.wait()


if __name__ == "__main__":
    run("processor", main)
