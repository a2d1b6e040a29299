"""`python -m bench.strangers`: are signed webhooks answered while strangers hold the door?

Attackers come from addresses of their own, then from Meta's own address. Half of them declare 3 MB
under a forged signature and send a byte a second, half send half a head. If slowhttptest is
installed (Debian has it), its three attacks follow.
"""

import asyncio
import sys
import tempfile
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree, which

import psutil
import uvloop
from rich.console import Console
from rich.table import Table

from bench.contestants import ours
from bench.load import Result, send_load
from bench.stack import prepare
from bench.traffic import Traffic
from deploy.local.stack import install
from deploy.local.stack.supervisor import Supervisor
from services.ingress.app import PATH

SECONDS = 30
ATTACKERS = 200
SIGNED_PER_SECOND = 100
MAX_P99_SECONDS = 1.0
MAX_MB_ABOVE_IDLE = 100
FORGED = "sha256=" + "0" * 64
PROMISE = (
    f"POST {PATH} HTTP/1.1\r\nHost: bench\r\nX-Hub-Signature-256: {FORGED}\r\n"
    "Content-Length: 3000000\r\n\r\n"
).encode()
#: slowhttptest's attacks: on the head, on the body, and by reading the answer slowly.
MODES = {"head": "-H", "body": "-B", "read": "-X"}


@dataclass(frozen=True, slots=True)
class Attack:
    name: str
    answers: Result
    mb_above_idle: float

    @property
    def is_within(self) -> bool:
        return (
            self.answers.refused == 0
            and self.answers.percentile(0.99) < MAX_P99_SECONDS
            and self.mb_above_idle < MAX_MB_ABOVE_IDLE
        )


async def _attacker(port: int, address: str, sent: bytes) -> None:
    """Open a connection, send this and then a byte a second; again when it is closed."""
    while True:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(address, 0))
        try:
            writer.write(sent)
            while not reader.at_eof():
                writer.write(b"x")
                await writer.drain()
                with suppress(TimeoutError):
                    async with asyncio.timeout(1):
                        await reader.read(1000)
        except OSError:
            continue
        finally:
            writer.close()


async def _own_attack(port: int, *, from_meta: bool) -> None:
    async with asyncio.timeout(SECONDS + 5), asyncio.TaskGroup() as group:
        for number in range(ATTACKERS):
            address = "127.0.0.1" if from_meta else f"127.0.1.{1 + number}"
            group.create_task(_attacker(port, address, PROMISE))
            group.create_task(_attacker(port, address, PROMISE[:60]))


async def _slowhttptest(port: int, mode: str) -> None:
    process = await asyncio.create_subprocess_exec(
        "slowhttptest", mode, "-c", "500", "-r", "200", "-l", str(SECONDS), "-i", "1", "-p", "1",
        "-u", f"http://127.0.0.1:{port}{PATH}", stdout=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        await process.wait()
    finally:
        if process.returncode is None:
            process.kill()


class _Door:
    """The ingress under attack."""

    def __init__(self, port: int, secret: str, pid: int) -> None:
        self.port = port
        self._secret = secret
        self._process = psutil.Process(pid)
        self._idle = self._process.memory_info().rss
        self._seed = 0

    async def measure(self, name: str, attack: asyncio.Task[None] | None) -> Attack:
        """Send signed webhooks at a fixed rate while the attack runs. Then end the attack."""
        await asyncio.sleep(2)  # the attackers connect
        self._seed += 1
        requests = Traffic(self._seed, self._secret).requests(SIGNED_PER_SECOND * (SECONDS - 5))
        peak = asyncio.create_task(self._peak_bytes())
        try:
            answers = await send_load(self.port, requests, rate=SIGNED_PER_SECOND)
        finally:
            peak.cancel()
            if attack is not None:
                attack.cancel()
                await asyncio.wait({attack})
        return Attack(name, answers, (self._peak - self._idle) / 1e6)

    async def _peak_bytes(self) -> None:
        self._peak = 0
        while True:
            self._peak = max(self._peak, self._process.memory_info().rss)
            await asyncio.sleep(0.2)


async def _attacks(door: _Door) -> Sequence[Attack]:
    start = asyncio.create_task
    attacks = [await door.measure("nobody attacks", None)]
    for name, from_meta in (("addresses of their own", False), ("Meta's own address", True)):
        attack = start(_own_attack(door.port, from_meta=from_meta))
        attacks.append(await door.measure(name, attack))
    if which("slowhttptest"):
        for name, mode in MODES.items():
            attack = start(_slowhttptest(door.port, mode))
            attacks.append(await door.measure(f"slowhttptest, {name}", attack))
    return attacks


def _print(attacks: Sequence[Attack]) -> None:
    table = Table(title=f"{SIGNED_PER_SECOND} signed webhooks/s under attack")
    for column in ("attackers", "signed", "refused", "p50 ms", "p99 ms", "max ms", "MB above idle"):
        table.add_column(column, justify="left" if column == "attackers" else "right")
    for attack in attacks:
        answers = attack.answers
        times = (f"{answers.percentile(share) * 1e3:,.1f}" for share in (0.5, 0.99, 1.0))
        table.add_row(
            attack.name, str(answers.accepted), str(answers.refused), *times,
            f"{attack.mb_above_idle:,.0f}",
        )  # fmt: skip
    Console(width=100).print(table)


async def _run(folder: Path) -> bool:
    pids: dict[str, int] = {}
    supervisor = Supervisor(str(folder), folder, pids.update)
    async with AsyncExitStack() as stack:
        stack.callback(supervisor.stop)
        env = await prepare(folder, supervisor)
        contestant = ours(env)
        supervisor.start(contestant.ingress)
        door = _Door(contestant.ingress_port, env["META_APP_SECRET"], pids["ingress"])
        attacks = await _attacks(door)
    _print(attacks)
    return all(attack.is_within for attack in attacks)


def main() -> None:
    """Exit 1 if a bound is exceeded."""
    install.ensure()
    folder = Path(tempfile.mkdtemp(prefix="porteiro-strangers-"))
    folder.chmod(0o711)  # PostgreSQL runs as another user
    try:
        is_within = uvloop.run(_run(folder))
    finally:
        rmtree(folder, ignore_errors=True)
    sys.exit(0 if is_within else "a bound is exceeded")


if __name__ == "__main__":
    main()
