"""Rows of a certain age, for the tests of what is deleted by its age."""

from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Literal
from uuid import UUID

from shared.crypto import KeyRing
from shared.domain.splitting import Change
from shared.messages import Webhook
from shared.store import events
from shared.store.connections import organizations
from shared.store.due import Lease
from shared.store.intake import changes, dead_letters, webhooks
from shared.store.pool import Conn
from tests.support.samples import changes_of, make_change, make_webhook, make_webhook_row

#: What became of a webhook with one change.
Fate = Literal[
    "unsplit", "dead webhook", "pending", "failed", "dead", "discarded", "orphan", "unpublished",
    "published", "unrouted",
]  # fmt: skip
FATES: tuple[Fate, ...] = Fate.__args__  # type: ignore[attr-defined]
OWNER = "bakery"
_numbers = count(1)


def ago(days: float) -> datetime:
    return datetime.now(UTC) - timedelta(days=days)


async def store(
    conn: Conn, ring: KeyRing, fate: Fate, *, received: float, since: float | None = None
) -> UUID:
    """Store a webhook received that many days ago, whose fate was decided `since` days ago.

    Return its id.
    """
    decided = ago(received if since is None else since)
    webhook = make_webhook(b'{"n":1}', at=ago(received))
    if fate in ("unsplit", "dead webhook"):
        await webhooks.insert(conn, ring, [make_webhook_row(webhook)])
        if fate == "dead webhook":
            await webhooks.fail(conn, Lease(webhook.id, 4), "unparsable", None)
            await dead_letters.add_webhooks(conn, [webhook.id], "meta")
            await _letter_died(conn, webhook.id, decided)
        return webhook.id
    await webhooks.insert(conn, ring, [make_webhook_row(webhook, state="split")])
    change = make_change(next(_numbers))
    [new] = await changes.insert(conn, ring, changes_of(webhook, change))
    await _decide(conn, new.id, webhook, change, fate, decided)
    return webhook.id


async def _decide(
    conn: Conn, change_id: UUID, webhook: Webhook, _: Change, fate: Fate, decided: datetime
) -> None:
    if fate in ("pending", "failed", "dead"):
        await webhooks.open_change(conn, webhook.id)
        await changes.fail(conn, Lease(change_id, 1), "failed", None)
        if fate == "dead":
            await dead_letters.add_changes(conn, [change_id], "ours")
            await _letter_died(conn, change_id, decided)
            return
    if fate in ("pending", "failed", "discarded"):
        await conn.execute(
            "UPDATE webhook_changes SET state = $2::change_state, next_attempt_at = now()"
            " WHERE id = $1",
            change_id,
            fate,
        )
    if fate in ("unpublished", "published", "unrouted"):
        await organizations.add(conn, OWNER)
        await conn.execute(
            "UPDATE webhook_changes SET organization_id = $2 WHERE id = $1", change_id, OWNER
        )
        await events.add_for_changes(conn, [change_id])
        await conn.execute(
            "UPDATE events SET created_at = $2, published_at = $3, is_unrouted = $4 WHERE id = $1",
            change_id,
            min(decided, webhook.received_at),
            None if fate == "unpublished" else decided,
            fate == "unrouted",
        )


async def _letter_died(conn: Conn, subject_id: UUID, at: datetime) -> None:
    await conn.execute("UPDATE dead_letters SET died_at = $2 WHERE subject_id = $1", subject_id, at)
