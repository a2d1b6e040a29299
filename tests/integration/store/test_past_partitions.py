"""Days are added ahead and dropped in time, and nothing unsettled goes with them."""

import asyncio
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta

import asyncpg
import pytest
from pytest import MonkeyPatch

from shared.crypto import KeyRing
from shared.messages import Webhook
from shared.store.intake import partitions, past_partitions, webhooks
from shared.store.pool import Conn
from shared.store.rotation import COLUMNS, reseal
from tests.support.command_line import porteiro
from tests.support.environment import BODY_KEY
from tests.support.samples import make_webhook, make_webhook_row
from tests.support.waiting import eventually

NOW = datetime.now(UTC)
OLD = NOW - timedelta(days=40)
DAYS = (
    "SELECT relname FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid"
    " WHERE inhparent = 'webhook_bodies'::regclass"
)


async def names(conn: Conn) -> set[str]:
    return {record["relname"] for record in await conn.fetch(DAYS)}


def name(day: datetime | date) -> str:
    return f"webhook_bodies_{day:%Y%m%d}"


async def run(url: str, *options: str, **env: str) -> str:
    settings = {"ENVIRONMENT": "local", "DATABASE_URL": url}
    code, log = await porteiro("partitions", *options, **settings, **env)
    assert code == 0, log
    return log


async def store(conn: Conn, ring: KeyRing, at: datetime) -> list[Webhook]:
    """Store a split webhook and an unsplit one."""
    pair = [make_webhook(b'{"n":1}', at=at), make_webhook(b'{"n":2}', at=at)]
    rows = [make_webhook_row(pair[0], state="split"), make_webhook_row(pair[1])]
    await webhooks.insert(conn, ring, rows)
    return pair


async def readable(conn: Conn, ring: KeyRing, sent: Iterable[Webhook]) -> list[bytes | None]:
    return [await webhooks.read_body(conn, ring, webhook.id) for webhook in sent]


async def test_after_twenty_days_without_a_run_the_days_are_brought_up_to_date(
    migrated: Conn,
    empty_database_url: str,
    ring: KeyRing,
) -> None:
    sent = {ago: await store(migrated, ring, NOW - timedelta(days=ago))
            for ago in (40, 36, 35, 20, 1, 0)}  # fmt: skip
    log = await run(empty_database_url, "--dry-run")
    assert await names(migrated) == {"webhook_bodies_default"}
    assert await migrated.fetchval("SELECT count(*) FROM job_runs") == 0

    log = await run(empty_database_url)
    past = {name(NOW - timedelta(days=ago)) for ago in (35, 20, 1)}
    ahead = {name(NOW + timedelta(days=n)) for n in range(1, 15)}
    assert await names(migrated) == {"webhook_bodies_default"} | past | ahead, log
    for ago, (settled, unsettled) in sent.items():
        kept = [None if ago > 35 else settled.body, unsettled.body]
        assert await readable(migrated, ring, [settled, unsettled]) == kept
    ids = [unsettled.id for _, unsettled in sent.values()]
    assert len(await webhooks.load_unsplit(migrated, ring, ids)) == len(ids)
    assert len(await webhooks.sizes(migrated, ids)) == len(ids)
    assert await migrated.fetchval("SELECT count(*) FROM unsettled_bodies") == 2

    await run(empty_database_url)
    counts = await migrated.fetch("SELECT counts::text FROM job_runs ORDER BY started_at")
    assert [record["counts"] for record in counts] == [
        '{"added": 14, "ahead": 14, "copied": 2, "dropped": 2}', '{"added": 0, "ahead": 14}'
    ]  # fmt: skip


async def test_days_are_kept_as_long_as_the_setting_says(
    migrated: Conn,
    empty_database_url: str,
    ring: KeyRing,
) -> None:
    sent = await store(migrated, ring, OLD)
    await run(empty_database_url, RETENTION_BODY_DAYS="40")
    assert name(OLD) in await names(migrated)
    assert None not in await readable(migrated, ring, sent)


