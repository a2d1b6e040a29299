"""Store each message of the queue `dead` as a dead letter: one past the delivery limit, or a broken
bundle that we rejected."""

import re
from typing import Any

import structlog
from aio_pika.abc import AbstractIncomingMessage

from services.processor.intake.metrics import IntakeMetrics
from shared.broker.topology import WORK_QUEUES
from shared.crypto import KeyRing
from shared.domain.retries import Blame
from shared.process.crash_points import crash_point
from shared.store.intake import dead_letters
from shared.store.pool import Pool, transaction

log = structlog.get_logger()

_REASON = re.compile(r"[a-z_]{1,32}")


class DeadQueueConsumer:
    def __init__(self, pool: Pool, ring: KeyRing, metrics: IntakeMetrics) -> None:
        self._pool = pool
        self._ring = ring
        self._metrics = metrics

    async def store(self, message: AbstractIncomingMessage) -> None:
        """Store a dead letter with the message's bytes, without parsing them. Idempotent."""
        reason, queue = _reason_and_queue(message.headers.get("x-death"))
        blame: Blame = "poison" if reason == "delivery_limit" else "ours"
        async with transaction(self._pool) as conn:
            letter_id = await dead_letters.add_message(
                conn, self._ring, message.body, f"{reason}: given up in {queue}", blame
            )
        crash_point("dead_queue.stored")
        if letter_id is not None:
            self._metrics.dead_letters.labels("message", blame).inc()
        log.error("message.dead", queue=queue, reason=reason, letter_id=letter_id)


def _reason_and_queue(header: Any) -> tuple[str, str]:
    """Return why the broker gave the message up, and from which queue, by its x-death header.

    Return "unknown" for any other value: a publisher could have written the header.
    """
    first = header[0] if isinstance(header, list) and header else {}
    death = first if isinstance(first, dict) else {}
    reason, queue = str(death.get("reason")), str(death.get("queue"))
    return (
        reason if _REASON.fullmatch(reason) else "unknown",
        queue if queue in WORK_QUEUES else "unknown",
    )
