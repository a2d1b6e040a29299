"""Lease due follow-ups one at a time, attempt them, and record how each attempt ended."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial

import structlog

from services.processor.follow_ups.context import FollowUpHandler, PutOff, StepDone, StepOutcome
from services.processor.follow_ups.metrics import FollowUpMetrics
from services.processor.quarantine import Quarantine
from shared.crypto import Undecryptable
from shared.domain.graph_errors import GraphError
from shared.domain.provisioning import AWAITING_WEBHOOK, Blocked, RetryLater, after_failure
from shared.process.crash_points import crash_point
from shared.store import due
from shared.store.connections import follow_ups
from shared.store.connections.follow_ups import FollowUp, FollowUpKind
from shared.store.due import LeasedRows
from shared.store.errors import NotConnected, is_infrastructure
from shared.store.pool import Pool, transaction

log = structlog.get_logger()

#: When a follow-up that is awaited is attempted again, though only a person may mend what stops it.
AWAITED = timedelta(minutes=5)


@dataclass(slots=True)
class FollowUpWorker:
    """Work on due follow-ups of these kinds, the first kind first; other kinds stay as they are.

    Each kind has a handler. Many workers may do so at once: each follow-up is leased by one.
    """

    pool: Pool
    handlers: Mapping[FollowUpKind, FollowUpHandler]
    retry_seconds: Sequence[int]
    metrics: FollowUpMetrics
    kinds: Sequence[FollowUpKind] = ()
    _quarantine: Quarantine[LeasedRows] = field(init=False)

    def __post_init__(self) -> None:
        kinds = self.kinds or list(self.handlers)
        self._quarantine = Quarantine(
            "follow_up",
            partial(due.lease_follow_up, kinds=kinds),
            partial(due.first_due_follow_up, kinds=kinds),
        )

    async def work_once(self) -> bool:
        """Lease one due follow-up and attempt its next step. Return False if nothing is due.

        Raise infrastructure errors. The follow-up is then released if possible, so an outage or a
        shutdown does not count as an attempt; it rests longer each time. If the process ends before
        that, the lease lapses and the attempt counts.
        """
        leased = await self._quarantine.lease(self.pool)
        if not leased.leases:
            return False
        crash_point("follow_up.leased")
        try:
            await self._attempt(leased)
        except follow_ups.LeaseLost:
            log.info("follow_up.lease_lost", follow_up_id=str(leased.leases[0].id))
            async with transaction(self.pool) as conn:
                await follow_ups.end_lease(conn, leased.leases[0].id, leased.lease_until)
        except (Exception, asyncio.CancelledError) as error:
            is_stopping = isinstance(error, asyncio.CancelledError)
            if not is_stopping and not is_infrastructure(error):
                # A fault of ours: the lease lapses and the attempt counts, so that the follow-up
                # ends as `never_finished`.
                follow_up_id = str(leased.leases[0].id)
                log.error("follow_up.crashed", follow_up_id=follow_up_id, exc_info=error)
                return True
            with suppress(Exception):
                async with transaction(self.pool) as conn:
                    is_counted = not is_stopping and not isinstance(error, NotConnected)
                    await due.release(conn, leased, is_interrupted=is_counted)
            raise
        return True

    async def _attempt(self, leased: LeasedRows) -> None:
        async with transaction(self.pool) as conn:
            follow_up = await follow_ups.load(conn, leased.leases[0])
        if follow_up is None:  # it was closed since
            raise follow_ups.LeaseLost
        outcome = await self._run_step(follow_up)
        log_fields = {"follow_up_id": str(follow_up.id), "kind": follow_up.kind}
        if follow_up.kind != "prove":  # the version before wrote a tracking code there, a secret
            log_fields["waba_id"] = follow_up.subject
        if isinstance(outcome, StepDone):
            self.metrics.ends.labels(follow_up.kind, "done").inc()
            log.info("follow_up.step_done", outcome=outcome.outcome, **log_fields)
            return
        end = await self._record_wait(follow_up, outcome)
        self.metrics.ends.labels(follow_up.kind, end).inc()
        level = logging.INFO if outcome.reason == AWAITING_WEBHOOK else logging.WARNING
        event = "follow_up.blocked" if end == "blocked" else "follow_up.put_off"
        log.log(level, event, reason=outcome.reason, **log_fields)

    async def _run_step(self, follow_up: FollowUp) -> StepOutcome:
        if follow_up.attempts > len(self.retry_seconds) + 1:
            return Blocked("never_finished")
        try:
            return await self.handlers[follow_up.kind].run(follow_up)
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
            decision = after_failure(error, follow_up.attempts, self.retry_seconds, age=age)
            if isinstance(decision, RetryLater):
                return PutOff(decision.after_seconds, reason, is_counted=decision.is_counted)
            return decision

    async def _record_wait(self, follow_up: FollowUp, outcome: PutOff | Blocked) -> str:
        async with transaction(self.pool) as conn:
            handler = self.handlers[follow_up.kind]
            if isinstance(outcome, Blocked) and handler.record_blocked is not None:
                await handler.record_blocked(conn, follow_up.subject, outcome.reason)
            await follow_ups.fence(conn, follow_up)  # lock order: what it is about, follow-up
            if isinstance(outcome, Blocked):
                if handler.is_awaited and await handler.is_awaited(conn, follow_up.subject):
                    await follow_ups.start_over(conn, follow_up, AWAITED, outcome.reason)
                    return "put_off"
                await follow_ups.block(conn, follow_up, outcome.reason)
                return "blocked"
            after = timedelta(seconds=outcome.after_seconds)
            await follow_ups.put_off(
                conn, follow_up, after, outcome.reason, is_counted=outcome.is_counted
            )
            return "put_off"
