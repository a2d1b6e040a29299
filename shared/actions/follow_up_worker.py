"""Lease due follow-ups one at a time, attempt them, and record how each attempt ended."""

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

_HANDLERS: Mapping[FollowUpKind, Callable[[FollowUpContext, FollowUp], Awaitable[StepOutcome]]] = {
    "prove": prove, "provision": provision, "read": read, "disconnect": disconnect,
}  # fmt: skip
#: Records on the onboarding or the connection why its follow-up is blocked.
_RECORD_BLOCKED: Mapping[FollowUpKind, Callable[[Conn, str, str], Awaitable[None]]] = {
    "prove": record_blocked_proof, "provision": record_blocked_setup,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class FollowUpWorker:
    """Work on due follow-ups. Many processes may do so at once: each follow-up is leased by one."""

    context: FollowUpContext
    delays: Sequence[int]
    metrics: FollowUpMetrics

    async def work_once(self, *, overdue: timedelta = timedelta(0)) -> bool:
        """Lease one due follow-up and attempt its next step. Return False if nothing is due.

        Raise infrastructure errors. The follow-up is then released if possible, so an outage or a
        shutdown does not count as an attempt. If the process ends before that, the lease lapses and
        the attempt counts.
        """
        async with transaction(self.context.pool) as conn:
            leased = await due.lease(conn, "follow_up", overdue=overdue)
        if not leased.leases:
            return False
        crash_point("follow_up.leased")
        try:
            await self._attempt(leased)
        except follow_ups.LeaseLost:
            log.info("follow_up.lease_lost", count=len(leased.leases))
        except (Exception, asyncio.CancelledError) as error:
            is_stopping = isinstance(error, asyncio.CancelledError)
            if not is_stopping and not is_infrastructure(error):
                # A fault of ours: the lease lapses and the attempt counts, so that the follow-up
                # ends as `never_finished`.
                log.error("follow_up.crashed", count=len(leased.leases), exc_info=error)
                return True
            with suppress(Exception):
                async with transaction(self.context.pool) as conn:
                    await due.release(conn, leased)
            raise
        return True

    async def _attempt(self, leased: LeasedRows) -> None:
        async with transaction(self.context.pool) as conn:
            follow_up = await follow_ups.load(conn, leased.leases[0])
        if follow_up is None:
            return
        outcome = await self._run_step(follow_up)
        log_fields = {"follow_up_id": str(follow_up.id), "kind": follow_up.kind}
        if follow_up.kind != "prove":  # its subject is a tracking code, which is a secret
            log_fields["waba_id"] = follow_up.subject
        if isinstance(outcome, StepDone):
            self.metrics.ends.labels(follow_up.kind, "done").inc()
            log.info("follow_up.step_done", outcome=outcome.outcome, **log_fields)
            return
        end = await self._record_wait(follow_up, outcome)
        self.metrics.ends.labels(follow_up.kind, end).inc()
        level = logging.INFO if outcome.reason == AWAITING else logging.WARNING
        event = "follow_up.blocked" if end == "blocked" else "follow_up.put_off"
        log.log(level, event, reason=outcome.reason, **log_fields)

    async def _run_step(self, follow_up: FollowUp) -> StepOutcome:
        if follow_up.attempts > len(self.delays) + 1:
            return Blocked("never_finished")
        try:
            return await _HANDLERS[follow_up.kind](self.context, follow_up)
        except Undecryptable:
            return Blocked("undecryptable")
        except follow_ups.LeaseLost:
            raise
        except Exception as error:
            if is_infrastructure(error):
                raise
            reason = error.reason if isinstance(error, GraphError) else "failed"
            if reason == "failed":
                log.error("follow_up.failed", kind=follow_up.kind, exc_info=error)
            age = datetime.now(UTC) - follow_up.asked_at
            decision = after_failure(error, follow_up.attempts, self.delays, age=age)
            if isinstance(decision, RetryLater):
                return PutOff(decision.after_seconds, reason, is_counted=decision.is_counted)
            return decision

    async def _record_wait(self, follow_up: FollowUp, outcome: PutOff | Blocked) -> str:
        async with transaction(self.context.pool) as conn:
            if follow_up.kind != "prove":  # lock order: connection, onboarding, follow-up
                await connections.lock(conn, [follow_up.subject])
            if isinstance(outcome, Blocked) and follow_up.kind in _RECORD_BLOCKED:
                await _RECORD_BLOCKED[follow_up.kind](conn, follow_up.subject, outcome.reason)
            await follow_ups.fence(conn, follow_up)
            if isinstance(outcome, Blocked):
                await follow_ups.block(conn, follow_up, outcome.reason)
                return "blocked"
            after = timedelta(seconds=outcome.after_seconds)
            await follow_ups.put_off(
                conn, follow_up, after, outcome.reason, is_counted=outcome.is_counted
            )
            return "put_off"
