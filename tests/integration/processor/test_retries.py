"""A failed change is retried with increasing delays. Then it is dead and can be replayed."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import orjson
import pytest
from prometheus_client import CollectorRegistry
from pytest import MonkeyPatch
from uuid_utils.compat import uuid7

from deploy.local.simulated_meta.writing import write
from services.processor.intake.retry_nudges import RetryNudges
from services.processor.metrics import ProcessorMetrics
from shared.actions import letter_replays
from shared.broker.publisher import Publisher
from shared.broker.topology import CHANGES, RAW
from shared.crypto import KeyRing
from shared.messages import Nudge
from shared.process.health import Health
from shared.store.audit import Requester
from shared.store.intake import replays
from shared.store.intake.replays import LetterSelection
from shared.store.pool import Conn, Pool, transaction
from tests.support import running, servers
from tests.support.broker import Broker, open_broker
from tests.support.bundles import bundle
from tests.support.refusing import refusing
from tests.support.sending import account_update
from tests.support.waiting import eventually

DELAYS = (1, 2, 3)
VIOLATION = write(account_update("ACCOUNT_VIOLATION", violation_info={"violation_type": "ADULT"}))
REFUSED = "database_P0001"


@pytest.fixture
async def quick_broker(
    environment: dict[str, str], worker: str, monkeypatch: MonkeyPatch
) -> AsyncIterator[Broker]:
    """Yield a virtual host with short retry delays."""
    url = await servers.create_vhost(f"quick_{worker}", retry_seconds=DELAYS)
    monkeypatch.setenv("RABBITMQ_URL", url)
    monkeypatch.setenv("RETRY_SECONDS", ",".join(map(str, DELAYS)))
    async with open_broker(url) as broker:
        yield broker
    await servers.delete_vhost(f"quick_{worker}")


@asynccontextmanager
async def recording_attempts(conn: Conn) -> AsyncIterator[None]:
    """Record the begin of each attempt of a change in `tries` (of the first: when it failed)."""
    await conn.execute(
        """
        CREATE TABLE tries (attempts smallint PRIMARY KEY, at timestamptz NOT NULL);
        CREATE FUNCTION note_try() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            INSERT INTO tries VALUES (NEW.attempts, clock_timestamp()) ON CONFLICT DO NOTHING;
            RETURN NEW;
        END $$;
        CREATE TRIGGER note_try AFTER UPDATE OF attempts ON webhook_changes
            FOR EACH ROW WHEN (NEW.attempts > OLD.attempts) EXECUTE FUNCTION note_try();
        """
    )
    try:
        yield
    finally:
        await conn.execute(
            "DROP TRIGGER note_try ON webhook_changes; DROP FUNCTION note_try; DROP TABLE tries"
        )


async def test_a_change_that_always_fails_is_dead_after_three_retries_and_can_be_replayed(
    environment: dict[str, str], quick_broker: Broker, conn: Conn, pool: Pool, ring: KeyRing
) -> None:
    async with running.processor(environment), recording_attempts(conn):
        async with refusing(conn, "violation"):
            await quick_broker.put(RAW, bundle(VIOLATION))
            [letter] = await eventually(lambda: conn.fetch("SELECT * FROM dead_letters"))
        assert (letter["kind"], letter["blame"], letter["attempts"]) == ("change", "ours", 4)
        assert letter["error"] == REFUSED
        times = [row["at"] for row in await conn.fetch("SELECT at FROM tries ORDER BY attempts")]
        assert len(times) == 4
        for delay, (begin, next_begin) in zip(DELAYS, pairwise(times), strict=True):
            assert next_begin - begin >= timedelta(seconds=delay)
        row = await conn.fetchrow(
            "SELECT log.processed, changes_left, webhook_changes.state, webhook_changes.attempts"
            " FROM webhook_log AS log JOIN webhook_changes ON webhook_id = log.id"
        )
        assert row is not None
        assert tuple(row) == (False, 1, "dead", 4)

        everything = LetterSelection(None, letter["fingerprint"], datetime.now(UTC))
        replay_ids = []
        for actor in ("one", "two"):
            async with transaction(pool) as tx:
                replay_ids.append(
                    await letter_replays.start(
                        tx, everything, "replayed", rate=10, requester=Requester(actor, "fixed")
                    )
                )
        for replay_id in replay_ids:
            await letter_replays.run(pool, ring, replay_id, lambda _: None)
        await eventually(lambda: conn.fetchval("SELECT processed FROM webhook_log"))
    done = await conn.fetch("SELECT actor, total, done, skipped FROM replays ORDER BY id")
    assert [tuple(row) for row in done] == [("one", 1, 1, 0), ("two", 1, 0, 0)]
    row = await conn.fetchrow("SELECT state::text, attempts, last_error FROM webhook_changes")
    assert row is not None
    assert tuple(row) == ("processed", 1, None)
    audited = await conn.fetch("SELECT actor, action, reason FROM audit_log ORDER BY id")
    assert [tuple(row) for row in audited] == [
        ("one", "dead_letters.replayed", "fixed"), ("two", "dead_letters.replayed", "fixed"),
    ]  # fmt: skip


async def test_a_nudge_waits_in_its_delay_queue_and_returns_with_its_attempt(
    quick_broker: Broker,
) -> None:
    publisher = Publisher(Health(CollectorRegistry()).dependency("publisher"))
    nudge = Nudge(uuid7(), 2, DELAYS[0])
    serving = asyncio.ensure_future(publisher.serve(quick_broker.amqp))
    try:
        await eventually(lambda: asyncio.sleep(0, publisher.is_up))
        await RetryNudges(publisher, ProcessorMetrics(CollectorRegistry())).send([nudge])
        async with quick_broker.amqp.channel() as channel:
            queue = await channel.get_queue(CHANGES)
            delivery = await eventually(lambda: queue.get(fail=False))
            await delivery.ack()
    finally:
        serving.cancel()
    assert delivery.headers["attempt"] == 2
    assert orjson.loads(delivery.body) == {"version": 1, "id": str(nudge.id), "attempt": 2}
    assert f"retry.{DELAYS[0]}" in str(delivery.headers["x-death"])


async def test_a_retry_needs_no_broker(
    environment: dict[str, str], broker: Broker, conn: Conn
) -> None:
    """The nudge is lost, but the loop finds the row."""
    async with running.processor(environment):
        async with refusing(conn, "violation"):
            await broker.put(RAW, bundle(VIOLATION))
            await eventually(
                lambda: conn.fetchval("SELECT 1 FROM webhook_changes WHERE state = 'failed'")
            )
        await conn.execute("UPDATE webhook_changes SET next_attempt_at = now()")
        await eventually(lambda: conn.fetchval("SELECT processed FROM webhook_log"))
    assert await conn.fetchval("SELECT attempts FROM webhook_changes") == 2
    assert await conn.fetchval("SELECT count(*) FROM dead_letters") == 0


async def test_discarded_rows_count_as_processed(
    environment: dict[str, str], broker: Broker, conn: Conn, pool: Pool, ring: KeyRing
) -> None:
    unreadable = write(account_update("PARTNER_ADDED", waba_info={"waba_id": "none"}))
    broken = b"{"
    async with running.processor(environment):
        await broker.put(RAW, bundle(unreadable, broken))
        letters = await eventually(
            lambda: conn.fetch(
                "SELECT * FROM dead_letters WHERE (SELECT count(*) FROM dead_letters) = 2"
            )
        )
    assert {(letter["kind"], letter["blame"], letter["attempts"]) for letter in letters} == {
        ("change", "meta", 1), ("webhook", "meta", 1),
    }  # fmt: skip
    async with transaction(pool) as tx:
        replay_id = await letter_replays.start(
            tx,
            LetterSelection([letter["id"] for letter in letters], None, datetime.now(UTC)),
            "discarded",
            rate=10,
            requester=Requester("operator", "not needed"),
        )
    await letter_replays.run(pool, ring, replay_id, lambda _: None)
    assert await conn.fetchval("SELECT bool_and(processed) FROM webhook_log")
    assert await conn.fetchval("SELECT state FROM webhook_changes") == "discarded"
    states = await conn.fetch("SELECT state::text FROM webhook_log ORDER BY 1")
    assert [row[0] for row in states] == ["discarded", "split"]
    async with transaction(pool) as tx:
        replay = await replays.get(tx, replay_id)
    assert replay is not None
    assert (replay.done, replay.total) == (2, 2)
