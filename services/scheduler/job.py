"""How a job ends: its exit code says what became of it."""

import asyncio
import sys
from collections.abc import Coroutine
from typing import Any

import asyncpg
import structlog
from aio_pika.exceptions import AMQPError

from shared import telemetry
from shared.broker.link import LinkLost
from shared.lifecycle import EXIT_REFUSED, Refusal

log = structlog.get_logger()

UNREACHABLE = (
    "a server could not be reached in time: check DATABASE_URL, RABBITMQ_URL and that they are up"
)


def run_job(job: str, work: Coroutine[Any, Any, None]) -> None:
    """Exit 78 on a Refusal, 1 when a server could not be reached or did not obey."""
    telemetry.configure(job)
    try:
        asyncio.run(work)
    except Refusal as refusal:
        for fault in refusal.faults:
            log.critical("job.refused", fault=fault)
        sys.exit(EXIT_REFUSED)
    except (OSError, TimeoutError, AMQPError, LinkLost) as error:
        log.critical("job.failed", fault=UNREACHABLE, error=type(error).__qualname__)
        sys.exit(1)
    except asyncpg.PostgresError:
        log.critical("job.failed", exc_info=True)
        sys.exit(1)
