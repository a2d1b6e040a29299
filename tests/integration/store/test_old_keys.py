"""0016: while both versions run, and for what is from before, both give a change the same key."""

from datetime import UTC, datetime, timedelta

import asyncpg

from shared.crypto import KeyRing
from shared.domain.splitting import Change
from shared.store.intake import changes, webhooks
from shared.store.migrate import migrate
from tests.support.samples import changes_of, make_webhook, make_webhook_row
from tests.support.splits import only_change

NOW = datetime.now(UTC)


def change_from(at: datetime | None) -> Change:
    dated = {"timestamp": str(int(at.timestamp()))} if at else {}
    return only_change({"messages": [{"id": "wamid.1"} | dated]})


async def test_until_a_day_after_the_upgrade_both_versions_know_what_the_other_stored(
    empty_database_url: str, ring: KeyRing
) -> None:
    week_old, of_the_rollout, undated = (
        change_from(at) for at in (NOW - timedelta(days=7), NOW + timedelta(hours=20), None)
    )
    later = change_from(NOW + timedelta(days=2))
    webhook = make_webhook()
    await migrate(empty_database_url, "0015")
    conn = await asyncpg.connect(empty_database_url)
    try:
        await webhooks.insert(conn, ring, [make_webhook_row(webhook)])
        await conn.executemany(
            """
            INSERT INTO webhook_changes (id, webhook_id, received_at, key, state)
            VALUES (gen_random_uuid(), $1, now(), $2, 'processed')
            """,
            [(webhook.id, c.digest) for c in (week_old, of_the_rollout, undated)],
        )
        await migrate(empty_database_url)

        async def insert(*new: Change) -> int:
            return len(await changes.insert(conn, ring, changes_of(webhook, *new)))

        assert await insert(week_old, of_the_rollout, undated) == 0
        await conn.execute("DELETE FROM webhook_changes")
        assert await insert(week_old, of_the_rollout, undated, later) == 4
        assert await insert(week_old, of_the_rollout, undated, later) == 0
        stored = {record["key"] for record in await conn.fetch("SELECT key FROM webhook_changes")}
        assert stored == {week_old.digest, of_the_rollout.digest, undated.digest, later.key}
        await migrate(empty_database_url, "0015")
    finally:
        await conn.close()


async def test_a_new_database_has_new_keys_alone(empty_database_url: str, ring: KeyRing) -> None:
    await migrate(empty_database_url)
    conn = await asyncpg.connect(empty_database_url)
    try:
        webhook, change = make_webhook(), change_from(NOW - timedelta(days=7))
        await webhooks.insert(conn, ring, [make_webhook_row(webhook)])
        await changes.insert(conn, ring, changes_of(webhook, change))
        assert await conn.fetchval("SELECT key FROM webhook_changes") == change.key
    finally:
        await conn.close()
