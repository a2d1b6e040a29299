"""A rotation reseals every sealed column in bounded batches, and each row for its own place."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pytest import MonkeyPatch

from shared.crypto import KeyRing
from shared.domain.numbers import PhoneNumber
from shared.store import rotation
from shared.store.connections import (
    connections,
    login_codes,
    numbers,
    onboardings,
    organizations,
    tokens,
    tracking_codes,
    waba_choices,
)
from shared.store.connections.onboardings import NewOnboarding
from shared.store.connections.waba_choices import WabaChoice
from shared.store.intake import changes, dead_letters, webhooks
from shared.store.pool import Conn
from shared.store.rotation import COLUMNS, RotationBatch, SealedColumn
from tests.support.samples import changes_of, make_change, make_webhook, make_webhook_row
from tests.support.tokens import save_token

OLD, NEW = b"o" * 32, b"n" * 32
OLD_RING, BOTH, NEW_RING = KeyRing([OLD]), KeyRing([NEW, OLD]), KeyRing([NEW])
IN_AN_HOUR = datetime.now(UTC) + timedelta(hours=1)


def column(table: str, name: str) -> SealedColumn:
    both = (*COLUMNS["tokens"], *COLUMNS["bodies"])
    [found] = [sealed for sealed in both if (sealed.table, sealed.column) == (table, name)]
    return found


async def reseal_all(conn: Conn, *, dry_run: bool = False) -> list[RotationBatch]:
    async with conn.transaction():
        return [
            await rotation.reseal(conn, BOTH, sealed, after=None, dry_run=dry_run)
            for sealed in (*COLUMNS["tokens"], *COLUMNS["bodies"])
        ]


async def add_connections(conn: Conn, ring: KeyRing, *wabas: str) -> None:
    await connections.ensure(conn, wabas)
    for waba_id in wabas:
        await save_token(conn, ring, waba_id, f"token of {waba_id}")


@pytest.mark.parametrize("table", ["webhook_bodies", "unsettled_bodies"])
async def test_every_sealed_column_opens_in_its_place_under_the_new_key_alone(
    conn: Conn, table: str
) -> None:
    await organizations.add(conn, "ana")
    new = NewOnboarding("ana", "code-1", IN_AN_HOUR)
    onboarding = await onboardings.start(conn, OLD_RING, new)
    assert onboarding is not None
    assert await login_codes.start_exchange(conn, onboarding.id, b"hash")
    await login_codes.save_token(
        conn, OLD_RING, onboarding, "unproven", code_hash=b"hash", expires_at=None
    )
    choices = [WabaChoice("71", "Café")]
    await waba_choices.save(conn, OLD_RING, onboarding.id, choices)
    await add_connections(conn, OLD_RING, "71")
    listed = PhoneNumber("61", "1555", is_coexistence=False, is_registered=False)
    await numbers.save(conn, "71", [listed])
    await tokens.set_pin(conn, OLD_RING, "71", "61", "314159")
    webhook = make_webhook(b'{"entry":[1]}')
    await webhooks.insert(conn, OLD_RING, [make_webhook_row(webhook)])
    change = make_change(1, content=b"piece")
    [stored] = await changes.insert(conn, OLD_RING, changes_of(webhook, change))
    letter_id = await dead_letters.add_message(conn, OLD_RING, b"message", "broken", "meta")
    assert letter_id is not None
    if table == "unsettled_bodies":  # a body is in one of the two tables
        await conn.execute(
            "WITH old AS (DELETE FROM webhook_bodies RETURNING id, received_at, signature, body)"
            " INSERT INTO unsettled_bodies (id, received_at, signature, body) TABLE old"
        )
    counted = await reseal_all(conn, dry_run=True)
    batches = await reseal_all(conn)
    assert [sum(batch.not_resealed.values()) for batch in counted] == [
        batch.resealed for batch in batches
    ]
    assert sum(batch.resealed for batch in batches) == 8
    current = await onboardings.by_id(conn, onboarding.id)
    assert current is not None
    assert tracking_codes.open_code(NEW_RING, current.id, current.stored_code) == "code-1"
    assert await waba_choices.read(conn, NEW_RING, onboarding.id) == choices
    unproven = await login_codes.read_token(conn, NEW_RING, current)
    token = await tokens.read(conn, NEW_RING, "71")
    assert (unproven and unproven.text, token and token.text) == ("unproven", "token of 71")
    assert await tokens.ensure_pin(conn, NEW_RING, "71", "61", "000000") == "314159"
    assert await changes.read_content(conn, NEW_RING, stored.id) == b"piece"
    assert await dead_letters.message_body(conn, NEW_RING, letter_id) == b"message"
    assert await webhooks.read_body(conn, NEW_RING, webhook.id) == webhook.body


async def batches_of(conn: Conn, sealed: SealedColumn) -> list[tuple[int, Sequence[Any] | None]]:
    """Reseal batch after batch. Return how many rows each resealed, and the key it reached."""
    after, seen = None, []
    while True:
        batch = await rotation.reseal(conn, BOTH, sealed, after=after)
        seen.append((batch.resealed, batch.reached))
        if batch.reached is None:
            return seen
        after = batch.reached


async def test_a_batch_has_a_limit_of_rows_and_the_next_goes_on_behind_it(
    conn: Conn, monkeypatch: MonkeyPatch
) -> None:
    monkeypatch.setattr(rotation, "MAX_BATCH", 2)
    await add_connections(conn, OLD_RING, "71", "72", "73")
    sealed = column("whatsapp_connections", "token")
    assert await batches_of(conn, sealed) == [(2, ["72"]), (1, ["73"]), (0, None)]


async def test_a_batch_has_a_limit_of_bytes_that_its_last_row_may_exceed(
    conn: Conn, monkeypatch: MonkeyPatch
) -> None:
    await add_connections(conn, OLD_RING, "71", "72", "73")
    sealed = column("whatsapp_connections", "token")
    size = await conn.fetchval("SELECT octet_length(token) FROM whatsapp_connections LIMIT 1")
    monkeypatch.setattr(rotation, "MAX_BATCH_BYTES", size + 1)
    assert await batches_of(conn, sealed) == [(2, ["72"]), (1, ["73"]), (0, None)]


async def test_numbers_follow_each_other_by_both_columns_of_their_key(
    conn: Conn, monkeypatch: MonkeyPatch
) -> None:
    monkeypatch.setattr(rotation, "MAX_BATCH", 1)
    for waba_id, digits in (("71", "15552"), ("72", "15551")):
        listed = PhoneNumber("61", digits, is_coexistence=False, is_registered=False)
        await numbers.save(conn, waba_id, [listed])
        await tokens.set_pin(conn, OLD_RING, waba_id, "61", "314159")
    reached = [key for _, key in await batches_of(conn, column("phone_numbers", "pin"))]
    assert reached == [["71", "15552"], ["72", "15551"], None]


async def test_what_is_new_already_and_what_no_key_opens_stays_and_is_counted_by_its_key(
    conn: Conn,
) -> None:
    lost = KeyRing([b"x" * 32])
    await add_connections(conn, lost, "71", "72")
    await add_connections(conn, NEW_RING, "73")
    before = await conn.fetch("SELECT token FROM whatsapp_connections ORDER BY waba_id")
    batch = await rotation.reseal(conn, BOTH, column("whatsapp_connections", "token"), after=None)
    assert (batch.resealed, dict(batch.not_resealed)) == (
        0, {lost.write_id.hex(): 2, NEW_RING.write_id.hex(): 1},
    )  # fmt: skip
    assert await conn.fetch("SELECT token FROM whatsapp_connections ORDER BY waba_id") == before
