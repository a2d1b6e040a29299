"""Run a command of `porteiro` and turn its outcome into an exit code."""

import asyncio
import logging
import sys
from collections.abc import Coroutine, Iterable
from typing import Any

from services.scheduler.answers import answer_fault
from services.scheduler.faults import EXIT_FAILED, explain
from shared.actions.errors import UseCaseError
from shared.crypto import Undecryptable
from shared.errors import StartupRefused
from shared.process import telemetry
from shared.process.lifecycle import EXIT_REFUSED

UNDECRYPTABLE = (
    "the data was changed, or none of the keys given can open it: check the"
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


def run_job(
    job: str, work: Coroutine[Any, Any, None], *, server_setting: str = "DATABASE_URL"
) -> None:
    """Run `work` to its end, say its failure, and exit. `job` is the service name in the log.

    Exit with 78 on a UsageError, a UseCaseError, a StartupRefused, a wrong setting or data that no
    key opens. Exit with 1 on a JobFailed, and on a fault of the server that `server_setting` names.
    Any other exception is raised unchanged.
    """
    # On a terminal an answer is a sentence: only what is wrong is logged there.
    telemetry.configure(job, logging.WARNING if sys.stdout.isatty() else logging.INFO)
    try:
        asyncio.run(work)
    except (StartupRefused, UsageError) as refusal:
        _refuse(*refusal.faults)
    except UseCaseError as error:
        _refuse(str(error))
    except Undecryptable:
        _refuse(UNDECRYPTABLE)
    except JobFailed as failure:
        answer_fault("job.failed", str(failure))
        sys.exit(EXIT_FAILED)
    except Exception as error:  # a driver may raise anything
        fault = explain(error, server_setting)
        if fault is None:
            raise
        event = "job.refused" if fault.exit_code == EXIT_REFUSED else "job.failed"
        answer_fault(event, fault.text, exc_info=error)
        sys.exit(fault.exit_code)


def _refuse(*faults: str) -> None:
    for fault in faults:
        answer_fault("job.refused", fault)
    sys.exit(EXIT_REFUSED)
