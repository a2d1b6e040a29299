"""Run a command of `porteiro` and turn its outcome into an exit code."""

import asyncio
import sys
from collections.abc import Coroutine, Iterable
from typing import Any

import asyncpg
import structlog
from aio_pika.exceptions import AMQPError

from shared.actions.errors import UseCaseError
from shared.broker.connect import BrokerLost
from shared.crypto import Undecryptable
from shared.errors import StartupRefused
from shared.process import telemetry
from shared.process.lifecycle import EXIT_REFUSED
from shared.store.errors import is_infrastructure

log = structlog.get_logger()

UNREACHABLE = (
    "a server could not be reached, refused, broke off or took too long: check DATABASE_URL,"
    " RABBITMQ_URL and that both are up"
)
UNDECRYPTABLE = (
    "the data was changed, or no key of the ring can open it: check the"
    " ..._ENCRYPTION_KEYS_PREVIOUS"
)


class UsageError(Exception):
    """The command cannot do what the operator typed.

    `faults` says what is wrong and what to do, one line each. They hold no secret.
    """

    def __init__(self, faults: Iterable[str]) -> None:
        self.faults = list(faults)
        super().__init__("; ".join(self.faults))


class JobFailed(Exception):
    """The job ran and could not do what it is for; the text says what to do. It holds no secret."""


def run_job(job: str, work: Coroutine[Any, Any, None]) -> None:
    """Run `work` to its end, log its failure, and exit. `job` is the service name in the log.

    Exit with 78 on a UsageError, a UseCaseError, a StartupRefused or data that no key opens. Exit
    with 1 on a JobFailed, and when a server could not be reached or refused a statement. Any other
    exception is raised unchanged.
    """
    telemetry.configure(job)
    try:
        asyncio.run(work)
    except (StartupRefused, UsageError) as refusal:
        for fault in refusal.faults:
            log.critical("job.refused", fault=fault)
        sys.exit(EXIT_REFUSED)
    except UseCaseError as error:
        log.critical("job.refused", fault=str(error))
        sys.exit(EXIT_REFUSED)
    except JobFailed as failure:
        log.critical("job.failed", fault=str(failure))
        sys.exit(1)
    except Undecryptable:
        log.critical("job.refused", fault=UNDECRYPTABLE)
        sys.exit(EXIT_REFUSED)
    except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
        is_unreachable = is_infrastructure(error)
        log.critical("job.failed", fault=UNREACHABLE if is_unreachable else None, exc_info=True)
        sys.exit(1)
    except (OSError, TimeoutError, AMQPError, BrokerLost) as error:
        cause = error.__cause__ or error
        log.critical("job.failed", fault=UNREACHABLE, error=type(cause).__qualname__)
        sys.exit(1)
