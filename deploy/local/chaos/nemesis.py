"""Kill and freeze the processes of a stack at random; a seed makes the sequence repeatable.

Nemesis is Jepsen's word for the process that injects faults.
"""

import asyncio
import json
import random
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Coroutine, Sequence
from contextlib import suppress
from typing import Any

import asyncpg
import psutil

from deploy.local.chaos.broker_faults import BrokerFaults
from deploy.local.chaos.database_faults import DatabaseFaults
from deploy.local.oracle.bodies import WABAS
from deploy.local.simulated_meta.sender import Sent
from deploy.local.stack.clocks import Clocks
from deploy.local.stack.stack import CLOCKS, STACK_FILE

VICTIMS = ("ingress", "processor", "rabbitmq", "postgresql", "redis")
#: The pause between two faults.
PAUSE_SECONDS = (1.0, 5.0)
#: How long a process stays frozen. The maximum is longer than every deadline of ours except the
#: longest two: PostgreSQL's for an idle transaction, the broker's for an acknowledgement.
FROZEN_SECONDS = (0.5, 12.0)
LOCKED_SECONDS = (0.5, 3.0)
#: How long another fault lasts.
LASTING_SECONDS = (1.0, 8.0)
#: Whose clocks may be wrong.
SERVICES = ("ingress", "processor")
_COUNT_NEWER = "SELECT count(*) FROM dead_letters WHERE error LIKE 'newer:%'"
_LOCK = "SELECT FROM whatsapp_connections WHERE waba_id = ANY($1) ORDER BY waba_id FOR UPDATE"
#: How far a clock is off: more than a lease lasts.
CLOCK_SECONDS = 90
#: How long the processor may take to keep the last message of a newer version.
KEPT_SECONDS = 60


class Nemesis:
    """Inject random faults for some seconds. `only` are the faults to choose from; else all."""

    def __init__(
        self, stack: dict[str, Any], seconds: int, seed: int, only: Collection[str] = ()
    ) -> None:
        self.seconds = seconds
        self._only = only
        self._pick = random.Random(seed)
        self._injected: Counter[str] = Counter()
        self._url = stack["database"]
        self._database = DatabaseFaults(self._url, self._pick)
        self._broker = BrokerFaults(stack["rabbitmq"], self._pick)
        self._clocks = Clocks(CLOCKS)
        self._kept = 0

    async def run(self) -> None:
        """Inject faults until the time is over. Return when every server and clock works again."""
        await self._database.install()
        choices: dict[str, Callable[[str], Coroutine[Any, Any, None]]] = {
            "kill": self._kill,
            "freeze": self._freeze,
            "locks": self._hold_locks,
            "lock": self._hold_lock,
            "clock": self._set_clock,
            "read-only": self._lasting("read-only", self._database.fail_over),
            "slow row": self._lasting("slow row", self._database.slow_row),
            "refused": self._lasting("refused connection", self._database.refused_connection),
            "deleted queue": self._lasting("deleted queue", self._broker.delete_queue),
            "newer message": self._lasting("newer message", self._broker.newer_message),
        }
        chosen = [choices[name] for name in self._only or choices]
        faults: list[asyncio.Task[None]] = []
        try:
            async with asyncio.timeout(self.seconds):
                while True:
                    await asyncio.sleep(self._pick.uniform(*PAUSE_SECONDS))
                    inject = self._pick.choice(chosen)
                    faults.append(asyncio.create_task(inject(self._pick.choice(VICTIMS))))
        except TimeoutError:
            await asyncio.gather(*faults)
        await self._count_kept()

    def _lasting(
        self, name: str, inject: Callable[[float], Awaitable[bool]]
    ) -> Callable[[str], Coroutine[Any, Any, None]]:
        """Return a fault that lasts some seconds and needs no victim."""

        async def run(_: str) -> None:
            has_begun = await inject(self._pick.uniform(*LASTING_SECONDS))
            self._injected[name] += has_begun

        return run

    async def _kill(self, victim: str) -> None:
        self._send_signal(victim, signal.SIGKILL)

    async def _freeze(self, victim: str) -> None:
        seconds = self._pick.uniform(*FROZEN_SECONDS)
        frozen = self._send_signal(victim, signal.SIGSTOP)
        await asyncio.sleep(seconds)
        for process in frozen:
            _signal(process, signal.SIGCONT)

    async def _hold_locks(self, _: str) -> None:
        await self._hold("locks held", WABAS)

    async def _hold_lock(self, _: str) -> None:
        await self._hold("lock held", [self._pick.choice(WABAS)])

    async def _hold(self, name: str, wabas: Sequence[str]) -> None:
        """Lock the rows of connections for some seconds, then kill the waiting processor.

        Meanwhile other groups of the processor acknowledge deliveries. They must not acknowledge
        those of the group that waits for the locks.
        """
        seconds = self._pick.uniform(*LOCKED_SECONDS)
        self._injected[name] += 1
        with suppress(OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            conn = await asyncpg.connect(_read_stack()["database"], timeout=2)
            try:
                async with conn.transaction():
                    await conn.execute(_LOCK, wabas, timeout=2)
                    await asyncio.sleep(seconds)
                    self._send_signal("processor", signal.SIGKILL)
            finally:
                conn.terminate()

    async def _set_clock(self, _: str) -> None:
        """Let the clock of a service be wrong for some seconds, ahead or behind."""
        service = self._pick.choice(SERVICES)
        seconds = self._pick.choice((CLOCK_SECONDS, -CLOCK_SECONDS))
        self._injected[f"clock {seconds:+d} s"] += 1
        self._clocks.set(service, seconds)
        await asyncio.sleep(self._pick.uniform(*LASTING_SECONDS))
        self._clocks.set(service, 0)

    async def _count_kept(self) -> None:
        """Wait until each message of a newer version is kept as a dead letter."""
        deadline = time.monotonic() + KEPT_SECONDS
        while self._kept < self._broker.newer and time.monotonic() < deadline:
            await asyncio.sleep(1)
            with suppress(OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
                conn = await asyncpg.connect(self._url, timeout=2)
                try:
                    self._kept = await conn.fetchval(_COUNT_NEWER, timeout=2)
                finally:
                    conn.terminate()

    def summary(self, _: Sequence[Sent]) -> str:
        return ", ".join(
            f"{count} x {fault}" for fault, count in sorted(self._injected.items()) if count
        )

    def failures(self, _: Sequence[Sent]) -> list[str]:
        """Return what became of the messages that only newer code can read. All else is in the
        ledger."""
        if self._kept >= self._broker.newer:
            return []
        return [f"lost: of {self._broker.newer} messages of a newer version {self._kept} are kept"]

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


def _read_stack() -> dict[str, Any]:
    stack: dict[str, Any] = json.loads(STACK_FILE.read_text())
    return stack


def _signal(process: psutil.Process, number: signal.Signals) -> None:
    with suppress(psutil.NoSuchProcess):
        process.send_signal(number)
