"""The retry sweep says truly whether anybody works on overdue rows, and works on none itself."""

import os
import signal
from datetime import UTC, datetime, timedelta

import pytest
from pytest import MonkeyPatch

from deploy.local.simulated_meta.writing import write
from services.scheduler.jobs import retry_sweep
from services.scheduler.jobs.retry_sweep import sweep
from services.scheduler.run_job import JobFailed
from shared.crypto import KeyRing
from shared.store.intake import webhooks
from shared.store.pool import Conn
from tests.support.command_line import porteiro
from tests.support.processes import service
from tests.support.samples import make_webhook, make_webhook_row
from tests.support.sending import message
from tests.support.waiting import eventually


async def make_overdue(conn: Conn, ring: KeyRing) -> None:
    """Three webhooks that wait in PostgreSQL for 6 minutes."""
    old = datetime.now(UTC) - timedelta(minutes=6)
    sent = [make_webhook(write(message(n)), at=old) for n in range(3)]
    await webhooks.insert(conn, ring, [make_webhook_row(webhook) for webhook in sent])


async def attempts(conn: Conn) -> int:
    return int(await conn.fetchval("SELECT sum(attempts) FROM webhook_log"))


async def test_nothing_overdue_is_a_success(
    environment: dict[str, str], conn: Conn, ring: KeyRing
) -> None:
    await webhooks.insert(conn, ring, [make_webhook_row(make_webhook(write(message(1))))])
    code, log = await porteiro("retry-sweep")
    assert (code, '"total":0' in log) == (0, True)
    assert await attempts(conn) == 0


async def test_without_processors_it_fails_with_the_count_and_attempts_nothing(
    environment: dict[str, str], conn: Conn, ring: KeyRing, monkeypatch: MonkeyPatch
) -> None:
    await make_overdue(conn, ring)
    monkeypatch.setattr(retry_sweep, "WAIT_SECONDS", 1.0)
    with pytest.raises(JobFailed, match=r"^3 rows are overdue"):
        await sweep()
    assert await attempts(conn) == 0


async def test_with_a_stuck_processor_it_fails(
    environment: dict[str, str], conn: Conn, ring: KeyRing, monkeypatch: MonkeyPatch
) -> None:
    monkeypatch.setattr(retry_sweep, "WAIT_SECONDS", 1.0)
    async with service("processor", environment) as processor:
        os.kill(processor.pid, signal.SIGSTOP)
        await make_overdue(conn, ring)
        with pytest.raises(JobFailed, match=r"^3 rows are overdue"):
            await sweep()
        assert await attempts(conn) == 0


async def test_with_a_live_processor_it_succeeds_and_nothing_is_attempted_twice(
    environment: dict[str, str], conn: Conn, ring: KeyRing
) -> None:
    async with service("processor", environment):
        await make_overdue(conn, ring)
        code, _ = await porteiro("retry-sweep")
        assert code == 0

        async def all_processed() -> bool:
            return bool(await conn.fetchval("SELECT bool_and(processed) FROM webhook_log"))

        await eventually(all_processed)
    assert await attempts(conn) == 3


async def test_without_rabbitmq_it_says_so_and_the_processor_works_all_the_same(
    environment: dict[str, str],
    conn: Conn,
    ring: KeyRing,
    monkeypatch: MonkeyPatch,
) -> None:
    monkeypatch.setenv("RABBITMQ_URL", "amqp://a:b@127.0.0.1:9/")  # pragma: allowlist secret
    await make_overdue(conn, ring)
    async with service("processor", environment):
        await sweep()
