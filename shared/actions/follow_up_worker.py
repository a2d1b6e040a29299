"""Follow-ups: claimed one at a time, tried against Meta, and what becomes of each try."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import structlog

from shared.actions.connection_reads import read
from shared.actions.disconnection import disconnect
from shared.actions.follow_up_context import FollowUpContext, PutOff, StepDone, StepOutcome
from shared.actions.metrics import FollowUpMetrics
from shared.actions.onboarding_proof import prove, record_blocked_proof
from shared.actions.provisioning import AWAITING, provision, record_blocked_setup
from shared.crypto import Undecryptable
from shared.domain.graph_errors import GraphError
from shared.domain.provisioning import Blocked, RetryLater, after_failure
from shared.process.crash_points import crash_point
from shared.store import due
from shared.store.connections import connections, follow_ups
from shared.store.connections.follow_ups import FollowUp, FollowUpKind
from shared.store.due import LeasedRows
from shared.store.errors import is_infrastructure
from shared.store.pool import Conn, transaction

log = structlog.get_logger()

_RUNS: Mapping[FollowUpKind, Callable[[FollowUpContext, FollowUp], Awaitable[StepOutcome]]] = {
    "prove": prove, "provision": provision, "read": read, "disconnect": disconnect,
}  # fmt: skip
#: Tells the onboarding or the connection why its follow-up is blocked.
_NOTES: Mapping[FollowUpKind, Callable[[Conn, str, str], Awaitable[None]]] = {
    "prove": record_blocked_proof, "provision": record_blocked_setup,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class FollowUpWorker:
    """Safe to be worked by many processes at once: each follow-up is claimed by one of them."""

    context: FollowUpContext
    delays: Sequence[int]
    metrics: FollowUpMetrics

    async def work_once(self, *, overdue: timedelta = timedelta(0)) -> bool:
        """Take one that is due a step further; False: nothing is due.

        Raises PostgreSQL's own errors, and then hands the claim back if it can: an outage is no
        try. Where the process ends before, the lease lapses and the try counts.
        """
        async with transaction(self.context.pool) as conn:
            leased = await due.lease(conn, "follow_up", overdue=overdue)
        if not leased.leases:
            return False
        crash_point("follow_up.leased")
        try:
            await self._work(leased)
        except follow_ups.LeaseLost:
            log.info("follow_up.lease_lost", count=len(leased.leases))
        except (Exception, asyncio.CancelledError) as error:
            is_told_to_stop = isinstance(error, asyncio.CancelledError)
            if not is_told_to_stop and not is_infrastructure(error):
                # A fault of ours: the claim lapses and counts, so it ends as `never_finished`.
                log.error("follow_up.lease_lapses", count=len(leased.leases), exc_info=error)
                return True
            with suppress(Exception):
                async with transaction(self.context.pool) as conn:
                    await due.release(conn, leased)
            raise
        return True

    async def _work(self, leased: LeasedRows) -> None:
        async with transaction(self.context.pool) as conn:
            one = await follow_ups.load(conn, leased.leases[0])
        if one is None:
            return
        outcome = await self._try(one)
        names = {"follow_up_id": str(one.id)}
        if one.kind != "prove":  # whose subject, a tracking code, is a secret
            names["waba_id"] = one.subject
        if isinstance(outcome, StepDone):
            self.metrics.ends.labels(one.kind, "done").inc()
            log.info("follow_up.step_done", kind=one.kind, outcome=outcome.what, **names)
            return
        end = await self._keep(one, outcome)
        self.metrics.ends.labels(one.kind, end).inc()
        level = logging.INFO if outcome.reason == AWAITING else logging.WARNING
        names |= {"kind": one.kind, "outcome": end, "reason": outcome.reason}
        log.log(level, "follow_up.waits", **names)

    async def _try(self, one: FollowUp) -> StepOutcome:
        if one.attempts > len(self.delays) + 1:
            return Blocked("never_finished")
        try:
            return await _RUNS[one.kind](self.context, one)
        except Undecryptable:
            return Blocked("undecryptable")
        except follow_ups.LeaseLost:
            raise
        except Exception as error:
            if is_infrastructure(error):
                raise
            reason = error.reason if isinstance(error, GraphError) else "failed"
            if reason == "failed":
                log.error("follow_up.failed", kind=one.kind, exc_info=error)
            age = datetime.now(UTC) - one.asked_at
            after = after_failure(error, one.attempts, self.delays, age=age)
            if isinstance(after, RetryLater):
                return PutOff(after.after_seconds, reason, is_try=after.is_try)
            return after

    async def _keep(self, one: FollowUp, outcome: PutOff | Blocked) -> str:
        async with transaction(self.context.pool) as conn:
            if one.kind != "prove":  # the locks' order: connection, onboarding, follow-up
                await connections.lock(conn, [one.subject])
            if isinstance(outcome, Blocked) and one.kind in _NOTES:
                await _NOTES[one.kind](conn, one.subject, outcome.reason)
            await follow_ups.fence(conn, one)
            if isinstance(outcome, Blocked):
                await follow_ups.block(conn, one, outcome.reason)
                return "blocked"
            after = timedelta(seconds=outcome.after_seconds)
            await follow_ups.put_off(conn, one, after, outcome.reason, is_try=outcome.is_try)
            return "put_off"
