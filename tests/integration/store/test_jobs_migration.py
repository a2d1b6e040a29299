"""0012: letters outlive their webhooks, and copied bodies come back on the way down."""

import asyncpg
import pytest

from shared.store.migrate import migrate
from tests.support.aged import ago

_FILL = """
INSERT INTO webhook_log (id, received_at, digest, kind, lane, stored_via, state)
SELECT gen_random_uuid(), $1, int4send(n), 'whatsapp', 'fast', 'broker', 'dead'
FROM generate_series(1, 2) AS n
"""
_LETTERS = """
INSERT INTO dead_letters (id, kind, subject_id, webhook_id, blame, error, fingerprint, attempts,
                          first_failed_at, closed_at, outcome)
SELECT gen_random_uuid(), 'webhook', id, id, 'ours', 'e', 'f', 4, now(),
       CASE WHEN get_byte(digest, 3) = 1 THEN now() END,
       CASE WHEN get_byte(digest, 3) = 1 THEN 'discarded' END::dead_letter_outcome
FROM webhook_log
"""


async def test_letters_and_bodies_go_up_and_down(empty_database_url: str) -> None:
    await migrate(empty_database_url, "0011")
    conn = await asyncpg.connect(empty_database_url)
    letters = "SELECT count(webhook_id), count(*) FROM dead_letters"
    try:
        await conn.execute(_FILL, ago(40))
        await conn.execute(_LETTERS)
        await migrate(empty_database_url, "0012")
        with pytest.raises(asyncpg.CheckViolationError):
            await conn.execute("DELETE FROM webhook_log WHERE get_byte(digest, 3) = 2")
        await conn.execute("DELETE FROM webhook_log WHERE get_byte(digest, 3) = 1")
        assert tuple(await conn.fetchrow(letters) or ()) == (1, 2)
        await conn.execute(
            "INSERT INTO unsettled_bodies (id, received_at, body)"
            " SELECT id, received_at, 'sealed' FROM webhook_log"
        )

        await migrate(empty_database_url, "0011")
        assert tuple(await conn.fetchrow(letters) or ()) == (1, 2)
        joined = "SELECT body FROM webhook_log JOIN webhook_bodies USING (id, received_at)"
        assert await conn.fetchval(joined) == b"sealed"
        await migrate(empty_database_url, "0012")
        assert tuple(await conn.fetchrow(letters) or ()) == (1, 2)
    finally:
        await conn.close()
