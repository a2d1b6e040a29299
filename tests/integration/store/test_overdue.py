"""Overdue rows are found, and counted as untouched until they are leased or finished."""

from datetime import timedelta

from shared.crypto import KeyRing
from shared.store import due
from shared.store.connections import follow_ups
from shared.store.connections.follow_ups import FOLLOW_UP_KINDS
from shared.store.intake import changes, webhooks
from shared.store.overdue import count_untouched, find_overdue
from shared.store.pool import Conn
from tests.support.samples import changes_of, make_change, make_webhook, make_webhook_row

SINCE = timedelta(minutes=5)
AGE = timedelta(minutes=6)


async def make_rows(conn: Conn, ring: KeyRing) -> None:
    """A fresh webhook, one that was tried, a failed change and a follow-up, all due now."""
    split = make_webhook()
    await webhooks.insert(
        conn,
        ring,
        [make_webhook_row(), make_webhook_row(), make_webhook_row(split, state="split")],
    )
    await changes.insert(conn, ring, changes_of(split, make_change(1)))
    await follow_ups.add(conn, "read", ["71"])
    await conn.execute("UPDATE webhook_changes SET state = 'failed', next_attempt_at = now()")
    await conn.execute(
        "UPDATE webhook_log SET attempts = 1 WHERE id IN"
        " (SELECT id FROM webhook_log WHERE state = 'unsplit' LIMIT 1)"
    )


async def make_old(conn: Conn) -> None:
    await conn.execute("UPDATE webhook_log SET received_at = now() - $1::interval", AGE)
    await conn.execute("UPDATE webhook_changes SET next_attempt_at = now() - $1::interval", AGE)
    await conn.execute("UPDATE follow_ups SET due_at = now() - $1::interval", AGE)


async def test_only_rows_due_for_longer_are_found(conn: Conn, ring: KeyRing) -> None:
    await make_rows(conn, ring)
    [tried] = await find_overdue(conn, SINCE, limit=10)  # it is due by its lease alone
    assert tried.table == "webhook_log"

    await make_old(conn)
    rows = await find_overdue(conn, SINCE, limit=10)

    tables = sorted(row.table for row in rows)
    assert tables == ["follow_ups", "webhook_changes", "webhook_log", "webhook_log"]


async def test_a_leased_or_finished_row_is_touched(conn: Conn, ring: KeyRing) -> None:
    await make_rows(conn, ring)
    await make_old(conn)
    rows = await find_overdue(conn, SINCE, limit=10)
    assert await count_untouched(conn, rows) == 4

    await due.release(conn, await due.lease(conn, "fresh"), is_interrupted=False)
    assert await count_untouched(conn, rows) == 3
    await due.lease_follow_up(conn, FOLLOW_UP_KINDS)
    assert await count_untouched(conn, rows) == 2
    await conn.execute("UPDATE webhook_changes SET state = 'processed'")
    assert await count_untouched(conn, rows) == 1
    assert len(await find_overdue(conn, SINCE, limit=10)) == 1
