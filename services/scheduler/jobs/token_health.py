"""See to it that every connection is checked: due times, nudges, and whether somebody works."""

import asyncio
import time
from collections.abc import Collection
from datetime import timedelta
from functools import partial

import structlog
from aio_pika.exceptions import AMQPError

from services.scheduler.run_job import JobFailed
from services.scheduler.run_scheduled import JobRun, run_scheduled
from shared.broker.connect import BrokerLost, connect
from shared.broker.publisher import NotPublished, publish
from shared.broker.topology import TOKEN_CHECKS
from shared.messages import encode_check_nudge
from shared.settings.groups import BrokerSettings, DatabaseSettings
from shared.settings.load import load
from shared.store.connections import check_times, health, tokens
from shared.store.pool import transaction

log = structlog.get_logger()

SPREAD = timedelta(days=1)
OVERDUE = timedelta(hours=1)
UNASKED = timedelta(hours=48)
MAX_NUDGES = 1000
#: How long token_health may take to lease one of the overdue checks.
WAIT_SECONDS = 60.0
PAUSE_SECONDS = 0.5
PUBLISH_SECONDS = 5.0


class TokenHealthJobSettings(DatabaseSettings, BrokerSettings):
    pass


async def check_tokens() -> None:
    """Give a due time to connections that have none, nudge what is overdue by an hour, and count.

    It asks Meta nothing: token_health does. Raise JobFailed if nobody works on what is overdue, or
    if Meta has given no answer about some connection for 48 hours.
    """
    settings = load(TokenHealthJobSettings)
    await run_scheduled("token-health", settings, partial(_check_tokens, settings))


async def _check_tokens(settings: TokenHealthJobSettings, run: JobRun) -> None:
    async with transaction(run.pool) as conn:
        run.counts["given a due time"] = await check_times.give_due_times(conn, SPREAD)
        due = await check_times.overdue(conn, OVERDUE, MAX_NUDGES)
        run.counts["overdue"] = len(due)
        run.counts.update(await tokens.count_by_check(conn))
        unasked = await health.count_unasked(conn, UNASKED)
    if due:
        await _nudge(settings.rabbitmq_url.get_secret_value(), due)
        deadline = time.monotonic() + WAIT_SECONDS
        while True:
            async with transaction(run.pool) as conn:
                if await check_times.count_unworked(conn, due) < len(due):
                    break
            if time.monotonic() >= deadline:
                raise JobFailed(
                    f"{len(due)} checks of connections are overdue by an hour and nobody works on"
                    " them: check that token_health runs and is ready"
                )
            await asyncio.sleep(PAUSE_SECONDS)
    if unasked:
        raise JobFailed(
            f"Meta has given no answer about {unasked} connections for 48 hours: see the metric"
            " porteiro_token_checks_total and token_health's log"
        )


async def _nudge(url: str, waba_ids: Collection[str]) -> None:
    try:
        async with (
            await connect(url, "token-health") as amqp,
            amqp.channel(on_return_raises=True) as channel,
        ):
            for waba_id in waba_ids:
                nudge = encode_check_nudge(waba_id)
                await publish(channel, TOKEN_CHECKS, nudge, timeout=PUBLISH_SECONDS)
    except (AMQPError, BrokerLost, NotPublished, OSError, TimeoutError) as error:
        log.warning("token_health.broker_away", error=type(error).__qualname__)
