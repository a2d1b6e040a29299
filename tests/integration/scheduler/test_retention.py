"""What is older than promised goes, and nothing that is not settled goes with it."""

from collections.abc import Mapping
from datetime import timedelta
from uuid import UUID

import pytest
from pytest import MonkeyPatch

from services.scheduler.jobs import retention
from services.scheduler.jobs.retention import retain
from shared.crypto import KeyRing
from shared.store import retention as store
from shared.store.connections import connections, eras
from shared.store.intake import changes
from shared.store.pool import Conn
from tests.support.aged import FATES, OWNER, Fate, ago
from tests.support.aged import store as store_aged
from tests.support.samples import WABA

UNSETTLED: tuple[Fate, ...] = (
    "unsplit", "dead webhook", "pending", "failed", "dead", "orphan", "unpublished"
)  # fmt: skip
EVERYTHING = """
    SELECT json_build_object(
        'log', (SELECT json_agg(row ORDER BY id) FROM webhook_log AS row),
        'changes', (SELECT json_agg(row ORDER BY id) FROM webhook_changes AS row),
        'events', (SELECT json_agg(row ORDER BY id) FROM events AS row),
        'letters', (SELECT json_agg(row ORDER BY id) FROM dead_letters AS row),
        'audit', (SELECT json_agg(row ORDER BY id) FROM audit_log AS row),
        'runs', (SELECT count(*) FROM job_runs)
    )::text
"""


async def fates_left(conn: Conn, stored: Mapping[Fate, UUID]) -> set[Fate]:
    """Return the fates of those webhooks that are still stored."""
    ids = {record["id"] for record in await conn.fetch("SELECT id FROM webhook_log")}
    return {fate for fate, webhook_id in stored.items() if webhook_id in ids}


async def test_nothing_unsettled_goes(
    environment: dict[str, str], conn: Conn, ring: KeyRing
) -> None:
    stored = {fate: await store_aged(conn, ring, fate, received=89, since=29) for fate in FATES}
    await retain(dry_run=False)
    assert await fates_left(conn, stored) == set(UNSETTLED)
    contents = "SELECT count(*) FROM webhook_changes WHERE content IS NOT NULL"
    assert await conn.fetchval(contents) == 5
    assert await conn.fetchval("SELECT count(*) FROM events") == 1
    assert await conn.fetchval("SELECT count(*) FROM dead_letters WHERE closed_at IS NULL") == 2
    assert await conn.fetchval("SELECT count(*) FROM webhook_bodies") == len(FATES)


async def test_a_change_that_is_not_settled_keeps_its_webhook_whatever_was_counted(
    environment: dict[str, str], conn: Conn, ring: KeyRing
) -> None:
    for fate in ("pending", "failed"):
        await store_aged(conn, ring, fate, received=89)
    await conn.execute("UPDATE webhook_log SET processed = true, changes_left = 0")
    await retain(dry_run=False)
    assert await conn.fetchval("SELECT count(*) FROM webhook_changes") == 2


async def test_a_dead_letter_is_discarded_on_its_thirtieth_day_and_audited(
    environment: dict[str, str], conn: Conn, ring: KeyRing
) -> None:
    dead: tuple[Fate, Fate] = ("dead", "dead webhook")
    stored = {fate: await store_aged(conn, ring, fate, received=34, since=30.01) for fate in dead}
    await retain(dry_run=False)
    letters = await conn.fetch("SELECT id::text, outcome FROM dead_letters ORDER BY id")
    assert [letter["outcome"] for letter in letters] == ["discarded"] * 2
    audited = await conn.fetch("SELECT subject, actor, action, reason FROM audit_log")
    assert {record["subject"] for record in audited} == {letter["id"] for letter in letters}
    assert {tuple(record)[1:] for record in audited} == {
        ("retention", "dead_letter.discarded", "nobody replayed it within 30 days")
    }
    states = "SELECT state::text FROM webhook_changes UNION SELECT state::text FROM webhook_log"
    assert {r["state"] for r in await conn.fetch(states)} == {"discarded", "split"}
    assert await conn.fetchval("SELECT bool_and(processed) FROM webhook_log")

    await conn.execute("UPDATE webhook_log SET received_at = $1", ago(36))
    await retain(dry_run=False)
    assert await fates_left(conn, stored) == set()
    rows = await conn.fetch("SELECT webhook_id FROM dead_letters")
    assert [row["webhook_id"] for row in rows] == [None, None]  # closed, and kept for 30 days

    await conn.execute("UPDATE dead_letters SET closed_at = $1", ago(31))
    await retain(dry_run=False)
    assert await conn.fetchval("SELECT count(*) FROM dead_letters") == 0
    assert await conn.fetchval("SELECT count(*) FROM audit_log") == 2


