"""Writers that bring the same rows in opposite order wait for each other, never in a circle."""

from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID

from shared.crypto import KeyRing
from shared.domain.splitting import Change
from shared.store.intake import changes, webhooks
from shared.store.intake.webhooks import WebhookRow
from shared.store.pool import Conn, Pool
from tests.support.crosswise import write_crosswise
from tests.support.samples import make_arrival, make_change, make_webhook, of

COUNT = 200


async def test_the_same_changes_in_opposite_order(pool: Pool, conn: Conn, ring: KeyRing) -> None:
    webhook = make_webhook()
    await webhooks.insert(conn, ring, [make_arrival(webhook, state="split")])

    async def write(conn: Conn, rows: Sequence[tuple[UUID, datetime, Change]]) -> int:
        return len(await changes.insert(conn, ring, rows))

    rows = of(webhook, *map(make_change, range(COUNT)))
    assert await write_crosswise(pool, rows, write) == COUNT


async def test_the_same_webhooks_in_opposite_order(pool: Pool, ring: KeyRing) -> None:
    async def write(conn: Conn, rows: Sequence[WebhookRow]) -> int:
        return len(await webhooks.insert(conn, ring, rows))

    now = datetime.now(UTC)
    arrivals = [make_arrival(make_webhook(at=now)) for _ in range(COUNT)]
    assert await write_crosswise(pool, arrivals, write) == COUNT
