"""A row that cannot be leased, released or marked costs only itself."""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from uuid import UUID

import pytest
from pytest import MonkeyPatch
from structlog.testing import capture_logs

from services.processor.intake.webhook_groups import WebhookGroups
from shared.broker.topology import EVENTS
from shared.crypto import KeyRing
from shared.messages import Event, Nudge
from shared.store import events
from shared.store.connections import connections, follow_ups, organizations
from shared.store.due import Lease
from shared.store.intake import changes, webhooks
from shared.store.pool import Conn, Pool
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

    def failing_unseal(leased: events.LeasedEvent, bodies: KeyRing, tokens: KeyRing) -> Event:
        if leased.id == row_id:
            raise KeyError("a fault of ours")
        return unseal(leased, bodies, tokens)

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