@pytest.mark.parametrize(
    ("fate", "received", "since", "is_kept"),
    [
        ("published", 20, 7.9, (True, True)),  # it can still be replayed
        ("published", 20, 8.1, (False, True)),
        ("unrouted", 20, 8.1, (False, True)),
        ("published", 80, 7.9, (True, True)),
        ("published", 34.9, 9, (False, True)),  # its key recognizes what Meta sends again
        ("published", 35.1, 9, (False, False)),
        ("orphan", 89.9, None, (True, True)),
        ("orphan", 90.1, None, (False, False)),
        ("discarded", 34.9, None, (True, True)),
        ("discarded", 35.1, None, (False, False)),
        ("unpublished", 300, None, (True, True)),
        ("pending", 300, None, (True, True)),
    ],
)
async def test_content_and_webhooks_go_at_their_age(
    environment: dict[str, str], conn: Conn, ring: KeyRing, fate: Fate, received: float,
    since: float | None, is_kept: tuple[bool, bool],
) -> None:  # fmt: skip
    await store_aged(conn, ring, fate, received=received, since=since)
    await retain(dry_run=False)
    is_content_kept, is_webhook_kept = is_kept
    contents = "SELECT count(*) FROM webhook_changes WHERE content IS NOT NULL"
    assert await conn.fetchval(contents) == is_content_kept
    assert await conn.fetchval("SELECT count(*) FROM webhook_log") == is_webhook_kept
    assert await conn.fetchval("SELECT count(*) FROM webhook_changes") == is_webhook_kept


async def test_what_an_owner_is_owed_is_kept_until_it_is_given(
    environment: dict[str, str], conn: Conn, ring: KeyRing
) -> None:
    """The WABA was claimed at the last moment, and its changes are not assigned yet."""
    await store_aged(conn, ring, "orphan", received=100)
    async with conn.transaction():
        await connections.ensure(conn, [WABA])
        await conn.execute("INSERT INTO organizations (id) VALUES ($1)", OWNER)
        await eras.begin(conn, WABA, OWNER, "claimed", ago(0))
    await retain(dry_run=False)
    assert await changes.assign(conn, WABA, limit=10) == 1
    await retain(dry_run=False)
    kept = "SELECT count(*) FROM webhook_changes JOIN events USING (id) WHERE content IS NOT NULL"
    assert await conn.fetchval(kept) == 1


async def test_an_open_letter_refuses_that_its_webhook_is_deleted(
    conn: Conn, ring: KeyRing
) -> None:
    await store_aged(conn, ring, "dead webhook", received=1)
    with pytest.raises(Exception, match="open_letters_keep_their_webhook"):
        await conn.execute("DELETE FROM webhook_log")


async def test_a_dry_run_counts_what_a_run_does_and_changes_nothing(
    environment: dict[str, str], conn: Conn, ring: KeyRing
) -> None:
    for fate in FATES:
        await store_aged(conn, ring, fate, received=100, since=31)
    before = await conn.fetchval(EVERYTHING)
    await retain(dry_run=True)
    assert await conn.fetchval(EVERYTHING) == before
    await retain(dry_run=False)
    assert await conn.fetchval(EVERYTHING) != before


async def test_a_second_run_does_nothing_and_counts_nothing(
    environment: dict[str, str], conn: Conn, ring: KeyRing
) -> None:
    for fate in FATES:
        await store_aged(conn, ring, fate, received=40, since=31)
    await retain(dry_run=False)
    after_one = await conn.fetchval(EVERYTHING)
    await retain(dry_run=False)
    assert (await conn.fetchval(EVERYTHING)).replace('"runs" : 2', '"runs" : 1') == after_one
    counts = await conn.fetchval("SELECT counts FROM job_runs ORDER BY id DESC LIMIT 1")
    assert set(counts) <= set('{}": ,0abcdefghijklmnopqrstuvwxyz_'), counts


async def test_it_goes_on_behind_a_page_of_what_is_kept(
    environment: dict[str, str], conn: Conn, ring: KeyRing, monkeypatch: MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "MAX_BATCH", 2)
    for days in (50, 49, 48, 47):
        await store_aged(conn, ring, "orphan", received=days)
        await store_aged(conn, ring, "unpublished", received=days)
    for days in (46, 45, 44):
        await store_aged(conn, ring, "published", received=days, since=9)
    await retain(dry_run=False)
    assert await conn.fetchval("SELECT count(*) FROM webhook_log") == 8
    assert await conn.fetchval("SELECT count(*) FROM events") == 4


async def test_webhooks_with_many_changes_go_in_smaller_batches(
    conn: Conn, ring: KeyRing, monkeypatch: MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "MAX_CHANGES", 2)
    for days in (44, 43, 42, 41, 40):
        await store_aged(conn, ring, "discarded", received=days)
    batch = await store.delete_webhooks(conn, ago(35), ago(90), None)
    assert batch.counts["webhooks"] == 2


async def test_a_spent_budget_is_no_failure_and_is_told(
    environment: dict[str, str], conn: Conn, ring: KeyRing, monkeypatch: MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "BUDGET", timedelta(0))
    await store_aged(conn, ring, "published", received=40, since=20)
    await retain(dry_run=False)
    run = await conn.fetchrow("SELECT outcome, counts::text FROM job_runs")
    assert run is not None
    assert tuple(run) == ("succeeded", '{"unfinished_steps": 4}')
    assert await conn.fetchval("SELECT count(*) FROM webhook_log") == 1


async def test_a_locked_webhook_is_left_for_the_next_run(
    environment: dict[str, str], conn: Conn, ring: KeyRing
) -> None:
    locked = await store_aged(conn, ring, "published", received=40, since=20)
    await store_aged(conn, ring, "published", received=40, since=20)
    async with conn.transaction():
        await conn.execute("SELECT FROM webhook_log WHERE id = $1 FOR UPDATE", locked)
        await retain(dry_run=False)
        assert await conn.fetchval("SELECT array_agg(id) FROM webhook_log") == [locked]
    await retain(dry_run=False)
    assert await conn.fetchval("SELECT count(*) FROM webhook_log") == 0
