"""Which rows a quarantine blames, how long they rest, and what it never holds back."""

from collections.abc import Collection
from contextlib import suppress
from functools import partial
from uuid import UUID

import asyncpg
import pytest
from structlog.testing import capture_logs

from services.processor import quarantine as quarantines
from services.processor.quarantine import SEARCH_SECONDS, Quarantine
from shared.crypto import KeyRing
from shared.errors import StartupRefused
from shared.store import due
from shared.store.due import LeasedRows
from shared.store.intake import webhooks
from shared.store.pool import Conn, Pool, open_pool, transaction
from tests.support.refusing import refusing
from tests.support.samples import make_webhook, make_webhook_row

COUNT = 5


async def add_webhooks(conn: Conn, ring: KeyRing) -> list[UUID]:
    return sorted(await webhooks.insert(conn, ring, [make_webhook_row() for _ in range(COUNT)]))


@pytest.fixture
def now() -> list[float]:
    """The quarantine's clock: a test sets its only item."""
    return [0.0]


@pytest.fixture
def quarantine(now: list[float]) -> Quarantine[LeasedRows]:
    """Return a quarantine of unsplit webhooks whose clock the test turns."""
    return Quarantine(
        "fresh",
        partial(due.lease, kind="fresh"),
        partial(due.first_due, kind="fresh"),
        clock=lambda: now[0],
    )


async def fail(_: Conn) -> None:
    raise ValueError


async def succeed(_: Conn) -> None:
    pass


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT pg_terminate_backend(pg_backend_pid())",
        "UPDATE webhook_log SET attempts = 0",
    ],
)
async def test_a_row_is_not_blamed_for_a_server_that_ended_or_became_read_only(
    database_url: str,
    conn: Conn,
    ring: KeyRing,
    statement: str,
    quarantine: Quarantine[LeasedRows],
) -> None:
    ids = await add_webhooks(conn, ring)

    async def work(conn: Conn) -> None:
        await conn.execute("SET LOCAL transaction_read_only = on")
        await conn.execute(statement)

    async with open_pool(database_url, name="test", size=1) as pool:
        with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError)):
            await quarantine.run_alone(pool, {ids[0]: succeed, ids[1]: work})
        assert len((await quarantine.lease(pool)).leases) == COUNT


@pytest.mark.parametrize(
    "error",
    [
        StartupRefused(["the schema is newer"]),
        ConnectionResetError(),
        TimeoutError(),
        asyncpg.InternalClientError("the connection was closed"),
        asyncpg.InterfaceError("the connection is closed"),
        asyncpg.DeadlockDetectedError(),
        asyncpg.LockNotAvailableError(),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_what_no_row_can_cause_is_raised_and_no_row_is_blamed(
    pool: Pool, conn: Conn, ring: KeyRing, quarantine: Quarantine[LeasedRows], error: Exception
) -> None:
    ids = await add_webhooks(conn, ring)

    async def work(_: Conn) -> None:
        raise error

    with pytest.raises(type(error)):
        await quarantine.run_alone(pool, {ids[0]: succeed, ids[1]: work})
    assert await leasable(quarantine, pool) == COUNT


async def test_of_too_many_failing_rows_those_left_out_first_are_tried_again(
    pool: Pool,
    conn: Conn,
    ring: KeyRing,
    quarantine: Quarantine[LeasedRows],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(quarantines, "MAX_LEFT_OUT", 2)
    first, *others, last = await add_webhooks(conn, ring)
    for failing in ((first,), others[:2]):
        await quarantine.run_alone(pool, {**dict.fromkeys(failing, fail), last: succeed})
    leased = {lease.id for lease in (await quarantine.lease(pool)).leases}
    assert leased == {first, others[2], last}


async def test_a_row_rests_longer_each_time(
    pool: Pool, conn: Conn, ring: KeyRing, quarantine: Quarantine[LeasedRows], now: list[float]
) -> None:
    ids = await add_webhooks(conn, ring)
    for seconds in (5, 10, 20, 40, 80, 160, 320, 600, 600):
        await quarantine.run_alone(pool, {ids[0]: fail, ids[1]: succeed})
        now[0] += seconds - 1
        assert await leasable(quarantine, pool) == COUNT - 1
        now[0] += 2
        assert await leasable(quarantine, pool) == COUNT


@pytest.mark.parametrize("sqlstate", ["53100", "P0001"])
async def test_no_row_is_blamed_for_what_befalls_all(
    pool: Pool,
    conn: Conn,
    ring: KeyRing,
    quarantine: Quarantine[LeasedRows],
    sqlstate: str,
) -> None:
    """The disk is full, or a fault of ours fails each row: when it is mended, nothing rests."""
    await add_webhooks(conn, ring)
    with capture_logs() as lines:
        async with refusing(
            conn, "fast", table="webhook_log", column="lane", sqlstate=sqlstate, on="UPDATE"
        ):
            for _ in range(3):
                with pytest.raises(asyncpg.PostgresError):
                    await quarantine.lease(pool)
    assert not lines
    assert await leasable(quarantine, pool) == COUNT


async def test_more_failing_rows_than_one_search_finds_hold_back_no_other(
    pool: Pool, conn: Conn, ring: KeyRing, now: list[float]
) -> None:
    rows = [make_webhook_row(make_webhook()) for _ in range(2 * COUNT)]
    await webhooks.insert(conn, ring, rows)
    slow = [row.webhook.id for row in rows[:COUNT]]

    async def slow_lease(
        conn: Conn, *, left_out: Collection[UUID], limit: int | None = None
    ) -> LeasedRows:
        leased = await due.lease(conn, "fresh", left_out=left_out, limit=limit)
        if any(lease.id in slow for lease in leased.leases):
            now[0] += SEARCH_SECONDS / 2
            raise asyncpg.QueryCanceledError
        return leased

    quarantine = Quarantine(
        "fresh", slow_lease, partial(due.first_due, kind="fresh"), clock=lambda: now[0]
    )
    found = 0
    for _ in range(2 * COUNT):
        with suppress(asyncpg.QueryCanceledError):
            found += len((await quarantine.lease(pool)).leases)
    assert found == COUNT


async def leasable(quarantine: Quarantine[LeasedRows], pool: Pool) -> int:
    """Return how many rows can be leased, and make them due again."""
    count = len((await quarantine.lease(pool)).leases)
    async with transaction(pool) as conn:
        await conn.execute("UPDATE webhook_log SET attempts = 0, lease_until = '-infinity'")
    return count
