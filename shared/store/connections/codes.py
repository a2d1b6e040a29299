"""The code an onboarding's dialog gave, and the unproven token it was exchanged for."""

from datetime import datetime
from uuid import UUID

import asyncpg

from shared.crypto import KeyRing, associated_data
from shared.store.connections.onboardings import EXCHANGE, Onboarding
from shared.store.pool import Conn


async def start_exchange(conn: Conn, tracking_code: str, code_hash: bytes) -> bool:
    """Whether this code is new and is to be exchanged now, by whoever is told so: once, and none
    beside it.

    To be committed before the exchange.
    """
    try:
        status = await conn.execute(
            """
            UPDATE whatsapp_onboarding
            SET code_hash = $2, code_at = now(), reason = NULL, token = NULL
            WHERE tracking_code = $1 AND state = 'open' AND expires_at > now()
                AND proven_at IS NULL AND code_hash IS DISTINCT FROM $2
                AND (token IS NULL OR reason = 'session_needed')
                AND (code_at IS NULL OR reason IS NOT NULL OR code_at < now() - $3::interval)
            """,
            tracking_code,
            code_hash,
            EXCHANGE,
        )
    except asyncpg.UniqueViolationError:  # another onboarding's
        return False
    return status == "UPDATE 1"


async def save_token(
    conn: Conn,
    ring: KeyRing,
    one: Onboarding,
    token: str,
    *,
    code_hash: bytes,
    expires_at: datetime | None,
) -> bool:
    """Unproven: it is nobody's connection's yet. False where the onboarding ended meanwhile."""
    status = await conn.execute(
        """
        UPDATE whatsapp_onboarding SET token = $3, token_expires_at = $4
        WHERE id = $1 AND code_hash = $2 AND state = 'open' AND proven_at IS NULL
        """,
        one.id,
        code_hash,
        ring.seal(token.encode(), _binding(one.id)),
        expires_at,
    )
    return status == "UPDATE 1"


async def fail_exchange(conn: Conn, one: Onboarding, code_hash: bytes, reason: str) -> None:
    """Its exchange came to nothing, and why."""
    await conn.execute(
        """
        UPDATE whatsapp_onboarding SET reason = $3
        WHERE id = $1 AND code_hash = $2 AND token IS NULL AND proven_at IS NULL
        """,
        one.id,
        code_hash,
        reason,
    )


async def read_token(
    conn: Conn, ring: KeyRing, one: Onboarding
) -> tuple[str, datetime | None] | None:
    """The unproven token and when it ends. Raises Undecryptable."""
    record = await conn.fetchrow(
        "SELECT token, token_expires_at FROM whatsapp_onboarding WHERE id = $1", one.id
    )
    if record is None or record["token"] is None:
        return None
    return ring.open(record["token"], _binding(one.id)).decode(), record["token_expires_at"]


async def delete_token(conn: Conn, one: Onboarding, *, reason: str | None) -> None:
    """It was proven and copied, or (with a `reason`) proved nothing."""
    await conn.execute(
        """
        UPDATE whatsapp_onboarding
        SET token = NULL, token_expires_at = NULL, reason = $2 WHERE id = $1
        """,
        one.id,
        reason,
    )


def _binding(onboarding_id: UUID) -> bytes:
    return associated_data("whatsapp_onboarding", onboarding_id.bytes, "token")