async def test_a_reader_that_sits_on_the_bodies_delays_only_the_drop(
    migrated: Conn,
    empty_database_url: str,
    ring: KeyRing,
) -> None:
    await store(migrated, ring, OLD)
    await partitions.add_ahead(migrated, NOW.date())
    reader, writer, watcher = [await asyncpg.connect(empty_database_url) for _ in range(3)]
    waits = "SELECT count(*) > 0 FROM pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock'"
    try:
        async with reader.transaction():
            await reader.fetch("SELECT FROM webhook_bodies")
            dropping = asyncio.ensure_future(past_partitions.drop(migrated, OLD.date()))
            await writer.execute("SET lock_timeout = '2s'")
            for _ in range(3):  # it waits again and again, and each time the writer gets its turn
                await eventually(lambda: watcher.fetchval(waits))
                await store(writer, ring, NOW + timedelta(days=2))
                await store(writer, ring, NOW)
            assert not dropping.done()
        assert await asyncio.wait_for(dropping, 20) == 1
    finally:
        await asyncio.gather(*(conn.close() for conn in (reader, writer, watcher)))


async def test_what_comes_while_a_day_is_dropped_is_not_lost(
    migrated: Conn,
    empty_database_url: str,
    ring: KeyRing,
) -> None:
    """A copy that lay in the broker for 40 days is stored in the day that is being dropped."""
    await store(migrated, ring, OLD)
    await partitions.add_ahead(migrated, NOW.date())
    writer = await asyncpg.connect(empty_database_url)
    try:
        late = writer.transaction()
        await late.start()
        [_, unsettled] = await store(writer, ring, OLD)
        dropping = asyncio.ensure_future(past_partitions.drop(migrated, OLD.date()))
        waits = "SELECT count(*) > 0 FROM pg_locks WHERE NOT granted AND mode = 'ShareLock'"
        await eventually(lambda: writer.fetchval(waits))
        await late.commit()
        assert await asyncio.wait_for(dropping, 20) == 2
        assert await readable(writer, ring, [unsettled]) == [unsettled.body]
    finally:
        await writer.close()


async def test_it_does_not_wait_for_ever_for_another_that_changes_partitions(
    migrated: Conn,
    empty_database_url: str,
    monkeypatch: MonkeyPatch,
) -> None:
    monkeypatch.setattr(partitions, "TURN_SECONDS", 1)
    other = await asyncpg.connect(empty_database_url)
    try:
        await other.execute("SELECT pg_advisory_lock(hashtext('porteiro partitions'))")
        with pytest.raises(asyncpg.LockNotAvailableError):
            await partitions.add_ahead(migrated, NOW.date())
        await other.execute("SELECT pg_advisory_unlock_all()")
        assert await partitions.add_ahead(migrated, NOW.date()) == 14
    finally:
        await other.close()


async def test_too_few_days_ahead_fail_the_job(
    migrated: Conn,
    empty_database_url: str,
    ring: KeyRing,
) -> None:
    """Rows that claim to be of the future keep a day in the default partition."""
    await store(migrated, ring, NOW + timedelta(days=5))
    settings = {"ENVIRONMENT": "local", "DATABASE_URL": empty_database_url}
    code, log = await porteiro("partitions", **settings)
    assert (code, "only 4 days ahead have a partition" in log) == (1, True), log
    assert await migrated.fetchval("SELECT outcome FROM job_runs") == "failed"


async def test_copied_bodies_are_rotated_too(migrated: Conn, ring: KeyRing) -> None:
    [_, unsettled] = await store(migrated, ring, OLD)
    await partitions.add_ahead(migrated, NOW.date())
    await past_partitions.drop(migrated, OLD.date())
    newer = KeyRing([b"n" * 32, bytes.fromhex(BODY_KEY)])
    for column in COLUMNS["bodies"]:
        async with migrated.transaction():
            await reseal(migrated, newer, column, after=None)
    assert await readable(migrated, KeyRing([b"n" * 32]), [unsettled]) == [unsettled.body]
