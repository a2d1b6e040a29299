"""Record failed attempts: schedule a retry of the row, or mark it dead and add a dead letter."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal
from uuid import UUID

import structlog

from services.processor.intake.metrics import IntakeMetrics
from shared.domain.retries import Blame, GiveUp, decide, describe
from shared.messages import Nudge
from shared.store.due import Lease
from shared.store.intake import changes, dead_letters, webhooks
from shared.store.pool import Conn

log = structlog.get_logger()

#: The error of a row whose every attempt ended its process, so that none left an error.
_NEVER_FINISHED = "never_finished: every attempt ended its process"


@dataclass(frozen=True, slots=True)
class Failure:
    """A failed attempt, as recorded on its row. `after` is the seconds to the retry; None: dead,
    and `letter_id` is its dead letter."""

    kind: Literal["change", "webhook"]
    id: UUID
    attempt: int
    reason: str
    after: int | None
    blame: Blame | None
    letter_id: UUID | None = None
    error: Exception | None = None


class FailureRecorder:
    """Records failed attempts in the caller's transaction.

    `retry_seconds` is the delay before each retry. Pass the failures that a method returns to
    `report` after the commit.
    """

    def __init__(self, retry_seconds: Sequence[int], metrics: IntakeMetrics) -> None:
        self._retry_seconds = retry_seconds
        self._metrics = metrics

    def is_exhausted(self, lease: Lease) -> bool:
        """Return whether the row used all its attempts and the last of them never finished."""
        return lease.attempts > len(self._retry_seconds) + 1

    async def fail_change(self, conn: Conn, lease: Lease, error: Exception) -> Failure:
        """Record a failed attempt of a change that the caller's transaction has locked."""
        after, blame = self._decide(error, lease)
        await changes.fail(conn, lease, describe(error), _timedelta(after))
        letter_id = None
        if blame is not None:
            letter_id = _only(await dead_letters.add_changes(conn, [lease.id], blame))
        return Failure(
            "change", lease.id, lease.attempts, describe(error), after, blame, letter_id, error
        )

    async def fail_webhook(self, conn: Conn, lease: Lease, error: Exception) -> list[Failure]:
        """Record a failed attempt of a webhook. If the lease is void, do nothing and return []."""
        after, blame = self._decide(error, lease)
        if not await webhooks.fail(conn, lease, describe(error), _timedelta(after)):
            return []
        letter_id = None
        if blame is not None:
            letter_id = _only(await dead_letters.add_webhooks(conn, [lease.id], blame))
        return [
            Failure(
                "webhook", lease.id, lease.attempts, describe(error), after, blame, letter_id, error
            )
        ]

    async def give_up_change(self, conn: Conn, last: Lease) -> list[Failure]:
        """Give up a change whose last attempt never finished, unless it was attempted since."""
        if await changes.load_leased(conn, last) is None:
            return []
        await changes.fail(conn, last, _NEVER_FINISHED, None)
        letter_id = _only(await dead_letters.add_changes(conn, [last.id], "poison"))
        return [
            Failure("change", last.id, last.attempts, _NEVER_FINISHED, None, "poison", letter_id)
        ]

    async def give_up_webhook(self, conn: Conn, last: Lease) -> list[Failure]:
        """Give up a webhook whose last attempt never finished, unless it was attempted since."""
        if not await webhooks.fail(conn, last, _NEVER_FINISHED, None):
            return []
        letter_id = _only(await dead_letters.add_webhooks(conn, [last.id], "poison"))
        return [
            Failure("webhook", last.id, last.attempts, _NEVER_FINISHED, None, "poison", letter_id)
        ]

    def report(self, failures: Iterable[Failure]) -> list[Nudge]:
        """Log and count committed failures. Return the nudges to send."""
        nudges = []
        for failure in failures:
            outcome = "dead" if failure.after is None else "retry"
            self._metrics.failures.labels(failure.kind, outcome).inc()
            log_fields = {
                f"{failure.kind}_id": failure.id,
                "attempt": failure.attempt,
                "reason": failure.reason,
            }
            if failure.after is None:
                self._metrics.dead_letters.labels(failure.kind, failure.blame).inc()
                log.error(
                    "attempt.gave_up",
                    letter_id=failure.letter_id,
                    exc_info=failure.error,
                    **log_fields,
                )
            else:
                log.warning("attempt.failed", exc_info=failure.error, **log_fields)
                nudges.append(Nudge(failure.id, failure.attempt + 1, failure.after))
        return nudges

    def _decide(self, error: Exception, lease: Lease) -> tuple[int | None, Blame | None]:
        decision = decide(error, lease.attempts, self._retry_seconds)
        if isinstance(decision, GiveUp):
            return None, decision.blame
        return decision.after_seconds, None


def _only(letter_ids: Sequence[UUID]) -> UUID | None:
    """Return the new letter's id; None if there was an open letter already."""
    return letter_ids[0] if letter_ids else None


def _timedelta(seconds: int | None) -> timedelta | None:
    return None if seconds is None else timedelta(seconds=seconds)
