"""Give the WABAs of a storm their owners, before the first webhook."""

from collections.abc import Collection

import asyncpg

from deploy.local.oracle.bodies import PROVEN_AT
from deploy.local.oracle.expected import ExpectedConnection
from shared.actions.connection_state import recompute, record_facts
from shared.domain.facts import live_facts
from shared.store.connections import connections, eras, organizations
from shared.store.pool import Conn

#: What came before the storm was long ago: the clocks of the services may be wrong.
_BACKDATE = """
    UPDATE connection_eras SET
        began_at = began_at - CASE WHEN ended_at IS NULL THEN 1 ELSE 3 END * interval '1 hour',
        ended_at = ended_at - interval '2 hours'
"""


async def prepare(url: str, expected: Collection[ExpectedConnection]) -> None:
    conn = await asyncpg.connect(url)
    try:
        async with conn.transaction():
            for connection in expected:
                for era in connection.eras:
                    await _begin(conn, connection.waba_id, era.organization_id)
                    if not era.is_open:
                        await _end(conn, connection.waba_id)
            await conn.execute(_BACKDATE)
    finally:
        await conn.close()


async def _begin(conn: Conn, waba_id: str, organization_id: str) -> None:
    """Record what a proof records. No onboarding: the schema may be an older version's."""
    await organizations.add(conn, organization_id)
    row = await connections.ensure_locked(conn, waba_id)
    await eras.begin(conn, waba_id, organization_id, "tracking_code", PROVEN_AT)
    await record_facts(conn, row, live_facts(PROVEN_AT))


async def _end(conn: Conn, waba_id: str) -> None:
    """Record what a release records. No token: likewise, and there is none yet."""
    row = await connections.ensure_locked(conn, waba_id)
    if (era := await eras.open_era(conn, waba_id)) is not None:
        await eras.end(conn, era, "released")
        await recompute(conn, [row])
