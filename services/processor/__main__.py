"""The processor: raw webhooks in, rows out."""

from contextlib import AsyncExitStack
from functools import partial

import structlog
from aio_pika.abc import AbstractIncomingMessage

from services.processor.dead_queue import Fuse
from services.processor.delivery_queue import QUEUES, Intake
from services.processor.due_worker import DueWork
from services.processor.event_relay import Relay
from services.processor.group_worker import WORKERS, Worker
from services.processor.metrics import ProcessorMetrics
from services.processor.polling_loop import Loop
from services.processor.retry_nudges import Nudges
from shared.actions.due_rows import Work
from shared.actions.failures import Failing
from shared.actions.follow_up_context import Means
from shared.actions.follow_up_worker import FollowUps
from shared.actions.metrics import FollowUpMetrics, WorkMetrics
from shared.actions.webhook_groups import Groups
from shared.broker.connect import keep_connected
from shared.broker.consumer import Consumer
from shared.broker.publisher import Publisher
from shared.broker.topology import CHANGES, DEAD, EVENTS, PROVISION, retry_name
from shared.cache import Cache, open_redis
from shared.crypto import KeyRing
from shared.graph.client import open_graph
from shared.process import crash_points
from shared.process.health import Health, serve_health
from shared.process.lifecycle import FIRST_LOOK_SECONDS, Stop, run, running
from shared.process.metrics import open_registry
from shared.settings.groups import hex_bytes, load
from shared.settings.processor import ProcessorSettings
from shared.store.pool import look, open_pool

log = structlog.get_logger()

POOL_SIZE = 8
#: Each waits for Meta most of its time.
FOLLOW_UP_LOOPS = 4


async def main(stop: Stop) -> None:
    settings = load(ProcessorSettings)
    if settings.crash_at:
        crash_points.arm(settings.crash_at)
    registry = open_registry()
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
