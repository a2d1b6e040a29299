"""The console: the company's API, and the page its customers connect on."""

from contextlib import AsyncExitStack

import structlog
from prometheus_client import CollectorRegistry

from services.console.addresses import Addresses
from services.console.app import Serving, create_app
from services.console.checking import CheckApi
from services.console.connections import ConnectionsApi
from services.console.metrics import ConsoleMetrics
from services.console.nudges import Nudges
from services.console.onboarding import OnboardingApi
from services.console.orphans import OrphansApi
from services.console.pages import Pages
from services.console.settings import ConsoleSettings
from services.console.signup import Signup
from shared import crash
from shared.actions.means import Means
from shared.broker.link import keep_connected
from shared.broker.publisher import Publisher
from shared.broker.topology import PROVISION
from shared.cache import Cache, open_redis
from shared.crypto import KeyRing
from shared.graph.client import open_graph
from shared.health import Health, serve_health
from shared.http import serve
from shared.lifecycle import FIRST_LOOK_SECONDS, Stop, run, running
from shared.settings import hex_bytes, load
from shared.store.pool import look, open_pool

log = structlog.get_logger()

POOL_SIZE = 8


async def main(stop: Stop) -> None:
    settings = load(ConsoleSettings)
    if settings.crash_at:
        crash.arm(settings.crash_at)
    registry = CollectorRegistry()
    health = Health(registry)
    broker, database, redis_up = map(health.dependency, ("broker", "database", "redis"))
    health.needs = [[database]]  # nudges and the cache only make it faster
    publisher = Publisher(broker)
    ring = KeyRing(
        hex_bytes(settings.token_encryption_key, *settings.token_encryption_keys_previous)
    )
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(
            open_pool(settings.database_url.get_secret_value(), name="console", size=POOL_SIZE)
        )
        redis = await stack.enter_async_context(open_redis(settings.redis_url.get_secret_value()))
        graph = await stack.enter_async_context(open_graph(settings, registry))
        for work in (
            keep_connected(
                settings.rabbitmq_url.get_secret_value(),
                publisher.serve,
                name="console",
                needs=[PROVISION],
                dependency=broker,
            ),
            database.watch(lambda: look(pool)),
            redis_up.watch(redis.ping),
        ):
            await stack.enter_async_context(running(work, stop))
        await stop.wait_for(database.seen, seconds=FIRST_LOOK_SECONDS)
        cache, nudges = Cache(redis, registry), Nudges(publisher)
        signup = Signup(pool, ring, graph, cache, nudges)
        onboarding = OnboardingApi(signup, pool, settings)
        connections = ConnectionsApi(pool, ring, nudges)
        endpoints = (
            *onboarding.endpoints(),
            *connections.endpoints(),
            *OrphansApi(pool, cache, nudges).endpoints(),
            *CheckApi(Means(pool, ring, graph), cache).endpoints(),
        )
        pages = Pages(signup, onboarding, connections, settings)
        addresses = Addresses(settings.trusted_proxies)
        app = create_app(endpoints, pages, Serving(pool, addresses, ConsoleMetrics(registry)))
        await stack.enter_async_context(serve(app, host=settings.host, port=settings.port))
        await stack.enter_async_context(
            serve_health(health, registry, host=settings.host, port=settings.health_port)
        )
        log.info("console.started", port=settings.port, environment=settings.environment)
        await stop.wait()


if __name__ == "__main__":
    run("console", main)
