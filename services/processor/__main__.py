"""Run the processor: split webhooks into changes, apply their effects, and publish events."""

from contextlib import AsyncExitStack
from functools import partial

import structlog
from aio_pika.abc import AbstractIncomingMessage

from services.processor.event_relay import EventRelay
from services.processor.follow_ups.context import FollowUpContext
from services.processor.follow_ups.handlers import GRAPH_LOOPS, attribution_handlers, graph_handlers
from services.processor.follow_ups.metrics import FollowUpMetrics
from services.processor.follow_ups.worker import FollowUpWorker
from services.processor.intake.dead_queue import DeadQueueConsumer
from services.processor.intake.delivery_queue import QUEUES, DeliveryQueue
from services.processor.intake.due_rows import DueRows
from services.processor.intake.failures import FailureRecorder
from services.processor.intake.group_worker import WORKERS, GroupWorker
from services.processor.intake.metrics import IntakeMetrics
from services.processor.intake.newer_messages import NewerMessages
from services.processor.intake.organization_traffic import OrganizationTraffic
from services.processor.intake.retry_nudges import RetryNudges
from services.processor.intake.webhook_groups import WebhookGroups
from services.processor.job_gauges import JobGauges
from services.processor.metrics import ProcessorMetrics
from services.processor.unproven_tokens import UnprovenTokens
from shared.broker.connect import keep_connected
from shared.broker.consumer import Consumer
from shared.broker.publisher import Publisher
from shared.broker.topology import CHANGES, DEAD, EVENTS, PROVISION, retry_name
from shared.cache import Cache, open_redis
from shared.crypto import KeyRing, SubjectHasher
from shared.graph.client import open_graph
from shared.polling_loop import PollingLoop
from shared.process import crash_points
from shared.process.health import Health, serve_health
from shared.process.lifecycle import FIRST_CHECK_SECONDS, Stop, run, running
from shared.process.metrics import open_registry
from shared.settings.load import load
from shared.settings.processor import ProcessorSettings
from shared.store.connections import failed_calls
from shared.store.due import INTAKE_KINDS
from shared.store.pool import open_pool, ping

log = structlog.get_logger()

POOL_SIZE = 8


async def main(stop: Stop) -> None:
    settings = load(ProcessorSettings)
    crash_points.arm(settings.crash_at)
    registry = open_registry()
    metrics = ProcessorMetrics(registry)
    intake_metrics = IntakeMetrics(registry)
    health = Health(registry)
    broker, publishing, consuming, database, redis_up = (
        health.dependency(name, url)
        for name, url in (
            ("broker", settings.rabbitmq_url),
            ("publisher", settings.rabbitmq_url),
            ("consumer", settings.rabbitmq_url),
            ("database", settings.database_url),
            ("redis", settings.redis_url),
        )
    )
    health.needs = [[database]]  # without the others it still processes the rows that are due
    ring = KeyRing(settings.body_keys)
    deliveries = DeliveryQueue(broker)
    publisher = Publisher(publishing)
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(
            open_pool(settings.database_url.get_secret_value(), name="processor", size=POOL_SIZE)
        )
        redis = await stack.enter_async_context(open_redis(settings.redis_url.get_secret_value()))
        graph = await stack.enter_async_context(
            open_graph(settings, registry, redis, partial(failed_calls.keep, pool))
        )
        tokens = KeyRing(settings.token_keys)
        recorder = FailureRecorder(settings.retry_seconds, intake_metrics)
        app_id = settings.meta_app_id
        traffic = OrganizationTraffic(
            redis, deliveries.has_backlog, intake_metrics, limit=settings.limit_per_organization
        )
        groups = WebhookGroups(
            pool, ring, SubjectHasher(settings.subject_keys), recorder, intake_metrics,
            traffic.stored, app_id=app_id,
        )  # fmt: skip
        nudges = RetryNudges(publisher, metrics)
        due_loops = {
            kind: PollingLoop(
                kind,
                DueRows(kind, pool, ring, groups, recorder, nudges, app_id=app_id).work_once,
                seconds=2.0,
            )
            for kind in INTAKE_KINDS
        }
        event_relay = EventRelay(pool, ring, tokens, publisher, Cache(redis, registry), metrics)
        relay_loop = PollingLoop("relay", event_relay.work_once, seconds=1.0)
        newer_messages = NewerMessages(pool, ring, intake_metrics)
        dead_queue = DeadQueueConsumer(pool, ring, intake_metrics)
        follow_up_metrics = FollowUpMetrics(registry)
        handlers = graph_handlers(FollowUpContext(pool, tokens, graph, settings.retry_seconds))
        attribution_worker = FollowUpWorker(
            pool, attribution_handlers(pool), settings.retry_seconds, follow_up_metrics
        )
        follow_up_loops = [
            PollingLoop("attribution", attribution_worker.work_once, seconds=2.0),
            *(
                PollingLoop(
                    "follow_up",
                    FollowUpWorker(
                        pool, handlers, settings.retry_seconds, follow_up_metrics, kinds
                    ).work_once,
                    seconds=2.0,
                )
                for kinds in GRAPH_LOOPS
            ),
        ]

        async def wake_follow_ups(message: AbstractIncomingMessage) -> None:
            for loop in follow_up_loops:
                await loop.on_nudge(message)

        consumed = {
            CHANGES: due_loops["change"].on_nudge,
            PROVISION: wake_follow_ups,
            DEAD: dead_queue.store,
        }
        consumer = Consumer(consumed, consuming)
        connect = partial(
            keep_connected, settings.rabbitmq_url.get_secret_value(), name="processor"
        )
        delays = [retry_name(seconds) for seconds in settings.retry_seconds]
        for background_task in (
            connect(publisher.serve, needs=[*delays, EVENTS], dependency=publishing),
            connect(deliveries.serve, needs=list(QUEUES.values()), dependency=broker),
            connect(consumer.serve, needs=[CHANGES, PROVISION, DEAD], dependency=consuming),
            database.watch(lambda: ping(pool)),
            redis_up.watch(redis.ping),
        ):
            await stack.enter_async_context(running(background_task, stop))
        await stop.wait_for(broker.seen, database.seen, seconds=FIRST_CHECK_SECONDS)
        group_worker = GroupWorker(
            deliveries, groups, newer_messages, nudges, due_loops["fresh"], relay_loop, metrics
        )
        for _ in range(WORKERS):
            worker_context = running(group_worker.run(), stop, finish=deliveries.close)
            await stack.enter_async_context(worker_context)
        own_loops = (
            relay_loop,
            PollingLoop("newer", newer_messages.work_once, seconds=60.0),
            PollingLoop("traffic", traffic.work_once, seconds=1.0),
            PollingLoop("jobs", JobGauges(pool, registry).work_once, seconds=60.0),
            PollingLoop("awaited_webhooks", groups.awaited.work_once, seconds=2.0),
            PollingLoop("tokens", UnprovenTokens(pool).work_once, seconds=60.0),
        )
        for loop in (*due_loops.values(), *own_loops, *follow_up_loops):
            await stack.enter_async_context(running(loop.run(), stop, finish=loop.stop))
        await stack.enter_async_context(
            serve_health(health, registry, host=settings.host, port=settings.health_port)
        )
        log.info("processor.started", environment=settings.environment)
        await stop.wait()


if __name__ == "__main__":
    run("processor", main)
