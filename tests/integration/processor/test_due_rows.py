"""A leased row whose attempt did not end is released, at once or as soon as PostgreSQL answers."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from uuid import UUID

import asyncpg
import pytest
from prometheus_client import CollectorRegistry
from pytest import MonkeyPatch

from deploy.local.simulated_meta.writing import write
from services.processor.intake import webhook_groups
from services.processor.intake.due_rows import DueRows
from services.processor.intake.failures import FailureRecorder
from services.processor.intake.metrics import IntakeMetrics
from services.processor.intake.retry_nudges import RetryNudges
from services.processor.intake.webhook_groups import WebhookGroups
from services.processor.metrics import ProcessorMetrics
from shared.broker.publisher import Publisher
from shared.crypto import KeyRing
from shared.process.health import Health
from shared.store.connections import connections
from shared.store.due import IntakeKind, Lease
from shared.store.errors import NotConnected
from shared.store.intake import changes, webhooks
from shared.store.intake.changes import NewChange, SplitChange
from shared.store.intake.webhooks import LanedWebhook
from shared.store.pool import Conn, Pool, open_pool
from tests.support.keys import HASHER
from tests.support.proxy import Proxy, open_proxy
from tests.support.samples import make_webhook, make_webhook_row
from tests.support.sending import WABA, account_update, message

END_LEASES = "UPDATE webhook_log SET lease_until = now() - interval '1 s'"


@pytest.mark.parametrize("database", ["answers", "unreachable"])
async def test_an_attempt_ended_by_an_infrastructure_error_is_not_counted(
    database: str, database_url: str, conn: Conn, ring: KeyRing, monkeypatch: MonkeyPatch
) -> None:
    is_unreachable = database == "unreachable"
    await webhooks.insert(conn, ring, [make_webhook_row() for _ in range(3)])
    async with open_proxy(database_url) as proxy, open_pool(proxy.url, name="t", size=1) as pool:
        due_rows, groups = _due_rows(pool, ring)
        with monkeypatch.context() as patched:
            patched.setattr(
                groups, "split_stored", _interrupt(proxy, is_unreachable=is_unreachable)
            )
            if is_unreachable:
                with pytest.raises(OSError, match="interrupted"):
                    await due_rows.work_once()
            else:
                assert await due_rows.work_once()
        await proxy.heal()
        attempts = await conn.fetchval("SELECT sum(attempts) FROM webhook_log")
        assert attempts == (3 if is_unreachable else 0)
        assert not await due_rows.work_once()
        rows = await conn.fetch("SELECT attempts, interruptions FROM webhook_log")
        assert [tuple(row) for row in rows] == [(0, 1)] * 3
        await conn.execute(END_LEASES)
        assert not await due_rows.work_once()  # each is attempted alone now
        alone, _ = _due_rows(pool, ring, "tried")
        for _ in range(3):
            assert await alone.work_once()
    assert await conn.fetchval("SELECT count(*) FROM webhook_log WHERE processed") == 3


async def test_an_attempt_ended_by_a_stop_is_not_counted(
    pool: Pool, conn: Conn, ring: KeyRing, monkeypatch: MonkeyPatch
) -> None:
    await webhooks.insert(conn, ring, [make_webhook_row() for _ in range(3)])
    due_rows, groups = _due_rows(pool, ring)
    has_begun = asyncio.Event()

    async def split(_: Sequence[Lease]) -> None:
        has_begun.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(groups, "split_stored", split)
    working = asyncio.create_task(due_rows.work_once())
    await asyncio.wait_for(has_begun.wait(), 10)
    assert await conn.fetchval("SELECT sum(attempts) FROM webhook_log") == 3
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working
    assert await conn.fetchval("SELECT sum(attempts) FROM webhook_log") == 0


async def test_a_row_with_a_lock_timeout_does_not_delay_the_others(
    database_url: str, conn: Conn, ring: KeyRing, monkeypatch: MonkeyPatch
) -> None:
    bodies = [write(account_update("ACCOUNT_RECONNECTED")), *(write(message(n)) for n in range(5))]
    await webhooks.insert(conn, ring, [make_webhook_row(make_webhook(body)) for body in bodies])
    await connections.ensure(conn, [WABA])
    async with open_pool(database_url, name="t", size=2) as pool:
        due_rows, _ = _due_rows(pool, ring)
        async with conn.transaction():
            await connections.lock(conn, [WABA])
            async with asyncio.timeout(20):
                assert await due_rows.work_once()
            rows = await conn.fetch("SELECT state::text, attempts FROM webhook_log ORDER BY id")
            assert [tuple(row) for row in rows] == [("unsplit", 0), *[("split", 1)] * 5]
        await conn.execute(END_LEASES)
        alone, _ = _due_rows(pool, ring, "tried")
        assert await alone.work_once()
    assert await conn.fetchval("SELECT count(*) FROM webhook_log WHERE processed") == 6


async def test_large_bodies_are_split_in_groups_of_limited_size(
    pool: Pool, conn: Conn, ring: KeyRing, monkeypatch: MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook_groups, "MAX_GROUP_BYTES", 5_000)
    bodies = [write(message(n, "x" * size)) for n, size in enumerate((2000, 2000, 2000, 9000, 10))]
    await webhooks.insert(conn, ring, [make_webhook_row(make_webhook(body)) for body in bodies])
    due_rows, _ = _due_rows(pool, ring)
    counts: list[int] = []
    load = webhooks.load_unsplit

    async def counting_load(conn: Conn, ring: KeyRing, ids: list[UUID]) -> object:
        counts.append(len(ids))
        return await load(conn, ring, ids)

    monkeypatch.setattr(webhooks, "load_unsplit", counting_load)
    assert await due_rows.work_once()
    assert counts == [2, 1, 1, 1]
    assert await conn.fetchval("SELECT count(*) FROM webhook_log WHERE processed") == 5


async def test_a_row_that_brings_postgresql_down_is_isolated(
    pool: Pool, conn: Conn, ring: KeyRing, monkeypatch: MonkeyPatch
) -> None:
    """The server that a group brought down refuses whoever connects next."""
    await webhooks.insert(conn, ring, [make_webhook_row() for _ in range(3)])
    due_rows, groups = _due_rows(pool, ring)

    async def crash(leases: Sequence[Lease]) -> None:
        if len(leases) > 1:
            raise asyncpg.ConnectionDoesNotExistError("the server ended")
        raise NotConnected("CannotConnectNowError")

    monkeypatch.setattr(groups, "_split_stored", crash)
    assert await due_rows.work_once()
    rows = await conn.fetch("SELECT attempts, interruptions FROM webhook_log")
    assert [tuple(row) for row in rows] == [(0, 1)] * 3


async def test_many_changes_are_stored_in_parts(
    pool: Pool, conn: Conn, ring: KeyRing, monkeypatch: MonkeyPatch
) -> None:
    """Each body is small, and together they would be hundreds of thousands of changes."""
    parts: list[int] = []
    insert = changes.insert

    async def counting_insert(
        conn: Conn, ring: KeyRing, rows: Sequence[SplitChange]
    ) -> list[NewChange]:
        parts.append(len(rows))
        return await insert(conn, ring, rows)

    monkeypatch.setattr(changes, "insert", counting_insert)
    _, groups = _due_rows(pool, ring)
    bodies = [write({"entry": [{"id": str(10_000 * n + m)} for m in range(900)]}) for n in range(7)]
    await groups.store([LanedWebhook(make_webhook(body), "fast") for body in bodies])
    assert parts == [2700, 2700, 900]
    assert await conn.fetchval("SELECT count(*) FROM webhook_log WHERE processed") == 7


def _due_rows(
    pool: Pool, ring: KeyRing, kind: IntakeKind = "fresh"
) -> tuple[DueRows, WebhookGroups]:
    metrics = IntakeMetrics(CollectorRegistry())
    recorder = FailureRecorder((30, 300, 1800), metrics)
    groups = WebhookGroups(pool, ring, HASHER, recorder, metrics, lambda _: None, app_id="1")
    nudges = RetryNudges(
        Publisher(Health(CollectorRegistry()).dependency("publisher")),
        ProcessorMetrics(CollectorRegistry()),
    )
    return DueRows(kind, pool, ring, groups, recorder, nudges, app_id="1"), groups


def _interrupt(
    proxy: Proxy, *, is_unreachable: bool
) -> Callable[[Sequence[Lease]], Awaitable[None]]:
    async def split(_: Sequence[Lease]) -> None:
        if is_unreachable:
            await proxy.cut()
        raise OSError("interrupted")

    return split
