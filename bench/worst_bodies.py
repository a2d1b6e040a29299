"""`python -m bench.worst_bodies`: the worst bodies of 3 MB, through the processor's intake.

For each: how long it takes, how long the event loop is held, and how far memory rises above idle.
"""

import asyncio
import secrets
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from shutil import rmtree

import psutil
from prometheus_client import CollectorRegistry
from rich.console import Console
from rich.table import Table
from uuid_utils.compat import uuid7

from deploy.local.stack import install, servers
from deploy.local.stack.supervisor import Supervisor
from services.processor.intake.failures import FailureRecorder
from services.processor.intake.metrics import IntakeMetrics
from services.processor.intake.webhook_groups import WebhookGroups
from shared.crypto import KeyRing, SubjectHasher
from shared.messages import Webhook
from shared.process import lifecycle
from shared.store.intake.webhooks import LanedWebhook
from shared.store.migrate import migrate
from shared.store.pool import Pool, open_pool

BYTES = 3_100_000
#: The bounds: seconds in which others are not served, and bytes above idle.
MAX_HELD_SECONDS = 0.25
MAX_BYTES_ABOVE_IDLE = 300_000_000
TICK_SECONDS = 0.002


def _value(value: bytes) -> bytes:
    return b'{"entry":[{"id":"1","changes":[{"field":"x","value":%b}]}]}' % value


def _entries(entries: Sequence[bytes]) -> bytes:
    return b'{"entry":[%b]}' % b",".join(entries)


def _message(number: int) -> bytes:
    return b'{"id":"%06d","from":"15550001","timestamp":"1","text":{"body":"%b"}}' % (
        number,
        b"z" * 500,
    )


def _echoes(count: int) -> bytes:
    echo = b'{"id":"%06d","to":"1555%07d","timestamp":"1","text":{"body":"%b"}}'
    echoes = b",".join(echo % (number, number, b"z" * 2900) for number in range(count))
    return _field(b"smb_message_echoes", b'"message_echoes":[%b]' % echoes)


def _history(count: int) -> bytes:
    """Return a chunk of as many messages, each in a thread with a person of its own."""
    thread = (
        b'{"id":"1555%07d","messages":[{"from":"15550001","to":"1555%07d","id":"%06d","type":"text",'
        b'"timestamp":"1","text":{"body":"%b"},"history_context":{"status":"READ"}}]}'
    )
    threads = b",".join(thread % (number, number, number, b"z" * 120) for number in range(count))
    return _field(b"history", b'"history":[{"metadata":{"phase":0},"threads":[%b]}]' % threads)


def _field(name: bytes, lists: bytes) -> bytes:
    value = b'{"metadata":{"phone_number_id":"2"},%b}' % lists
    return _entries([b'{"id":"1","changes":[{"field":"%b","value":%b}]}' % (name, value)])


def bodies() -> Mapping[str, Sequence[bytes]]:
    """Return, by name, what is received together."""
    items = b",".join(map(_message, range(5000)))
    messages = b'{"field":"messages","value":{"metadata":{"phone_number_id":"2"},"messages":[%b]}}'
    return {
        "200,000 entries": [_entries([b'{"id":"1"}'] * 200_000)],
        "1,000,000 empty entries": [_entries([b"{}"] * 1_000_000)],
        "5,000 messages": [_entries([b'{"id":"1","changes":[%b]}' % (messages % items)])],
        "1,000 echoes": [_echoes(1000)],
        "a history of 10,000 messages": [_history(10_000)],
        "deep": [b"[" * (BYTES // 2) + b"]" * (BYTES // 2)],
        "one string": [_value(b'"%b"' % (b"a" * BYTES))],
        "escapes": [_value(b'"%b"' % (b"\\u0001" * (BYTES // 6)))],
        "nulls": [_value(b"[%b1]" % (b"null," * (BYTES // 5)))],
        "floats": [_value(b"[%b1]" % (b"1.5," * (BYTES // 4)))],
        "empty objects": [_value(b"[%b1]" % (b"{}," * (BYTES // 3)))],
        "80 bodies of 4,900 entries": [
            _entries([b'{"id":"%d"}' % (10_000 * body + entry) for entry in range(4900)])
            for body in range(80)
        ],
    }


@dataclass(slots=True)
class Load:
    held_seconds: float = 0.0
    peak_bytes: int = 0


@asynccontextmanager
async def _watched() -> AsyncIterator[Load]:
    """Watch the event loop and the process's memory during the block."""
    load, process = Load(), psutil.Process()

    async def watch() -> None:
        last = time.perf_counter()
        while True:
            await asyncio.sleep(TICK_SECONDS)
            now = time.perf_counter()
            load.held_seconds = max(load.held_seconds, now - last - TICK_SECONDS)
            load.peak_bytes = max(load.peak_bytes, process.memory_info().rss)
            last = now

    watching = asyncio.create_task(watch())
    await asyncio.sleep(10 * TICK_SECONDS)
    try:
        yield load
        await asyncio.sleep(2 * TICK_SECONDS)
    finally:
        watching.cancel()


async def _measure(pool: Pool) -> bool:
    metrics = IntakeMetrics(CollectorRegistry())
    ring = KeyRing([secrets.token_bytes(32)])
    recorder = FailureRecorder((30,), metrics)
    hasher = SubjectHasher([secrets.token_bytes(32)])
    groups = WebhookGroups(pool, ring, hasher, recorder, metrics, lambda _: None, app_id="1")
    await groups.store([_received(_value(b"1"))])  # connects
    idle = psutil.Process().memory_info().rss
    table = Table(title="Worst bodies in the processor")
    for column in ("", "total ms", "loop held ms", "MB above idle"):
        table.add_column(column, justify="right" if column else "left")
    is_within = True
    for name, received in bodies().items():
        started = time.perf_counter()
        async with _watched() as load:
            await groups.store([_received(body) for body in received])
        above = load.peak_bytes - idle
        is_within &= load.held_seconds < MAX_HELD_SECONDS and above < MAX_BYTES_ABOVE_IDLE
        table.add_row(
            name, f"{(time.perf_counter() - started) * 1e3:,.0f}",
            f"{load.held_seconds * 1e3:,.0f}", f"{above / 1e6:,.0f}",
        )  # fmt: skip
    Console(width=80).print(table)
    return is_within


def _received(body: bytes) -> LanedWebhook:
    return LanedWebhook(Webhook(uuid7(), datetime.now(UTC), "whatsapp", "", body), "fast")


async def _run(folder: Path) -> None:
    supervisor = Supervisor(str(folder), folder, lambda _: None)
    try:
        database = servers.postgresql(folder, fsync=True)
        supervisor.start(database)
        await migrate(database.url)
        async with open_pool(database.url, name="bench", size=2) as pool:
            if not await _measure(pool):
                raise SystemExit("a bound is exceeded")
    finally:
        supervisor.stop()


def main() -> None:
    """Exit 1 if a bound is exceeded."""
    install.ensure()
    folder = Path(tempfile.mkdtemp(prefix="porteiro-worst-"))
    folder.chmod(0o711)  # PostgreSQL runs as another user
    try:
        # As a service: structlog's own stack traces print every local variable, which takes 0.1 s.
        lifecycle.run("bench", lambda _: _run(folder))
    finally:
        rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
