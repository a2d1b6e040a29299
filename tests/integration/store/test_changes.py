"""The changes: unique by key for ever and everywhere, and no two writers block each other dead."""

from uuid import uuid4

import pytest

from shared.crypto import KeyRing, Undecryptable, associated_data
from shared.domain.splitting import Change
from shared.messages import Webhook
from shared.store.intake import changes, webhooks
from shared.store.pool import Conn
from tests.support.samples import make_arrival, make_change, make_webhook, of


async def kept(conn: Conn, ring: KeyRing, count: int = 1) -> list[Webhook]:
    """Webhooks in the log, for changes to belong to."""
    made = [make_webhook() for _ in range(count)]
    await webhooks.insert(conn, ring, [make_arrival(one, state="split") for one in made])
    return made


async def test_a_change_is_stored_once_whatever_webhook_brings_it(
    conn: Conn, ring: KeyRing
) -> None:
    one, other = await kept(conn, ring, 2)
    assert len(await changes.insert(conn, ring, of(one, make_change(1), make_change(2)))) == 2
    assert len(await changes.insert(conn, ring, of(other, make_change(2), make_change(3)))) == 1
    assert len(await changes.insert(conn, ring, of(one, make_change(1)))) == 0

    rows = await conn.fetch("SELECT key, webhook_id FROM webhook_changes ORDER BY key")
    owners = [(int.from_bytes(row["key"]), row["webhook_id"]) for row in rows]
    assert owners == [(1, one.id), (2, one.id), (3, other.id)]


async def test_a_change_that_stands_twice_in_one_webhook_is_stored_once(
    conn: Conn, ring: KeyRing
) -> None:
    [webhook] = await kept(conn, ring)
    assert len(await changes.insert(conn, ring, of(webhook, make_change(1), make_change(1)))) == 1


async def test_a_change_is_stored_as_it_was_told(conn: Conn, ring: KeyRing) -> None:
    [webhook] = await kept(conn, ring)
    unknown = Change(b"\xff" * 32, None, None, None, None, None, b"null")
    await changes.insert(conn, ring, of(webhook, make_change(1), unknown))

    told, untold = await conn.fetch("SELECT * FROM webhook_changes ORDER BY key")
    assert told["subject_hash"] == ring.subject_hash("15550004444")
    assert told["received_at"] == webhook.received_at
    texts = ("field", "event", "waba_id", "phone_number_id")
    assert [told[name] for name in texts] == [
        "messages", "text", "210000000000010", "230000000000060",
    ]  # fmt: skip
    assert [untold[name] for name in (*texts, "subject_hash")] == [None] * 5
    assert [row["state"] for row in (told, untold)] == ["processed"] * 2


async def test_content_is_sealed_and_opens_only_in_its_own_row(conn: Conn, ring: KeyRing) -> None:
    [webhook] = await kept(conn, ring)
    await changes.insert(conn, ring, of(webhook, make_change(1, content=b'{"text":"secret"}')))
    [row] = await conn.fetch("SELECT id, content, webhook_changes::text FROM webhook_changes")

    assert b"secret" not in row["content"]
    place = associated_data("webhook_changes", row["id"].bytes, "content")
    assert ring.open(row["content"], place) == b'{"text":"secret"}'
    with pytest.raises(Undecryptable):
        ring.open(row["content"], associated_data("webhook_changes", uuid4().bytes, "content"))
