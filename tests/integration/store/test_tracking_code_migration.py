"""0011 finds tracking codes by their hash, and lets proofs go on, up and down."""

import asyncpg

from shared.store.connections import follow_ups, onboardings, tracking_codes
from shared.store.migrate import migrate
from tests.support.keys import TOKEN_RING

BEFORE = """
INSERT INTO organizations (id) VALUES ('bakery');
INSERT INTO whatsapp_onboarding (id, organization_id, tracking_code, expires_at)
SELECT gen_random_uuid(), 'bakery', 'code-' || n, now() FROM generate_series(1, 1500) AS n;
INSERT INTO follow_ups (id, kind, subject) VALUES (gen_random_uuid(), 'prove', 'code-1500');
"""
READ_KEY = """
INSERT INTO api_keys (id, name, hash, rights) VALUES (gen_random_uuid(), 'x', 'x', '{read}')
"""
EVENT = """
INSERT INTO events (id, type, organization_id, data, onboarding_id)
SELECT gen_random_uuid(), 'onboarding.refused', 'bakery', '{"reason": null}', $1
"""
OF_THE_FOLLOW_UP = """
SELECT whatsapp_onboarding.id FROM whatsapp_onboarding JOIN follow_ups ON subject = {}
"""


async def test_0011_and_its_way_down(empty_database_url: str) -> None:
    await migrate(empty_database_url, "0010")
    conn = await asyncpg.connect(empty_database_url)
    try:
        await conn.execute(BEFORE)
        await migrate(empty_database_url)  # this version looks for codes in the newest schema
        last = await onboardings.find(conn, "code-1500", organization_id=None)
        assert last is not None
        assert last.stored_code == b"code-1500"
        assert await onboardings.find(conn, "code-1", organization_id=None)
        # An old processor that still runs goes on with the proof: it looks for the code.
        assert await conn.fetchval(OF_THE_FOLLOW_UP.format("tracking_code")) == last.id
        other = await onboardings.find(conn, "code-1499", organization_id=None)
        assert other is not None
        await follow_ups.add(conn, "prove", [str(other.id), str(last.id)])  # also by this version
        assert await tracking_codes.seal_clear_codes(conn, TOKEN_RING, limit=5000) == 1500
        by_id = OF_THE_FOLLOW_UP.format("whatsapp_onboarding.id::text")
        is_open = " WHERE follow_ups.state <> 'done'"
        assert len(await conn.fetch(by_id + is_open)) == 2
        await conn.execute(EVENT, last.id)
        await conn.execute(READ_KEY)

        await migrate(empty_database_url, "0010")
        by_code = OF_THE_FOLLOW_UP.format("tracking_code")
        assert len(await conn.fetch(by_code + is_open)) == 2
        lost = await conn.fetchval("SELECT data ->> 'tracking_code' FROM events")
        assert lost.startswith("lost-")
        assert str(last.id) not in lost  # the id is no secret
        assert await conn.fetchval("SELECT revoked_at IS NOT NULL FROM api_keys")
    finally:
        await conn.close()
