"""The processor: raw webhooks in, rows out."""

from contextlib import AsyncExitStack

import structlog
from prometheus_client import CollectorRegistry

from services.processor.due import DueLoop
from services.processor.group import Groups
from services.processor.intake import QUEUES, Intake
from services.processor.metrics import ProcessorMetrics
from services.processor.settings import ProcessorSettings
from services.processor.worker import WORKERS, Worker
from shared import crash
from shared.broker.link import keep_connected
from shared.crypto import KeyRing
from shared.health import Health, serve_health
from shared.lifecycle import FIRST_LOOK_SECONDS, Stop, run, running
from shared.settings import hex_bytes, load
from shared.store.pool import look, open_pool

log = structlog.get_logger()

POOL_SIZE = 6


async def main(stop: Stop) -> None:
    settings = load(ProcessorSettings)
    if settings.crash_at:
        crash.arm(settings.crash_at)
    registry = CollectorRegistry()
    metrics = ProcessorMetrics(registry)
    health = Health(registry)
    broker, database = map(health.dependency, ("broker", "database"))
    health.needs = [[database]]  # without the broker it still works what rests in the database
    ring = KeyRing(hex_bytes(settings.body_encryption_key, *settings.body_encryption_keys_previous))
    intake = Intake(broker, metrics)
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(
            open_pool(settings.database_url.get_secret_value(), name="processor", size=POOL_SIZE)
        )
        groups = Groups(pool, ring, metrics)
        due = DueLoop(pool, groups)
        consuming = keep_connected(
            settings.rabbitmq_url.get_secret_value(),
            intake.serve,
            name="processor",
            needs=list(QUEUES.values()),
            dependency=broker,
        )
        await stack.enter_async_context(running(consuming, stop))
        await stack.enter_async_context(running(database.watch(lambda: look(pool)), stop))
        await stop.wait_for(broker.seen, database.seen, seconds=FIRST_LOOK_SECONDS)
        worker = Worker(intake, groups, due, metrics)
        for _ in range(WORKERS):
            working = running(worker.run(), stop, finish=intake.close)
            await stack.enter_async_context(working)
        await stack.enter_async_context(running(due.run(), stop, finish=due.stop))
        await stack.enter_async_context(
            serve_health(health, registry, host=settings.host, port=settings.health_port)
        )
        log.info("processor.started", environment=settings.environment)
        await stop.wait()


if __name__ == "__main__":
    run("processor", main)
