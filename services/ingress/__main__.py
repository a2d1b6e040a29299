"""Run the ingress: receive Meta's webhooks and make them durable."""

from contextlib import AsyncExitStack

import structlog

from services.ingress.answers import LastAnswers
from services.ingress.app import Strangers, WebhookRoutes, create_app
from services.ingress.clock import DatabaseClock
from services.ingress.metrics import IngressMetrics
from services.ingress.receiver import COPY_SECONDS, Lanes, Receiver
from services.ingress.sinks import QUEUES, BatchingSink, BrokerSink, DatabaseSink
from shared.addresses import ClientAddresses
from shared.broker.connect import keep_connected
from shared.broker.publisher import Publisher
from shared.cache import open_redis
from shared.crypto import KeyRing
from shared.limits import Limiter
from shared.process import crash_points
from shared.process.health import Health, serve_health
from shared.process.http import serve
from shared.process.lifecycle import FIRST_CHECK_SECONDS, Stop, run, running
from shared.process.metrics import open_registry
from shared.settings.groups import Environment
from shared.settings.ingress import IngressSettings
from shared.settings.load import load
from shared.store.pool import open_pool

log = structlog.get_logger()

#: Seconds from the last byte of the body until the sink has made the webhook durable, or failed.
#: Both count from the same moment, so the total wait is under Meta's 1 s and leaves time to answer.
BROKER_SECONDS = 0.5
DATABASE_SECONDS = 0.9
POOL_SIZE = 4


async def main(stop: Stop) -> None:
    settings = load(IngressSettings)
    crash_points.arm(settings.crash_at)
    registry = open_registry()
    metrics = IngressMetrics(registry)
    health = Health(registry)
    broker = health.dependency("broker", settings.rabbitmq_url)
    database = health.dependency("database", settings.database_url)
    cache = health.dependency("redis", settings.redis_url)
    health.needs = [[broker, database]]
    answers = LastAnswers()
    health.conditions["storing"] = answers.are_good
    publisher = Publisher(broker)
    lanes = Lanes()
    clock = DatabaseClock(registry)
    ring = KeyRing(settings.body_keys)
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(
            open_pool(settings.database_url.get_secret_value(), name="ingress", size=POOL_SIZE)
        )
        redis = await stack.enter_async_context(open_redis(settings.redis_url.get_secret_value()))
        for background_task in (
            keep_connected(
                settings.rabbitmq_url.get_secret_value(),
                publisher.serve,
                name="ingress",
                needs=list(QUEUES.values()),
                dependency=broker,
            ),
            database.watch(lambda: clock.measure(pool)),
            cache.watch(lambda: lanes.refresh(redis), every_seconds=COPY_SECONDS),
        ):
            await stack.enter_async_context(running(background_task, stop))
        await stop.wait_for(broker.seen, database.seen, seconds=FIRST_CHECK_SECONDS)
        sinks = [
            BatchingSink(
                "broker",
                BrokerSink(publisher).send,
                seconds=BROKER_SECONDS,
                batch_sizes=metrics.bundle_webhooks,
            ),
            BatchingSink(
                "database",
                DatabaseSink(pool, ring).send,
                seconds=DATABASE_SECONDS,
                batch_sizes=metrics.bundle_webhooks,
            ),
        ]
        routes = WebhookRoutes(
            Receiver(sinks, lanes, clock, answers, metrics),
            metrics,
            Strangers(
                ClientAddresses(settings.trusted_proxies),
                Limiter(redis, registry),
                per_address=settings.limit_per_address,
            ),
            secrets=[
                secret.get_secret_value().encode()
                for secret in (settings.meta_app_secret, *settings.meta_app_secret_previous)
            ],
            verify_token=settings.meta_webhook_verify_token.get_secret_value(),
        )
        app = create_app(routes, with_test_route=settings.environment is not Environment.PRODUCTION)
        await stack.enter_async_context(
            # No decompression: Meta's signature covers the bytes as they were sent.
            serve(
                app,
                registry,
                host=settings.host,
                port=settings.port,
                auto_decompress=False,
            )
        )
        await stack.enter_async_context(
            serve_health(health, registry, host=settings.host, port=settings.health_port)
        )
        log.info("ingress.started", port=settings.port, environment=settings.environment)
        await stop.wait()


if __name__ == "__main__":
    run("ingress", main)
