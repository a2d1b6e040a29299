"""The retry sweep: wake the processors for overdue rows, and fail if none of them reacts."""

import asyncio
import time
from datetime import timedelta
from functools import partial

import structlog
from aio_pika.exceptions import AMQPError
from uuid_utils.compat import uuid7

from services.scheduler.run_job import JobFailed
from services.scheduler.run_scheduled import JobRun, run_scheduled
from shared.broker.connect import BrokerLost, connect
from shared.broker.publisher import NotPublished, publish
from shared.broker.topology import CHANGES, PROVISION
from shared.messages import Nudge, encode_nudge
from shared.settings.groups import BrokerSettings, DatabaseSettings
from shared.settings.load import load
from shared.store.overdue import count_untouched, find_overdue
from shared.store.pool import transaction

log = structlog.get_logger()

OVERDUE = timedelta(minutes=5)
#: Of each kind, which is enough to see whether anybody works.
MAX_ROWS = 1000
#: How long the processors may take to lease one of the rows.
WAIT_SECONDS = 60.0
PAUSE_SECONDS = 0.5
PUBLISH_SECONDS = 5.0


class SweepSettings(DatabaseSettings, BrokerSettings):
    pass


async def sweep() -> None:
    """Wake the processors if rows are overdue, and wait until they lease or finish one of them.

    The processors do the work: this job changes no row, so it may run many times at once. Raise
    JobFailed if none of the rows was leased or finished within WAIT_SECONDS. RabbitMQ away is no
    failure: the processors find the rows without it.
    """
    settings = load(SweepSettings)
    await run_scheduled("retry-sweep", settings, partial(_sweep, settings))


async def _sweep(settings: SweepSettings, run: JobRun) -> None:
    async with transaction(run.pool) as conn:
        rows = await find_overdue(conn, OVERDUE, limit=MAX_ROWS)
    run.counts["overdue"] = len(rows)
    if not rows:
        log.info("retry_sweep.done", count=0, total=0)
        return
    await _wake(settings.rabbitmq_url.get_secret_value())
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        async with transaction(run.pool) as conn:
            untouched = await count_untouched(conn, rows)
        if untouched < len(rows):
            log.info("retry_sweep.done", count=len(rows) - untouched, total=len(rows))
            return
        await asyncio.sleep(PAUSE_SECONDS)
    raise JobFailed(
        f"{len(rows)} rows are overdue by 5 minutes and no processor works on them: check that the"
        " processors run and are ready"
    )


async def _wake(url: str) -> None:
    nudge = encode_nudge(Nudge(uuid7(), 1, 0))
    try:
        async with (
            await connect(url, "retry-sweep") as amqp,
            amqp.channel(on_return_raises=True) as channel,
        ):
            for queue in (CHANGES, PROVISION):
                await publish(channel, queue, nudge, timeout=PUBLISH_SECONDS)
    except (AMQPError, BrokerLost, NotPublished, OSError, TimeoutError) as error:
        log.warning("retry_sweep.broker_away", error=type(error).__qualname__)
