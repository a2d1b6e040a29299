"""The daily partitions of the bodies are made ahead, and the default partition is emptied."""

import asyncio
from datetime import UTC, datetime, timedelta

import asyncpg

from shared.crypto import KeyRing
from shared.store.intake import partitions, webhooks
from shared.store.pool import Conn
from shared.store.rotation import COLUMNS, RotationBatch, reseal
from tests.support.environment import BODY_KEY
from tests.support.eras import is_lock_awaited
from tests.support.samples import make_webhook, make_webhook_row
from tests.support.waiting import eventually


async def test_partitions_are_created_two_weeks_ahead_once(migrated: Conn) -> None:
    today = datetime.now(UTC).date()
    assert await partitions.add_ahead(migrated, today) == 14
    assert await partitions.add_ahead(migrated, today) == 0
    assert await partitions.add_ahead(migrated, today + timedelta(days=1)) == 1


async def test_concurrent_jobs_create_each_partition_once(
    migrated: Conn, empty_database_url: str
) -> None:
    today = datetime.now(UTC).date()
    others = [await asyncpg.connect(empty_database_url) for _ in range(3)]
    try:
        made = await asyncio.gather(*(partitions.add_ahead(other, today) for other in others))
    finally:
        await asyncio.gather(*(other.close() for other in others))
    assert sorted(made) == [0, 0, 14]


async def test_a_body_is_stored_in_the_partition_of_its_day(migrated: Conn, ring: KeyRing) -> None:
    now = datetime.now(UTC)
    await partitions.add_ahead(migrated, now.date())
    days = [now, now + timedelta(days=1)]
    stored = [make_webhook(at=at) for at in days]
    await webhooks.insert(migrated, ring, [make_webhook_row(webhook) for webhook in stored])

    tables = await migrated.fetch("SELECT id, tableoid::regclass::text AS name FROM webhook_bodies")
    assert {table["id"]: table["name"] for table in tables} == {
        stored[0].id: "webhook_bodies_default",
        stored[1].id: f"webhook_bodies_{days[1]:%Y%m%d}",
    }


async def test_a_day_with_bodies_in_the_default_partition_is_skipped(
    migrated: Conn, ring: KeyRing
) -> None:
    now = datetime.now(UTC)
    await webhooks.insert(
        migrated, ring, [make_webhook_row(make_webhook(at=now + timedelta(days=3)))]
    )
    assert await partitions.add_ahead(migrated, now.date()) == 13


async def test_bodies_of_past_days_leave_the_default_partition(
    migrated: Conn, ring: KeyRing
) -> None:
    now = datetime.now(UTC)
    stored = [make_webhook(at=now - timedelta(days=ago)) for ago in (3, 3, 1, 0)]
    await webhooks.insert(migrated, ring, [make_webhook_row(webhook) for webhook in stored])
    await partitions.add_ahead(migrated, now.date())
    late = make_webhook(at=stored[0].received_at)
    await webhooks.insert(migrated, ring, [make_webhook_row(late)])
    await partitions.add_ahead(migrated, now.date())

    tables = await migrated.fetch("SELECT id, tableoid::regclass::text AS name FROM webhook_bodies")
    assert {table["id"]: table["name"] for table in tables} == {
        webhook.id: f"webhook_bodies_{webhook.received_at:%Y%m%d}"
        for webhook in (*stored[:3], late)
    } | {stored[3].id: "webhook_bodies_default"}
    loaded = await webhooks.load_unsplit(migrated, ring, [webhook.id for webhook in stored])
    assert len(loaded) == len(stored)


async def test_what_a_stopped_run_left_on_the_default_partition_is_removed(
    migrated: Conn, ring: KeyRing
) -> None:
    await migrated.execute(
        "ALTER TABLE webhook_bodies_default ADD CONSTRAINT not_another_day CHECK (id IS NULL)"
    )
    now = datetime.now(UTC)
    await partitions.add_ahead(migrated, now.date())
    await webhooks.insert(migrated, ring, [make_webhook_row(make_webhook(at=now))])
    await migrated.execute(
        "ALTER TABLE webhook_bodies_default ADD CONSTRAINT not_another_day CHECK (id IS NULL)"
        " NOT VALID"
    )
    assert await partitions.add_ahead(migrated, now.date()) == 0
    await webhooks.insert(migrated, ring, [make_webhook_row(make_webhook(at=now))])


async def test_a_rotation_waits_for_bodies_that_move_to_their_partition(
    migrated: Conn, empty_database_url: str, ring: KeyRing
) -> None:
    now = datetime.now(UTC)
    webhook = make_webhook(at=now - timedelta(days=2))
    await webhooks.insert(migrated, ring, [make_webhook_row(webhook)])
    newer = KeyRing([b"n" * 32, bytes.fromhex(BODY_KEY)])
    [bodies] = [column for column in COLUMNS["bodies"] if column.table == "webhook_bodies"]
    other = await asyncpg.connect(empty_database_url)
    try:
        await migrated.execute("SELECT pg_advisory_lock(hashtext('porteiro partitions'))")
        await partitions._move_from_default(migrated, webhook.received_at.date())

        async def reseal_in_transaction() -> RotationBatch:
            async with other.transaction():
                return await reseal(other, newer, bodies, after=None)

        resealing = asyncio.ensure_future(reseal_in_transaction())
        await eventually(lambda: is_lock_awaited(migrated))
        await migrated.execute("SELECT pg_advisory_unlock_all()")
        assert (await asyncio.wait_for(resealing, 10)).resealed == 1
        envelope = await migrated.fetchval("SELECT body FROM webhook_bodies")
        assert envelope[1:5] == newer.write_id
    finally:
        await other.close()
