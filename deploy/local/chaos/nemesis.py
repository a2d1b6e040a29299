"""Kill and freeze the processes of a stack at random; a seed makes the sequence repeatable.

Nemesis is Jepsen's word for the process that injects faults.
"""

import asyncio
import json
import operator
import random
import signal
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import asyncpg
import psutil
from tenacity import AsyncRetrying, retry_if_result, wait_fixed

from deploy.local.simulated_meta.sender import Sent
from deploy.local.stack.stack import STACK_FILE

VICTIMS = ("ingress", "processor", "rabbitmq", "postgresql", "redis")
#: The pause between two faults.
PAUSE_SECONDS = (1.0, 5.0)
#: How long a process stays frozen. The maximum is longer than every deadline of ours except the
#: longest two: PostgreSQL's for an idle transaction, the broker's for an acknowledgement.
FROZEN_SECONDS = (0.5, 12.0)
LOCKED_SECONDS = (0.5, 3.0)


_READ_ONLY = "ALTER DATABASE porteiro SET default_transaction_read_only = on"
_WRITABLE = (
    "SET default_transaction_read_only = off",
    "ALTER DATABASE porteiro RESET default_transaction_read_only",
)
_END_SESSIONS = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
)


class Nemesis:
    """Inject random faults for some seconds."""

    def __init__(self, seconds: int, seed: int) -> None:
        self.seconds = seconds
        self._pick = random.Random(seed)
        self._injected: Counter[str] = Counter()

    async def run(self) -> None:
        """Inject faults until the time is over. Return when no process is frozen any more."""
        faults: list[asyncio.Task[None]] = []
        try:
            async with asyncio.timeout(self.seconds):
                while True:
                    await asyncio.sleep(self._pick.uniform(*PAUSE_SECONDS))
                    inject = self._pick.choice(
                        (self._kill, self._freeze, self._hold_locks, self._fail_over)
                    )
                    faults.append(asyncio.create_task(inject(self._pick.choice(VICTIMS))))
        except TimeoutError:
            await asyncio.gather(*faults)

    async def _kill(self, victim: str) -> None:
        self._send_signal(victim, signal.SIGKILL)

    async def _freeze(self, victim: str) -> None:
        seconds = self._pick.uniform(*FROZEN_SECONDS)
        frozen = self._send_signal(victim, signal.SIGSTOP)
        await asyncio.sleep(seconds)
        for process in frozen:
            _signal(process, signal.SIGCONT)

    async def _hold_locks(self, _: str) -> None:
        """Lock the row of every connection for some seconds, then kill the waiting processor.

        Meanwhile other groups of the processor acknowledge deliveries. They must not acknowledge
        those of the group that waits for the locks.
        """
        seconds = self._pick.uniform(*LOCKED_SECONDS)
        self._injected["locks held"] += 1
        with suppress(OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            conn = await asyncpg.connect(_read_stack()["database"], timeout=2)
            try:
                async with conn.transaction():
                    await conn.execute("SELECT FROM whatsapp_connections FOR UPDATE", timeout=2)
                    await asyncio.sleep(seconds)
                    self._send_signal("processor", signal.SIGKILL)
            finally:
                conn.terminate()

    async def _fail_over(self, _: str) -> None:
        """Let PostgreSQL be read-only for whoever connects in the next seconds, as after a failover
        to a standby. End the sessions there are."""
        seconds = self._pick.uniform(*LOCKED_SECONDS)
        self._injected["read-only"] += 1
        await _try_to_run(_READ_ONLY, _END_SESSIONS)
        await asyncio.sleep(seconds)
        until_done = AsyncRetrying(retry=retry_if_result(operator.not_), wait=wait_fixed(0.5))
        await until_done(_try_to_run, *_WRITABLE, _END_SESSIONS)

    def summary(self, _: Sequence[Sent]) -> str:
        return ", ".join(f"{count} x {fault}" for fault, count in sorted(self._injected.items()))

    def failures(self, _: Sequence[Sent]) -> list[str]:
        """Return nothing: a random storm is judged by the ledger alone."""
        return []

    def _send_signal(self, victim: str, number: signal.Signals) -> list[psutil.Process]:
        """Send a signal to a process. SIGSTOP also goes to its children.

        Otherwise the backends of a frozen PostgreSQL would go on working.
        """
        self._injected[f"{number.name} {victim}"] += 1
        pid = _read_stack()["pids"][victim]
        processes = []
        with suppress(psutil.NoSuchProcess):  # killed before and not restarted yet
            process = psutil.Process(pid)
            processes = [process]
            if number == signal.SIGSTOP:
                processes += process.children(recursive=True)
        for process in processes:
            _signal(process, number)
        return processes


async def _try_to_run(*statements: str) -> bool:
    """Run the statements. Return False if PostgreSQL is away."""
    try:
        conn = await asyncpg.connect(_read_stack()["database"], timeout=2)
        try:
            for statement in statements:
                await conn.execute(statement, timeout=2)
        finally:
            conn.terminate()
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
        return False
    return True


def _read_stack() -> dict[str, Any]:
    stack: dict[str, Any] = json.loads(STACK_FILE.read_text())
    return stack


def _signal(process: psutil.Process, number: signal.Signals) -> None:
    with suppress(psutil.NoSuchProcess):
        process.send_signal(number)
