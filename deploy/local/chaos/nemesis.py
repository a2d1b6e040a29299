"""Kills and freezes the processes of a stack, at random but by a seed."""

import asyncio
import json
import random
import signal
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress

import psutil

from deploy.local.simulated_meta.sender import Sent
from deploy.local.stack import STACK_FILE

VICTIMS = ("ingress", "processor", "rabbitmq", "postgresql", "redis")
#: Between two blows; and how long a victim stays frozen: past every deadline of ours but the
#: longest (PostgreSQL's for an idle transaction, the broker's for an acknowledgement).
PAUSE_SECONDS = (1.0, 5.0)
FROZEN_SECONDS = (0.5, 12.0)


class Nemesis:
    def __init__(self, seconds: int, seed: int) -> None:
        self.seconds = seconds
        self._pick = random.Random(seed)  # noqa: S311 - to be repeated, not to be secret
        self.blows: Counter[str] = Counter()

    async def rage(self) -> None:
        """Blow after blow; then everything that was frozen is awake again."""
        thawing: list[asyncio.Task[None]] = []
        try:
            async with asyncio.timeout(self.seconds):
                while True:
                    await asyncio.sleep(self._pick.uniform(*PAUSE_SECONDS))
                    victim = self._pick.choice(VICTIMS)
                    if self._pick.random() < 0.5:
                        self._strike(victim, signal.SIGKILL)
                    else:
                        frozen = self._strike(victim, signal.SIGSTOP)
                        for_seconds = self._pick.uniform(*FROZEN_SECONDS)
                        thawing.append(asyncio.create_task(_thaw(frozen, for_seconds)))
        except TimeoutError:
            await asyncio.gather(*thawing)

    def faults(self, _: Sequence[Sent]) -> list[str]:
        """Beside the ledger a storm promises nothing."""
        return []

    def _strike(self, victim: str, number: signal.Signals) -> list[psutil.Process]:
        """PostgreSQL with its backends: frozen, the postmaster alone would hold nobody up."""
        self.blows[f"{number.name} {victim}"] += 1
        pid = json.loads(STACK_FILE.read_text())["pids"][victim]
        struck = []
        with suppress(psutil.NoSuchProcess):  # struck before, and not started again yet
            process = psutil.Process(pid)
            struck = [process]
            if number == signal.SIGSTOP:
                struck += process.children(recursive=True)
        for one in struck:
            _signal(one, number)
        return struck


async def _thaw(frozen: list[psutil.Process], after_seconds: float) -> None:
    await asyncio.sleep(after_seconds)
    for process in frozen:
        _signal(process, signal.SIGCONT)


def _signal(process: psutil.Process, number: signal.Signals) -> None:
    with suppress(psutil.NoSuchProcess):
        process.send_signal(number)
