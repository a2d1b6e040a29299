"""A minute without RabbitMQ, then without PostgreSQL too, under a steady stream of webhooks."""

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
#: What has been in PostgreSQL for this long is processed.
CATCH_UP = timedelta(seconds=5)


class Outage:
    """The servers are frozen: nothing answers and nothing is refused, the worst way to be away."""

    seconds = BEFORE_SECONDS + BROKER_AWAY_SECONDS + ALL_AWAY_SECONDS

    def __init__(self) -> None:
        self._unprocessed = -1

    async def rage(self) -> None:
        await asyncio.sleep(BEFORE_SECONDS)
        self._signal("rabbitmq", signal.SIGSTOP)
        await asyncio.sleep(BROKER_AWAY_SECONDS)
        self._unprocessed = await _unprocessed()
        self._signal("postgresql", signal.SIGSTOP)
        await asyncio.sleep(ALL_AWAY_SECONDS)
        for victim in ("postgresql", "rabbitmq"):
            self._signal(victim, signal.SIGCONT)

    def summary(self, sent: Sequence[Sent]) -> str:
        slowest = max(one.seconds for one in self._with_database(sent))
        refused = sum(one.attempts > 1 for one in sent)
        return (
            f"{BROKER_AWAY_SECONDS} s without RabbitMQ: the slowest answer took {slowest:.2f} s;"
            f" {ALL_AWAY_SECONDS} s without PostgreSQL too: {refused:,} webhooks were refused and"
            " came again"
        )

    def faults(self, sent: Sequence[Sent]) -> list[str]:
        """What did not go as promised; `sent` at a steady rate over `seconds`."""
        late = sum(one.attempts > 1 or one.seconds >= 1.0 for one in self._with_database(sent))
        refused = sum(one.attempts > 1 for one in sent)
        return [
            fault
            for is_fault, fault in (
                (late, f"{late} webhooks were not answered 200 within 1 s while PostgreSQL was up"),
                (self._unprocessed, f"{self._unprocessed} were not processed without the broker"),
                (not refused, "nothing was refused while both were away"),
            )
            if is_fault
        ]

    def _with_database(self, sent: Sequence[Sent]) -> Sequence[Sent]:
        return sent[: len(sent) * (self.seconds - ALL_AWAY_SECONDS) // self.seconds]

    def _signal(self, victim: str, number: signal.Signals) -> None:
        process = psutil.Process(json.loads(STACK_FILE.read_text())["pids"][victim])
        for one in (process, *process.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):  # a backend may just have ended
                one.send_signal(number)


async def _unprocessed() -> int:
    database = await asyncpg.connect(json.loads(STACK_FILE.read_text())["database"])
    try:
        count: int = await database.fetchval(
            """
            SELECT count(*) FROM webhook_log
            WHERE NOT processed AND received_at < now() - $1::interval
            """,
            CATCH_UP,
        )
        return count
    finally:
        await database.close()
