"""Changes are unique by key across all webhooks, and their content is sealed."""

from uuid import uuid4

import pytest

from shared.crypto import KeyRing, Undecryptable, associated_data
from shared.domain.splitting import Change
from shared.messages import Webhook
from shared.store.intake import changes, webhooks
from shared.store.pool import Conn
from tests.support.samples import changes_of, make_change, make_webhook, make_webhook_row


async def store_webhooks(conn: Conn, ring: KeyRing, count: int = 1) -> list[Webhook]:
    """Store webhooks, for changes to belong to."""
    stored = [make_webhook() for _ in range(count)]
    await webhooks.insert(
        conn, ring, [make_webhook_row(webhook, state="split") for webhook in stored]
    )
    return stored


async def test_a_change_in_several_webhooks_is_stored_once(conn: Conn, ring: KeyRing) -> None:
    first, other = await store_webhooks(conn, ring, 2)

    async def insert(webhook: Webhook, *numbers: int) -> int:
        rows = changes_of(webhook, *map(make_change, numbers))
        return len(await changes.insert(conn, ring, rows))

    assert await insert(first, 1, 2) == 2
    assert await insert(other, 2, 3) == 1
    assert await insert(first, 1) == 0

    rows = await conn.fetch("SELECT key, webhook_id FROM webhook_changes ORDER BY key")
    owners = [(int.from_bytes(row["key"]), row["webhook_id"]) for row in rows]
    assert owners == [(1, first.id), (2, first.id), (3, other.id)]


async def test_a_change_twice_in_one_webhook_is_stored_once(conn: Conn, ring: KeyRing) -> None:
    [webhook] = await store_webhooks(conn, ring)
    rows = changes_of(webhook, make_change(1), make_change(1))
    assert len(await changes.insert(conn, ring, rows)) == 1


async def test_a_change_is_stored_with_its_fields(conn: Conn, ring: KeyRing) -> None:
    [webhook] = await store_webhooks(conn, ring)
    unknown = Change(b"\xff" * 20, None, None, None, None, frozenset(), b"null", b"\xff" * 32)
    await changes.insert(conn, ring, changes_of(webhook, make_change(1), unknown))

    full, empty = await conn.fetch("SELECT * FROM webhook_changes ORDER BY key")
    assert full["received_at"] == webhook.received_at
    texts = ("field", "event", "waba_id", "phone_number_id")
    assert [full[name] for name in texts] == [
        "messages", "text", "210000000000010", "230000000000060",
    ]  # fmt: skip
    assert [empty[name] for name in texts] == [None] * 4
    assert [row["state"] for row in (full, empty)] == ["processed"] * 2


async def test_content_is_sealed_and_opens_only_in_its_own_row(conn: Conn, ring: KeyRing) -> None:
    [webhook] = await store_webhooks(conn, ring)
    await changes.insert(
        conn, ring, changes_of(webhook, make_change(1, content=b'{"text":"secret"}'))
    )
    [row] = await conn.fetch("SELECT id, content, webhook_changes::text FROM webhook_changes")

    assert b"secret" not in row["content"]
    context = associated_data("webhook_changes", row["id"].bytes, "content")
    assert ring.open(row["content"], context) == b'{"text":"secret"}'
    with pytest.raises(Undecryptable):
        ring.open(row["content"], associated_data("webhook_changes", uuid4().bytes, "content"))
