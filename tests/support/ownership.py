"""Ownership as a token's proof gives it."""

from datetime import datetime

from shared.actions.ownership import record_proof
from shared.store.connections import connections
from shared.store.pool import Conn


async def prove(
    conn: Conn, tracking_code: str, waba_id: str, business_id: str | None, at: datetime
) -> str | None:
    """Record a proof of the onboarding's WABA. Return the organization that proved it."""
    row = await connections.ensure_locked(conn, waba_id)
    return await record_proof(conn, row, tracking_code, business_id, at)
