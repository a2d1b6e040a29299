"""A row that cannot be leased, released or marked costs only itself."""

from collections.abc import Collection, Sequence
from contextlib import AsyncExitStack, suppress
from functools import partial
from uuid import UUID

import asyncpg
import pytest
from pytest import MonkeyPatch
from structlog.testing import capture_logs

from services.processor.intake.webhook_groups import WebhookGroups
from services.processor.quarantine import SEARCH_SECONDS, Quarantine
from shared.broker.topology import EVENTS
from shared.crypto import KeyRing
from shared.messages import Event, Nudge
from shared.store import due, events
from shared.store.connections import connections, follow_ups, organizations
from shared.store.due import Lease, LeasedRows
from shared.store.intake import changes, webhooks
from shared.store.pool import Conn, Pool, open_pool, transaction
from tests.support import running
from tests.support.broker import Broker
from tests.support.refusing import refusing
from tests.support.samples import changes_of, make_change, make_webhook, make_webhook_row
from tests.support.waiting import eventually

COUNT = 5


async def add_webhooks(conn: Conn, ring: KeyRing) -> list[UUID]:
    return sorted(await webhooks.insert(conn, ring, [make_webhook_row() for _ in range(COUNT)]))


async def add_changes(conn: Conn, ring: KeyRing) -> list[UUID]:
    """Store changes of an organization, as if their effects were applied."""
    await organizations.add(conn, "bakery")
    webhook = make_webhook()
    await webhooks.insert(conn, ring, [make_webhook_row(webhook, state="split")])
    rows = changes_of(webhook, *(make_change(number) for number in range(COUNT)))
    ids = sorted(new.id for new in await changes.insert(conn, ring, rows))
    await conn.execute("UPDATE webhook_changes SET organization_id = 'bakery'")
    return ids


async def add_events(conn: Conn, ring: KeyRing) -> list[UUID]:
    ids = await add_changes(conn, ring)
    await conn.execute("UPDATE webhook_changes SET state = 'processed'")
    await events.add_for_changes(conn, ids)
    return ids


async def until(conn: Conn, count: int, table: str, condition: str) -> None:
    query = f"SELECT count(*) = $1 FROM {table} WHERE {condition}"
    await eventually(lambda: conn.fetchval(query, count))


@pytest.mark.parametrize("sqlstate", ["P0001", "57014", "58030"])
async def test_a_webhook_that_cannot_be_leased_is_left_out(
    environment: dict[str, str],
    broker: Broker,
    conn: Conn,
    ring: KeyRing,
    sqlstate: str,
) -> None:
    row_id = (await add_webhooks(conn, ring))[1]
    fault = refusing(
        conn, str(row_id), table="webhook_log", column="id", sqlstate=sqlstate, on="UPDATE"
    )
    with capture_logs() as lines:
        async with fault, running.processor(environment):
            await until(conn, COUNT - 1, "webhook_log", "state = 'split'")
    [line] = [line for line in lines if line["event"] == "row.left_out"]
    assert (line["kind"], line["row_id"], line["log_level"]) == ("fresh", str(row_id), "error")


async def test_a_change_that_cannot_be_leased_is_left_out(
    environment: dict[str, str], broker: Broker, conn: Conn, ring: KeyRing
) -> None:
    ids = await add_changes(conn, ring)
    await conn.execute("UPDATE webhook_changes SET state = 'failed', next_attempt_at = now()")
    async with (
        refusing(conn, str(ids[0]), table="webhook_changes", column="id", on="UPDATE"),
        running.processor(environment),
    ):
        await until(conn, COUNT - 1, "webhook_changes", "state = 'processed'")


async def test_a_follow_up_that_cannot_be_leased_is_left_out(
    environment: dict[str, str], broker: Broker, conn: Conn, ring: KeyRing
) -> None:
    waba_ids = [f"7{number}" for number in range(COUNT)]
    await connections.ensure(conn, waba_ids)
    await follow_ups.add(conn, "read", waba_ids)
    row_id = await conn.fetchval("SELECT id FROM follow_ups ORDER BY due_at, id LIMIT 1")
    async with (
        refusing(conn, str(row_id), table="follow_ups", column="id", on="UPDATE"),
        running.processor(environment),
    ):
        await until(conn, COUNT - 1, "follow_ups", "state <> 'pending'")


@pytest.mark.parametrize("column", ["due_at", "published_at"])
async def test_an_event_that_cannot_be_leased_or_marked_is_left_out(
    environment: dict[str, str], broker: Broker, conn: Conn, ring: KeyRing, column: str
) -> None:
    """Without this, all events of a batch are published again and again."""
    row_id = (await add_events(conn, ring))[1]
    await conn.execute(
        f"""
        CREATE FUNCTION refuse_event() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF NEW.id = '{row_id}' AND NEW.{column} IS DISTINCT FROM OLD.{column} THEN
                RAISE EXCEPTION 'refused';
            END IF;
            RETURN NEW;
        END $$;
        CREATE TRIGGER refuse_event BEFORE UPDATE ON events
            FOR EACH ROW EXECUTE FUNCTION refuse_event();
        """
    )
    try:
        async with broker.amqp.channel() as channel:
            queue = await channel.declare_queue(exclusive=True)
            await queue.bind(EVENTS, "#")
            async with running.processor(environment):
                await until(conn, COUNT - 1, "events", "published_at IS NOT NULL")
            told = [await queue.get(fail=False) for _ in range(COUNT + 1)]
    finally:
        await conn.execute("DROP FUNCTION refuse_event CASCADE")
    expected = COUNT if column == "published_at" else COUNT - 1
    assert len([message for message in told if message is not None]) == expected


async def test_an_event_that_cannot_be_written_is_put_off(
    environment: dict[str, str],
    broker: Broker,
    conn: Conn,
    ring: KeyRing,
    monkeypatch: MonkeyPatch,
) -> None:
    row_id = (await add_events(conn, ring))[1]
    unseal = events.unseal

    def failing_unseal(leased: events.LeasedEvent, ring: KeyRing) -> Event:
        if leased.id == row_id:
            raise KeyError("a fault of ours")
        return unseal(leased, ring)

    monkeypatch.setattr(events, "unseal", failing_unseal)
    async with running.processor(environment):
        await until(conn, COUNT - 1, "events", "published_at IS NOT NULL")
        await until(conn, 1, "events", "due_at > now() + interval '9 min'")


async def test_a_webhook_that_cannot_be_released_stops_no_other(
    environment: dict[str, str],
    broker: Broker,
    pool: Pool,
    conn: Conn,
    ring: KeyRing,
    monkeypatch: MonkeyPatch,
) -> None:
    row_id = (await add_webhooks(conn, ring))[1]
    split = WebhookGroups.split_stored
    async with pool.acquire() as other, AsyncExitStack() as faults:

        async def interrupted(groups: WebhookGroups, leases: Sequence[Lease]) -> list[Nudge]:
            monkeypatch.setattr(WebhookGroups, "split_stored", split)
            fault = refusing(other, str(row_id), table="webhook_log", column="id", on="UPDATE")
            await faults.enter_async_context(fault)
            raise OSError("interrupted")

        monkeypatch.setattr(WebhookGroups, "split_stored", interrupted)
        async with running.processor(environment):
            await until(conn, COUNT - 1, "webhook_log", "state = 'split'")


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
