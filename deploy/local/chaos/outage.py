"""Freeze RabbitMQ for a minute, then PostgreSQL too, while webhooks come at a steady rate."""

import asyncio
import json
import signal
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta

import asyncpg
import psutil

from deploy.local.simulated_meta.sender import Sent
from deploy.local.stack.stack import STACK_FILE

BEFORE_SECONDS = 5
BROKER_AWAY_SECONDS = 60
ALL_AWAY_SECONDS = 15
#: Every webhook must be processed this long after it was received, also without RabbitMQ.
CATCH_UP = timedelta(seconds=5)


class Outage:
    """Inject a fixed sequence of faults.

    The servers are frozen, not stopped: they neither answer nor refuse. This is the worst kind of
    outage.
    """

    seconds = BEFORE_SECONDS + BROKER_AWAY_SECONDS + ALL_AWAY_SECONDS

    def __init__(self) -> None:
        self._unprocessed = -1

    async def run(self) -> None:
        await asyncio.sleep(BEFORE_SECONDS)
        self._signal("rabbitmq", signal.SIGSTOP)
        await asyncio.sleep(BROKER_AWAY_SECONDS)
        self._unprocessed = await _count_unprocessed()
        self._signal("postgresql", signal.SIGSTOP)
        await asyncio.sleep(ALL_AWAY_SECONDS)
        for victim in ("postgresql", "rabbitmq"):
            self._signal(victim, signal.SIGCONT)

    def summary(self, sent: Sequence[Sent]) -> str:
        slowest = max(webhook.seconds for webhook in self._with_database(sent))
        refused = sum(webhook.attempts > 1 for webhook in sent)
        return (
            f"{BROKER_AWAY_SECONDS} s without RabbitMQ: the slowest answer took {slowest:.2f} s;"
            f" {ALL_AWAY_SECONDS} s without PostgreSQL too: {refused:,} webhooks were refused and"
            " sent again"
        )

    def failures(self, sent: Sequence[Sent]) -> list[str]:
        """Return the broken promises. `sent` must have a steady rate over `seconds`."""
        late = sum(
            webhook.attempts > 1 or webhook.seconds >= 1.0 for webhook in self._with_database(sent)
        )
        refused = sum(webhook.attempts > 1 for webhook in sent)
        return [
            failure
            for has_failed, failure in (
                (late, f"{late} webhooks were not answered 200 within 1 s while PostgreSQL was up"),
                (
                    self._unprocessed,
                    f"{self._unprocessed} webhooks were not processed while RabbitMQ was away",
                ),
                (not refused, "no webhook was refused while both servers were away"),
            )
            if has_failed
        ]

    def _with_database(self, sent: Sequence[Sent]) -> Sequence[Sent]:
        """Return the webhooks that were first sent before PostgreSQL was frozen."""
        return sent[: len(sent) * (self.seconds - ALL_AWAY_SECONDS) // self.seconds]

    def _signal(self, victim: str, number: signal.Signals) -> None:
        process = psutil.Process(json.loads(STACK_FILE.read_text())["pids"][victim])
        for target in (process, *process.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):  # a backend may just have ended
                target.send_signal(number)


async def _count_unprocessed() -> int:
    conn = await asyncpg.connect(json.loads(STACK_FILE.read_text())["database"])
    try:
        count: int = await conn.fetchval(
            """
            SELECT count(*) FROM webhook_log
            WHERE received_at < now() - $1::interval AND (state = 'unsplit' OR EXISTS (
                SELECT FROM webhook_changes
                WHERE webhook_id = webhook_log.id
                    AND webhook_changes.state IN ('pending', 'failed')
            ))
            """,
            CATCH_UP,
        )
        return count
    finally:
        await conn.close()
