"""Lease due checks and make them: several at a time, each for itself."""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog
from aio_pika.abc import AbstractIncomingMessage

from services.token_health.metrics import TokenHealthMetrics
from services.token_health.suspension import Suspension
from shared.actions.connection_checks import check_connection
from shared.actions.token_renewal import renew_token
from shared.crypto import KeyRing
from shared.graph.client import Graph
from shared.messages import decode_check_nudge
from shared.process.crash_points import crash_point
from shared.store.connections import check_times
from shared.store.errors import is_infrastructure
from shared.store.pool import Pool, transaction

log = structlog.get_logger()

#: Checks at a time. Each waits for Meta most of its time.
BATCH = 20


@dataclass(frozen=True, slots=True)
class CheckWorker:
    """Make the checks that are due. Many processes may do so at once: a check is leased by one."""

    pool: Pool
    ring: KeyRing
    graph: Graph
    metrics: TokenHealthMetrics
    suspension: Suspension

    async def work_once(self) -> bool:
        """Lease a batch and make its checks. Return False if nothing is due.

        Raise infrastructure errors. A check that did not end is due again when its lease lapses.
        """
        async with transaction(self.pool) as conn:
            waba_ids = await check_times.lease(conn, BATCH)
        if not waba_ids:
            return False
        crash_point("check.leased")
        ends = await asyncio.gather(*map(self._check, waba_ids), return_exceptions=True)
        failures = [end for end in ends if isinstance(end, BaseException)]
        for failure in failures:
            if not is_infrastructure(failure):
                log.error("check.failed", exc_info=failure)
        for failure in failures:
            if is_infrastructure(failure):
                raise failure
        return True

    async def make_due(self, message: AbstractIncomingMessage) -> None:
        """Let the connection that the nudge names be checked now."""
        waba_id = decode_check_nudge(message.body)
        if waba_id is None:
            return
        async with transaction(self.pool) as conn:
            await check_times.make_due(conn, [waba_id])

    async def _check(self, waba_id: str) -> None:
        result = await check_connection(self.pool, self.ring, self.graph, waba_id)
        self.metrics.checks.labels(result.outcome).inc()
        if result.is_suspended:
            self.suspension.note()
            return
        subject = result.subject
        if subject is None or result.outcome in ("unasked", "doubted"):
            return
        if subject.health.is_renewable(datetime.now(UTC)):
            is_renewed = await renew_token(self.pool, self.ring, self.graph, subject)
            self.metrics.renewals.labels("renewed" if is_renewed else "not").inc()
            if is_renewed:
                log.info("token.renewed", waba_id=waba_id)
