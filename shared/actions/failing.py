"""A try failed for its own sake: its row is tried again later, or dead with a letter."""

from collections.abc import Sequence
from datetime import timedelta

import structlog

from shared.actions.metrics import WorkMetrics
from shared.domain.retrying import Blame, Die, decide, describe
from shared.messages import Nudge
from shared.store import changes, dead_letters, due, webhooks
from shared.store.due import Claim
from shared.store.pool import Connection

log = structlog.get_logger()


class Failing:
    """`delays`: the seconds before each retry. What a method returns is to be sent after commit."""

    def __init__(self, delays: Sequence[int], metrics: WorkMetrics) -> None:
        self._delays = delays
        self._metrics = metrics

    async def fail_change(
        self, connection: Connection, claim: Claim, error: Exception
    ) -> Nudge | None:
        """The claimed change is locked by the caller's transaction."""
        after, blame = self._verdict(error, claim)
        await changes.fail(connection, claim, describe(error), _timedelta(after))
        log.warning(
            "change.failed", change_id=claim.id, attempt=claim.attempts, reason=describe(error)
        )
        if blame is not None:
            await dead_letters.add_changes(connection, [claim.id], blame)
        return self._count("change", claim, after, blame)

    async def fail_webhook(
        self, connection: Connection, claim: Claim, error: Exception
    ) -> Nudge | None:
        """Nothing is done where the claim is void."""
        after, blame = self._verdict(error, claim)
        if not await webhooks.fail(connection, claim, describe(error), _timedelta(after)):
            return None
        log.warning(
            "webhook.failed", webhook_id=claim.id, attempt=claim.attempts, reason=describe(error)
        )
        if blame is not None:
            await dead_letters.add_webhooks(connection, [claim.id], blame)
        return self._count("webhook", claim, after, blame)

    async def bury_exhausted(self, connection: Connection) -> None:
        """Give up what was claimed for its last try and never finished."""
        found = await due.exhausted(connection, max_attempts=len(self._delays) + 1)
        reason = "never finished: it ends whoever tries it"
        for claim in found.webhooks:
            await webhooks.fail(connection, claim, reason, None)
            await dead_letters.add_webhooks(connection, [claim.id], "poison")
            self._count("webhook", claim, None, "poison")
            log.error("webhook.dead", webhook_id=claim.id, reason=reason)
        for claim in found.changes:
            await changes.fail(connection, claim, reason, None)
            await dead_letters.add_changes(connection, [claim.id], "poison")
            self._count("change", claim, None, "poison")
            log.error("change.dead", change_id=claim.id, reason=reason)

    def _verdict(self, error: Exception, claim: Claim) -> tuple[int | None, Blame | None]:
        verdict = decide(error, claim.attempts, self._delays)
        if isinstance(verdict, Die):
            return None, verdict.blame
        return verdict.after_seconds, None

    def _count(
        self, kind: str, claim: Claim, after: int | None, blame: Blame | None
    ) -> Nudge | None:
        self._metrics.failures.labels(kind, "retry" if blame is None else "dead").inc()
        if blame is not None:
            self._metrics.dead_letters.labels(kind, blame).inc()
        return None if after is None else Nudge(claim.id, claim.attempts + 1, after)


def _timedelta(seconds: int | None) -> timedelta | None:
    return None if seconds is None else timedelta(seconds=seconds)
