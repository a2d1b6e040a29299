"""The processor: raw webhooks in, rows out."""

from contextlib import AsyncExitStack
from functools import partial

import structlog
from aio_pika.abc import AbstractIncomingMessage

from services.processor.dead_queue import DeadQueueConsumer
from services.processor.delivery_queue import QUEUES, DeliveryQueue
from services.processor.due_worker import DueWorker
from services.processor.event_relay import EventRelay
from services.processor.group_worker import WORKERS, GroupWorker
from services.processor.metrics import ProcessorMetrics
from services.processor.polling_loop import PollingLoop
from services.processor.retry_nudges import RetryNudges
from shared.actions.due_rows import DueRows
from shared.actions.failures import FailureRecorder
from shared.actions.follow_up_context import FollowUpContext
from shared.actions.follow_up_worker import FollowUpWorker
from shared.actions.metrics import FollowUpMetrics, IntakeMetrics
from shared.actions.webhook_groups import WebhookGroups
from shared.broker.connect import keep_connected
from shared.broker.consumer import Consumer
from shared.broker.publisher import Publisher
from shared.broker.topology import CHANGES, DEAD, EVENTS, PROVISION, retry_name
from shared.cache import Cache, open_redis
from shared.crypto import KeyRing
from shared.graph.client import open_graph
from shared.process import crash_points
from shared.process.health import Health, serve_health
from shared.process.lifecycle import FIRST_CHECK_SECONDS, Stop, run, running
from shared.process.metrics import open_registry
from shared.settings.load import hex_bytes, load
from shared.settings.processor import ProcessorSettings
from shared.store.pool import open_pool, ping

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
    work_metrics = IntakeMetrics(registry)
    health = Health(registry)
    broker, publishing, consuming, database = map(
        health.dependency, ("broker", "publisher", "consumer", "database")
    )
    health.needs = [[database]]  # without the broker it still works what rests in the database
    ring = KeyRing(hex_bytes(settings.body_encryption_key, *settings.body_encryption_keys_previous))
    intake = DeliveryQueue(broker, metrics)
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
        recorder = FailureRecorder(settings.retry_seconds, work_metrics)
        groups = WebhookGroups(pool, ring, recorder, work_metrics)
        nudges = RetryNudges(publisher, metrics)
        due_work = DueWorker(pool, DueRows(pool, ring, groups, recorder), nudges)
        due = PollingLoop("due", due_work.work_once, seconds=2.0)
        relaying = EventRelay(pool, ring, publisher, Cache(redis, registry), metrics)
        relay = PollingLoop("relay", relaying.work_once, seconds=1.0)
        dead_queue = DeadQueueConsumer(pool, ring, work_metrics)
        follow_ups = FollowUpWorker(
            FollowUpContext(pool, tokens, graph), settings.retry_seconds, FollowUpMetrics(registry)
        )
        following = [
            PollingLoop("follow_up", follow_ups.work_once, seconds=2.0)
            for _ in range(FOLLOW_UP_LOOPS)
        ]

        async def hear(message: AbstractIncomingMessage) -> None:
            for loop in following:
                await loop.on_nudge(message)

        consumer = Consumer(
            {CHANGES: due.on_nudge, PROVISION: hear, DEAD: dead_queue.keep}, consuming
        )
        connect = partial(
            keep_connected, settings.rabbitmq_url.get_secret_value(), name="processor"
        )
        waits = [retry_name(seconds) for seconds in settings.retry_seconds]
        for work in (
            connect(publisher.serve, needs=[*waits, EVENTS], dependency=publishing),
            connect(intake.serve, needs=list(QUEUES.values()), dependency=broker),
            connect(consumer.serve, needs=[CHANGES, PROVISION, DEAD], dependency=consuming),
            database.watch(lambda: ping(pool)),
        ):
            await stack.enter_async_context(running(work, stop))
        await stop.wait_for(broker.seen, database.seen, seconds=FIRST_CHECK_SECONDS)
        worker = GroupWorker(intake, groups, nudges, due, relay, metrics)
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
