"""The processor handles unusual deliveries: redelivered, refused, broken, newer or blocked."""

import asyncio
from datetime import UTC, datetime

from pytest import MonkeyPatch
from uuid_utils.compat import uuid7

from deploy.local.simulated_meta.writing import write
from services.processor.intake import group_worker
from services.processor.intake.delivery_queue import DeliveryQueue
from shared.broker.topology import RAW
from shared.crypto import KeyRing
from shared.messages import Webhook
from shared.store.connections import connections
from shared.store.intake import dead_letters, webhooks
from shared.store.pool import SERVER_SETTINGS, Conn
from tests.support import running
from tests.support.broker import Broker
from tests.support.bundles import bundle, return_once, until_states
from tests.support.proxy import open_proxy
from tests.support.refusing import refusing
from tests.support.sending import WABA, account_update, message
from tests.support.waiting import eventually

FAILED = "FROM webhook_log WHERE state = 'unsplit' AND last_error IS NOT NULL"
REFUSED = "database_P0001"


async def test_a_redelivered_bundle_is_stored_unsplit_and_split_from_its_rows(
    environment: dict[str, str], broker: Broker, conn: Conn
) -> None:
    await broker.put(RAW, bundle(*(write(message(n)) for n in range(10))))
    await return_once(broker, RAW)
    async with running.processor(environment):
        await until_states(conn, split=10)
    rows = await conn.fetch("SELECT attempts, processed FROM webhook_log")
    assert {(row["attempts"], row["processed"]) for row in rows} == {(1, True)}
    assert await conn.fetchval("SELECT count(*) FROM webhook_changes") == 10


async def test_one_webhook_the_database_refuses_fails_alone(
    environment: dict[str, str], broker: Broker, conn: Conn
) -> None:
    async with refusing(conn, "POISON", table="webhook_changes", column="event"):
        bodies = [write(message(n)) for n in range(20)]
        bodies.insert(7, write(account_update("POISON")))
        await broker.put(RAW, bundle(*bodies))
        await broker.put(RAW, bundle(write(account_update("POISON", time=1))))
        await return_once(broker, RAW)
        async with running.processor(environment):
            await until_states(conn, split=20, unsplit=2)
            await eventually(lambda: conn.fetchval(f"SELECT count(*) = 2 {FAILED}"))
        errors = await conn.fetch(f"SELECT DISTINCT last_error, attempts {FAILED}")
        assert [tuple(row) for row in errors] == [(REFUSED, 1)]


async def test_one_unreadable_change_of_a_thousand_fails_alone(
    environment: dict[str, str], broker: Broker, conn: Conn
) -> None:
    good = [account_update("ACCOUNT_OFFBOARDED", time=1_790_000_000 + n) for n in range(999)]
    bad = account_update("PARTNER_ADDED", waba_info={"waba_id": "none"})
    entries = [webhook["entry"][0] for webhook in [*good[:500], bad, *good[500:]]]
    body = {"object": "whatsapp_business_account", "entry": entries}
    await broker.put(RAW, bundle(write(body)))
    async with running.processor(environment):
        await until_states(conn, split=1)
    counts = await conn.fetch(
        "SELECT state::text, last_error, count(*) FROM webhook_changes GROUP BY 1, 2 ORDER BY 1, 2"
    )
    assert [tuple(row) for row in counts] == [
        ("dead", "unreadable_change: names no WABA", 1), ("processed", None, 999),
    ]  # fmt: skip
    row = await conn.fetchrow("SELECT processed, changes_left FROM webhook_log")
    assert row is not None
    assert tuple(row) == (False, 1)
    assert await conn.fetchval("SELECT state FROM whatsapp_connections") == "offboarded"


async def test_effects_the_database_refuses_fail_alone(
    environment: dict[str, str], broker: Broker, conn: Conn
) -> None:
    async with refusing(conn, "violation"):
        await broker.put(
            RAW,
            bundle(
                write(account_update("ACCOUNT_OFFBOARDED")),
                write(
                    account_update("ACCOUNT_VIOLATION", violation_info={"violation_type": "ADULT"})
                ),
                write(account_update("ACCOUNT_RECONNECTED", time=1_790_000_001)),
            ),
        )
        async with running.processor(environment):
            await until_states(conn, split=3)
        rows = await conn.fetch("SELECT event, state::text, last_error FROM webhook_changes")
        assert {tuple(row) for row in rows} == {
            ("ACCOUNT_OFFBOARDED", "processed", None),
            (
                "ACCOUNT_VIOLATION",
                "failed",
                "database_P0001",
            ),
            ("ACCOUNT_RECONNECTED", "processed", None),
        }


