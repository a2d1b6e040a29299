"""Which connections are checked next, how they are counted, and what counts as an outage."""

from datetime import timedelta
from typing import Any

import pytest

from shared.store.connections import check_times, connections, health
from shared.store.pool import Conn
from tests.support.keys import TOKEN_RING
from tests.support.tokens import save_token

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
WABAS = tuple(str(number) for number in range(71, 76))


@pytest.fixture(autouse=True)
async def with_tokens(conn: Conn) -> None:
    """Five connections whose tokens were checked just now, and are checked again in a day."""
    await connections.ensure(conn, [*WABAS, "79"])
    for waba_id in WABAS:
        await save_token(conn, TOKEN_RING, waba_id, "EAA")


async def set_columns(conn: Conn, waba_id: str, **columns: str) -> None:
    """Set columns to SQL expressions."""
    values = ", ".join(f"{name} = {value}" for name, value in columns.items())
    await conn.execute(f"UPDATE whatsapp_connections SET {values} WHERE waba_id = '{waba_id}'")


async def test_they_are_counted_by_state_and_by_the_days_left_at_most(conn: Conn) -> None:
    left = {"71": "-9 days", "72": "23 hours", "73": "25 hours", "74": "61 days"}
    for waba_id, time in left.items():
        await set_columns(conn, waba_id, token_expires_at=f"now() + interval '{time}'")
    await set_columns(conn, "71", token_state="'expired'")
    await set_columns(conn, "72", token_checked_at="now() - interval '2 hours'")

    counts = await health.count(conn)

    assert counts.by_state == {"valid": 4, "expired": 1}
    assert counts.by_days_left == {1: 2, 3: 1, health.MORE: 1, health.NEVER: 1}
    age = await conn.fetchval("SELECT now() - $1::timestamptz", counts.oldest_check_at)
    assert 2 * HOUR <= age < 3 * HOUR


async def due(conn: Conn) -> list[Any]:
    rows = await conn.fetch("SELECT waba_id FROM whatsapp_connections WHERE next_check_at <= now()")
    return sorted(row["waba_id"] for row in rows)


async def test_the_next_checks_are_made_beside_a_doubted_one(conn: Conn) -> None:
    await set_columns(conn, "71", token_doubt="'token_revoked'")  # the doubted one
    await set_columns(conn, "72", next_check_at="now() + interval '10 minutes'")  # being checked
    await set_columns(conn, "73", token_state="'revoked'")

    await check_times.bring_forward(conn, "71")

    assert await due(conn) == ["74", "75"]


@pytest.mark.parametrize(
    ("doubt", "bad_since", "is_bad"),
    [
        ("NULL", "59 minutes", True), ("NULL", "61 minutes", False),
        ("'token_revoked'", "23 hours", True), ("'token_revoked'", "25 hours", False),
    ],
)  # fmt: skip
async def test_for_how_long_a_bad_answer_counts_as_a_sign_of_an_outage(
    conn: Conn, doubt: str, bad_since: str, is_bad: bool
) -> None:
    await set_columns(
        conn, "71", token_doubt=doubt, token_bad_since=f"now() - interval '{bad_since}'"
    )

    recent = await health.recent_checks(conn)

    assert (recent.checked, recent.bad, sum(recent.last_bad)) == (5, is_bad, is_bad)
    assert len(recent.last_bad) == 5
