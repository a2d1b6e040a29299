"""Writers of the same rows in opposite order wait for each other, without a deadlock."""

from collections.abc import Sequence
from datetime import UTC, datetime

from shared.crypto import KeyRing
from shared.store.intake import changes, webhooks
from shared.store.intake.changes import SplitChange
from shared.store.intake.webhooks import WebhookRow
from shared.store.pool import Conn, Pool
from tests.support.crosswise import write_in_opposite_order
from tests.support.samples import changes_of, make_change, make_webhook, make_webhook_row

COUNT = 200


async def test_the_same_changes_in_opposite_order(pool: Pool, conn: Conn, ring: KeyRing) -> None:
    webhook = make_webhook()
    await webhooks.insert(conn, ring, [make_webhook_row(webhook, state="split")])

    async def write(conn: Conn, rows: Sequence[SplitChange]) -> int:
        return len(await changes.insert(conn, ring, rows))

    rows = changes_of(webhook, *map(make_change, range(COUNT)))
    assert await write_in_opposite_order(pool, rows, write) == COUNT


async def test_the_same_webhooks_in_opposite_order(pool: Pool, ring: KeyRing) -> None:
    async def write(conn: Conn, rows: Sequence[WebhookRow]) -> int:
        return len(await webhooks.insert(conn, ring, rows))

    now = datetime.now(UTC)
    rows = [make_webhook_row(make_webhook(at=now)) for _ in range(COUNT)]
    assert await write_in_opposite_order(pool, rows, write) == COUNT
