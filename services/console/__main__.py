"""The console: the company's API, and the page where its customers connect."""

from contextlib import AsyncExitStack
from functools import partial

import structlog

from services.console.api.check_connection import CheckApi
from services.console.api.connections import ConnectionsApi
from services.console.api.failed_calls import FailedCallsApi
from services.console.api.numbers import NumbersApi
from services.console.api.onboarding import OnboardingApi
from services.console.api.orphans import OrphansApi
from services.console.connect.pages import ConnectPages
from services.console.follow_up_nudges import FollowUpNudges
from services.console.http.app import EndpointServer, create_app
from services.console.http.metrics import ConsoleMetrics
from services.console.onboardings import Onboardings
from shared.addresses import ClientAddresses
from shared.broker.connect import keep_connected
from shared.broker.publisher import Publisher
from shared.broker.topology import PROVISION
from shared.cache import Cache, open_redis
from shared.crypto import KeyRing
from shared.graph.client import open_graph
from shared.limits import Limiter
from shared.process import crash_points
from shared.process.health import Health, serve_health
from shared.process.http import serve
from shared.process.lifecycle import FIRST_CHECK_SECONDS, Stop, run, running
from shared.process.metrics import open_registry
from shared.settings.console import ConsoleSettings
from shared.settings.load import load
from shared.store.connections import failed_calls
from shared.store.pool import open_pool, ping

log = structlog.get_logger()

#: Somebody waits for the answer: a frozen PostgreSQL is given up soon.
COMMAND_SECONDS = 5.0
POOL_SIZE = 8


async def main(stop: Stop) -> None:
    settings = load(ConsoleSettings)
    crash_points.arm(settings.crash_at)
    registry = open_registry()
    health = Health(registry)
    broker = health.dependency("broker", settings.rabbitmq_url)
    database = health.dependency("database", settings.database_url)
    redis_up = health.dependency("redis", settings.redis_url)
    health.needs = [[database]]  # RabbitMQ (nudges) and Redis (cache) only make it faster
    publisher = Publisher(broker)
    ring = KeyRing(settings.token_keys)
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(
            open_pool(
                settings.database_url.get_secret_value(),
                name="console",
                size=POOL_SIZE,
                command_seconds=COMMAND_SECONDS,
            )
        )
        redis = await stack.enter_async_context(open_redis(settings.redis_url.get_secret_value()))
        graph = await stack.enter_async_context(
            open_graph(settings, registry, redis, partial(failed_calls.keep, pool))
        )
        for work in (
            keep_connected(
                settings.rabbitmq_url.get_secret_value(),
                publisher.serve,
                name="console",
                needs=[PROVISION],
                dependency=broker,
            ),
            database.watch(lambda: ping(pool)),
            redis_up.watch(redis.ping),
        ):
            await stack.enter_async_context(running(work, stop))
        await stop.wait_for(database.seen, seconds=FIRST_CHECK_SECONDS)
        cache, nudges = Cache(redis, registry), FollowUpNudges(publisher)
        limiter = Limiter(redis, registry)
        onboardings = Onboardings(pool, ring, graph, cache, nudges)
        onboarding_api = OnboardingApi(onboardings, pool, settings)
        numbers_api = NumbersApi(pool, ring, nudges)
        endpoints = (
            *onboarding_api.endpoints(),
            *ConnectionsApi(pool, ring, nudges, limiter).endpoints(),
            *numbers_api.endpoints(),
            *FailedCallsApi(pool, onboardings).endpoints(),
            *OrphansApi(pool, cache, nudges).endpoints(),
            *CheckApi(pool, ring, graph, cache, limiter).endpoints(),
        )
        pages = ConnectPages(onboardings, onboarding_api, numbers_api, pool, ring, settings)
        server = EndpointServer(
            pool,
            ClientAddresses(settings.trusted_proxies),
            limiter,
            ConsoleMetrics(registry),
            per_address=settings.limit_per_address,
            per_organization=settings.limit_per_organization,
        )
        app = create_app(endpoints, pages, server)
        await stack.enter_async_context(
            serve(app, registry, host=settings.host, port=settings.port)
        )
        await stack.enter_async_context(
            serve_health(health, registry, host=settings.host, port=settings.health_port)
        )
        log.info("console.started", port=settings.port, environment=settings.environment)
        await stop.wait()


if __name__ == "__main__":
    run("console", main)
