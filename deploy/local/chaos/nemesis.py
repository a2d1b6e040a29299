"""Kills and freezes the processes of a stack, at random but by a seed."""

import asyncio
import json
import random
import signal
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import asyncpg
import psutil

from deploy.local.simulated_meta.sender import Sent
from deploy.local.stack.stack import STACK_FILE

VICTIMS = ("ingress", "processor", "rabbitmq", "postgresql", "redis")
#: Between two blows; and how long a victim stays frozen: past every deadline of ours but the
#: longest (PostgreSQL's for an idle transaction, the broker's for an acknowledgement).
PAUSE_SECONDS = (1.0, 5.0)
FROZEN_SECONDS = (0.5, 12.0)
LOCKED_SECONDS = (0.5, 3.0)


class Nemesis:
    def __init__(self, seconds: int, seed: int) -> None:
        self.seconds = seconds
        self._pick = random.Random(seed)  # noqa: S311 - to be repeated, not to be secret
        self._blows: Counter[str] = Counter()

    async def rage(self) -> None:
        """Blow after blow; then everything that was frozen is awake again."""
        healing: list[asyncio.Task[None]] = []
        try:
            async with asyncio.timeout(self.seconds):
                while True:
                    await asyncio.sleep(self._pick.uniform(*PAUSE_SECONDS))
                    blow = self._pick.choice((self._kill, self._freeze, self._hold_locks))
                    healing.append(asyncio.create_task(blow(self._pick.choice(VICTIMS))))
        except TimeoutError:
            await asyncio.gather(*healing)

    async def _kill(self, victim: str) -> None:
        self._strike(victim, signal.SIGKILL)

    async def _freeze(self, victim: str) -> None:
        seconds = self._pick.uniform(*FROZEN_SECONDS)
        frozen = self._strike(victim, signal.SIGSTOP)
        await asyncio.sleep(seconds)
        for process in frozen:
            _signal(process, signal.SIGCONT)

    async def _hold_locks(self, _: str) -> None:
        """Somebody's long transaction on every connection, and the processor dies waiting for it:
        what other groups have acknowledged meanwhile must be theirs alone."""
        seconds = self._pick.uniform(*LOCKED_SECONDS)
        self._blows["locks held"] += 1
        with suppress(OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            database = await asyncpg.connect(_facts()["database"], timeout=2)
            try:
                async with database.transaction():
                    await database.execute("SELECT FROM whatsapp_connections FOR UPDATE", timeout=2)
                    await asyncio.sleep(seconds)
                    self._strike("processor", signal.SIGKILL)
            finally:
                database.terminate()

    def summary(self, _: Sequence[Sent]) -> str:
        return ", ".join(f"{n} x {blow}" for blow, n in sorted(self._blows.items()))

    def faults(self, _: Sequence[Sent]) -> list[str]:
        """Beside the ledger a storm promises nothing."""
        return []

    def _strike(self, victim: str, number: signal.Signals) -> list[psutil.Process]:
        """PostgreSQL with its backends: frozen, the postmaster alone would hold nobody up."""
        self._blows[f"{number.name} {victim}"] += 1
        pid = _facts()["pids"][victim]
        struck = []
        with suppress(psutil.NoSuchProcess):  # struck before, and not started again yet
            process = psutil.Process(pid)
            struck = [process]
            if number == signal.SIGSTOP:
                struck += process.children(recursive=True)
        for one in struck:
            _signal(one, number)
        return struck


def _facts() -> dict[str, Any]:
    facts: dict[str, Any] = json.loads(STACK_FILE.read_text())
    return facts


def _signal(process: psutil.Process, number: signal.Signals) -> None:
    with suppress(psutil.NoSuchProcess):
        process.send_signal(number)
