"""A try failed for its own sake: its row is tried again later, or dead with a letter."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal
from uuid import UUID

import structlog

from shared.actions.metrics import IntakeMetrics
from shared.domain.retries import Blame, GiveUp, decide, describe
from shared.messages import Nudge
from shared.store.due import Lease
from shared.store.intake import changes, dead_letters, webhooks
from shared.store.pool import Conn

log = structlog.get_logger()

#: What killed whoever tried it left no error of its own.
_NEVER_FINISHED = "never finished: it ends whoever tries it"


@dataclass(frozen=True, slots=True)
class Failure:
    """A failed try as its row says. `after` is the seconds until the next; None where it died."""

    kind: Literal["change", "webhook"]
    id: UUID
    attempt: int
    reason: str
    after: int | None
    blame: Blame | None
    error: Exception | None = None


class FailureRecorder:
    """`delays`: the seconds before each retry. What a method returns is to be told after commit."""

    def __init__(self, delays: Sequence[int], metrics: IntakeMetrics) -> None:
        self._delays = delays
        self._metrics = metrics

    def is_exhausted(self, lease: Lease) -> bool:
        """Whether every try it has was begun before this claim, and the last never finished."""
        return lease.attempts > len(self._delays) + 1

    async def fail_change(self, conn: Conn, lease: Lease, error: Exception) -> Failure:
        """The claimed change is locked by the caller's transaction."""
        after, blame = self._verdict(error, lease)
        await changes.fail(conn, lease, describe(error), _timedelta(after))
        if blame is not None:
            await dead_letters.add_changes(conn, [lease.id], blame)
        return Failure("change", lease.id, lease.attempts, describe(error), after, blame, error)

    async def fail_webhook(self, conn: Conn, lease: Lease, error: Exception) -> list[Failure]:
        """Empty, and nothing is done, where the claim is void."""
        after, blame = self._verdict(error, lease)
        if not await webhooks.fail(conn, lease, describe(error), _timedelta(after)):
            return []
        if blame is not None:
            await dead_letters.add_webhooks(conn, [lease.id], blame)
        return [Failure("webhook", lease.id, lease.attempts, describe(error), after, blame, error)]

    async def give_up_change(self, conn: Conn, last: Lease) -> list[Failure]:
        """Give up a change whose last try never finished, if it is still as that try left it."""
        if await changes.load_leased(conn, last) is None:
            return []
        await changes.fail(conn, last, _NEVER_FINISHED, None)
        await dead_letters.add_changes(conn, [last.id], "poison")
        return [Failure("change", last.id, last.attempts, _NEVER_FINISHED, None, "poison")]

    async def give_up_webhook(self, conn: Conn, last: Lease) -> list[Failure]:
        """Likewise for a webhook."""
        if not await webhooks.fail(conn, last, _NEVER_FINISHED, None):
            return []
        await dead_letters.add_webhooks(conn, [last.id], "poison")
        return [Failure("webhook", last.id, last.attempts, _NEVER_FINISHED, None, "poison")]

    def report(self, failures: Iterable[Failure]) -> list[Nudge]:
        """Log and count what is committed; the nudges to send."""
        nudges = []
        for one in failures:
            self._metrics.failures.labels(one.kind, "dead" if one.after is None else "retry").inc()
            told = {f"{one.kind}_id": one.id, "attempt": one.attempt, "reason": one.reason}
            if one.after is None:
                self._metrics.dead_letters.labels(one.kind, one.blame).inc()
                log.error("attempt.failed_for_good", exc_info=one.error, **told)
            else:
                log.warning("attempt.failed", exc_info=one.error, **told)
                nudges.append(Nudge(one.id, one.attempt + 1, one.after))
        return nudges

    def _verdict(self, error: Exception, lease: Lease) -> tuple[int | None, Blame | None]:
        verdict = decide(error, lease.attempts, self._delays)
        if isinstance(verdict, GiveUp):
            return None, verdict.blame
        return verdict.after_seconds, None


def _timedelta(seconds: int | None) -> timedelta | None:
    return None if seconds is None else timedelta(seconds=seconds)
