"""How a job ends: its exit code says what became of it."""

import asyncio
import sys
from collections.abc import Coroutine
from typing import Any

import asyncpg
import structlog
from aio_pika.exceptions import AMQPError

from shared.broker.connect import BrokerLost
from shared.crypto import Undecryptable
from shared.errors import StartupRefused
from shared.process import telemetry
from shared.process.lifecycle import EXIT_REFUSED
from shared.store.errors import is_infrastructure

log = structlog.get_logger()

UNREACHABLE = (
    "a server could not be reached in time: check DATABASE_URL, RABBITMQ_URL and that they are up"
)
UNDECRYPTABLE = (
    "it is sealed under no key of the ring, or was changed: check the ..._ENCRYPTION_KEYS_PREVIOUS"
)


def run_job(job: str, work: Coroutine[Any, Any, None]) -> None:
    """Exit 78 on a Refusal or a missing key, 1 when a server could not be reached or did not
    obey."""
    telemetry.configure(job)
    try:
        asyncio.run(work)
    except StartupRefused as refusal:
        for fault in refusal.faults:
            log.critical("job.refused", fault=fault)
        sys.exit(EXIT_REFUSED)
    except Undecryptable:
        log.critical("job.refused", fault=UNDECRYPTABLE)
        sys.exit(EXIT_REFUSED)
    except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
        is_away = is_infrastructure(error)
        log.critical("job.failed", fault=UNREACHABLE if is_away else None, exc_info=True)
        sys.exit(1)
    except (OSError, TimeoutError, AMQPError, BrokerLost) as error:
        log.critical("job.failed", fault=UNREACHABLE, error=type(error).__qualname__)
        sys.exit(1)
