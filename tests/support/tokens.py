"""Tokens as a proof stores them."""

from datetime import datetime

from shared.crypto import KeyRing
from shared.domain.proof import TokenReport
from shared.store.connections import tokens
from shared.store.pool import Conn

#: What Meta tells of a token that is valid, is for every WABA, and never ends.
VALID = TokenReport(is_valid=True, app_id="1", wabas=None, user_id=None, expires_at=None)


async def save_token(
    conn: Conn, ring: KeyRing, waba_id: str, text: str, *, expires_at: datetime | None = None
) -> None:
    await tokens.save(conn, ring, waba_id, text, VALID.or_ending(expires_at))
