"""A token is judged by its own end and state, never by those of another token of its connection."""

from datetime import UTC, datetime

import pytest

from shared.crypto import KeyRing
from shared.domain.token_health import TokenState
from shared.store.connections import connections, tokens, views
from shared.store.connections.tokens import StoredToken
from shared.store.pool import Conn
from tests.support.tokens import save_token

WABA = "71"
PAST, LATER = datetime(2026, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)


async def save(conn: Conn, ring: KeyRing, text: str, expires_at: datetime | None) -> StoredToken:
    await connections.ensure(conn, [WABA])
    await save_token(conn, ring, WABA, text, expires_at=expires_at)
    stored = await tokens.read(conn, ring, WABA)
    assert stored is not None
    return stored


async def shown_state(conn: Conn) -> TokenState:
    connection = await views.connection(conn, WABA, organization_id=None)
    assert connection is not None
    return connection.token_state


@pytest.mark.parametrize(
    ("expires_at", "expected"), [(None, "valid"), (LATER, "valid"), (PAST, "expired")]
)
@pytest.mark.parametrize("before", [None, PAST, LATER])
async def test_a_token_has_the_end_that_came_with_it(
    conn: Conn,
    ring: KeyRing,
    before: datetime | None,
    expires_at: datetime | None,
    expected: TokenState,
) -> None:
    await save(conn, ring, "EAAold", before)
    await save(conn, ring, "EAAnew", expires_at)

    assert await shown_state(conn) == expected


async def test_what_meta_says_of_an_older_token_is_not_recorded_of_a_newer_one(
    conn: Conn, ring: KeyRing
) -> None:
    older = await save(conn, ring, "EAAold", None)
    newer = await save(conn, ring, "EAAnew", None)

    await tokens.set_state(conn, WABA, "revoked", older)
    assert await shown_state(conn) == "valid"
    await tokens.set_state(conn, WABA, "revoked", newer)
    assert await shown_state(conn) == "revoked"


async def test_a_deleted_token_leaves_nothing_behind(conn: Conn, ring: KeyRing) -> None:
    await save(conn, ring, "EAAold", PAST)

    await tokens.delete(conn, WABA)

    assert await tokens.read(conn, ring, WABA) is None
    assert await shown_state(conn) == "none"
    left = "SELECT num_nonnulls(token, token_at, token_expires_at) FROM whatsapp_connections"
    assert await conn.fetchval(left) == 0