async def test_a_webhook_that_kills_its_process_is_given_up_after_four_attempts(
    environment: dict[str, str], conn: Conn, ring: KeyRing
) -> None:
    webhook = Webhook(uuid7(), datetime.now(UTC), "whatsapp", "", write(message(1)))
    await webhooks.insert(conn, ring, [webhooks.WebhookRow(webhook, "fast", "database", "unsplit")])
    await conn.execute("UPDATE webhook_log SET attempts = 4, lease_until = now() - interval '1 s'")
    async with running.processor(environment):
        await until_states(conn, dead=1)


async def test_a_message_that_is_no_bundle_becomes_a_dead_letter_with_its_bytes_sealed(
    environment: dict[str, str], broker: Broker, conn: Conn, ring: KeyRing
) -> None:
    await broker.put(RAW, b"\x00 not a bundle")
    await broker.put(RAW, bundle(write(message(1))))
    async with running.processor(environment):
        await until_states(conn, split=1)
        letters = await eventually(lambda: conn.fetch("SELECT * FROM dead_letters"))
    [letter] = letters
    assert (letter["kind"], letter["blame"]) == ("message", "ours")
    assert letter["error"] == "rejected: given up in webhooks.raw"
    assert b"not a bundle" not in letter["body"]
    assert await dead_letters.message_body(conn, ring, letter["id"]) == b"\x00 not a bundle"


async def test_a_database_outage_counts_no_attempt(
    environment: dict[str, str],
    broker: Broker,
    database_url: str,
    conn: Conn,
    monkeypatch: MonkeyPatch,
) -> None:
    async with open_proxy(database_url) as proxy:
        monkeypatch.setenv("DATABASE_URL", proxy.url)
        async with running.processor(environment):
            await proxy.cut()
            await broker.put(RAW, bundle(*(write(message(n)) for n in range(5))))

            async def is_delivered() -> bool:
                return await broker.count(RAW) == 0

            await eventually(is_delivered)
            await proxy.heal()
            await until_states(conn, split=5)
    assert await conn.fetchval("SELECT max(attempts) FROM webhook_log") == 0


async def test_deliveries_that_cannot_be_stored_for_too_long_return_to_the_broker(
    environment: dict[str, str],
    broker: Broker,
    database_url: str,
    conn: Conn,
    monkeypatch: MonkeyPatch,
) -> None:
    """The processor returns them before RabbitMQ closes the channel at its own limit."""
    is_returned = asyncio.Event()
    return_all = DeliveryQueue.return_all

    def return_and_notify(deliveries: DeliveryQueue) -> None:
        return_all(deliveries)
        is_returned.set()

    monkeypatch.setattr(group_worker, "MAX_UNACKED_SECONDS", 1)
    monkeypatch.setattr(DeliveryQueue, "return_all", return_and_notify)
    async with open_proxy(database_url) as proxy:
        monkeypatch.setenv("DATABASE_URL", proxy.url)
        async with running.processor(environment):
            await proxy.cut()
            await broker.put(RAW, bundle(*(write(message(n)) for n in range(5))))

            await asyncio.wait_for(is_returned.wait(), 20)
            await proxy.heal()
            await until_states(conn, split=5)
    assert await conn.fetchval("SELECT min(attempts) FROM webhook_log") == 1  # stored unsplit first


async def test_a_webhook_with_a_lock_timeout_is_stored_unsplit_and_the_others_go_on(
    environment: dict[str, str], broker: Broker, conn: Conn, monkeypatch: MonkeyPatch
) -> None:
    monkeypatch.setitem(SERVER_SETTINGS, "lock_timeout", "300ms")
    await connections.ensure(conn, [WABA])
    async with running.processor(environment):
        async with conn.transaction():
            await connections.lock(conn, [WABA])
            body = write(account_update("ACCOUNT_RECONNECTED"))
            await broker.put(RAW, bundle(body, *(write(message(n)) for n in range(5))))
            await until_states(conn, split=5, unsplit=1)
        await until_states(conn, split=6)
    assert await conn.fetchval("SELECT max(attempts) FROM webhook_log") == 1
