"""A webhook is stored once. Its body is sealed and is read back exactly."""

import pytest

from shared.crypto import KeyRing, Undecryptable
from shared.store.intake import webhooks
from shared.store.pool import Conn
from tests.support.samples import SIGNATURE, make_webhook, make_webhook_row

EVERYTHING = (
    "SELECT webhook_log::text, webhook_bodies::text FROM webhook_log JOIN webhook_bodies USING (id)"
)
BODY = b'{"entry":[{"id":"1"}],"text":"the secret of caf\\u00e9"}\r\n \x00\xff'


async def test_a_webhook_inserted_twice_is_stored_once_and_unchanged(
    conn: Conn, ring: KeyRing
) -> None:
    first, other = make_webhook(BODY), make_webhook()
    assert await webhooks.insert(conn, ring, [make_webhook_row(first)]) == {first.id}
    before = await conn.fetch(EVERYTHING)

    again = [make_webhook_row(first, state="split"), make_webhook_row(other)]
    assert await webhooks.insert(conn, ring, again[:1]) == set()
    assert await conn.fetch(EVERYTHING) == before

    assert await webhooks.insert(conn, ring, again) == {other.id}


async def test_a_split_webhook_is_processed_at_once_and_others_are_not(
    conn: Conn, ring: KeyRing
) -> None:
    for state in ("split", "unsplit", "dead"):
        await webhooks.insert(conn, ring, [make_webhook_row(state=state)])
    rows = await conn.fetch("SELECT state, processed FROM webhook_log")
    assert dict(map(tuple, rows)) == {"split": True, "unsplit": False, "dead": False}


@pytest.mark.parametrize("body", [b"", BODY, bytes(range(256)) * 12_288], ids=len)
async def test_a_body_is_read_back_byte_for_byte(conn: Conn, ring: KeyRing, body: bytes) -> None:
    webhook = make_webhook(body)
    await webhooks.insert(conn, ring, [make_webhook_row(webhook)])

    assert await webhooks.read_body(conn, ring, webhook.id) == body
    assert await webhooks.load_unsplit(conn, ring, [webhook.id]) == [(webhook, "fast")]


async def test_a_webhook_of_a_kind_without_a_signature_is_read_back_without_one(
    conn: Conn, ring: KeyRing
) -> None:
    signed = make_webhook()
    unsigned = type(signed)(signed.id, signed.received_at, "test", "", signed.body)
    await webhooks.insert(conn, ring, [make_webhook_row(unsigned)])
    assert await webhooks.load_unsplit(conn, ring, [signed.id]) == [(unsigned, "fast")]


async def test_a_stored_body_is_sealed(conn: Conn, ring: KeyRing) -> None:
    await webhooks.insert(conn, ring, [make_webhook_row(make_webhook(BODY))])
    [row] = await conn.fetch("SELECT * FROM webhook_bodies")
    assert b"secret" not in row["body"]
    assert len(row["body"]) > len(BODY)
    assert row["signature"].hex() == SIGNATURE.removeprefix("sha256=")


async def test_a_body_moved_to_another_row_does_not_open(conn: Conn, ring: KeyRing) -> None:
    first, other = make_webhook(BODY), make_webhook()
    await webhooks.insert(conn, ring, [make_webhook_row(first), make_webhook_row(other)])
    await conn.execute(
        "UPDATE webhook_bodies SET body = (SELECT body FROM webhook_bodies WHERE id = $1)"
        " WHERE id = $2",
        first.id,
        other.id,
    )
    assert await webhooks.read_body(conn, ring, first.id) == BODY
    with pytest.raises(Undecryptable):
        await webhooks.read_body(conn, ring, other.id)


async def test_a_body_that_was_dropped_reads_as_none(conn: Conn, ring: KeyRing) -> None:
    webhook = make_webhook()
    await webhooks.insert(conn, ring, [make_webhook_row(webhook)])
    await conn.execute("DELETE FROM webhook_bodies")
    assert await webhooks.read_body(conn, ring, webhook.id) is None
