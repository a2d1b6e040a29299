"""Customers' tokens and the PINs of their numbers. Each is sealed and bound to its row."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from shared.crypto import KeyRing, associated_data
from shared.store.pool import Conn

TokenState = Literal["none", "valid", "expiring", "expired", "revoked", "unknown"]


@dataclass(frozen=True, slots=True, repr=False)
class StoredToken:
    """A connection's token and when we stored it. `repr` does not show it."""

    text: str
    at: datetime


async def save(
    conn: Conn,
    ring: KeyRing,
    waba_id: str,
    token: str,
    *,
    expires_at: datetime | None,
    user_id: str | None = None,
) -> None:
    """Store a token that Meta has just issued, as the locked connection's only token."""
    await conn.execute(
        """
        UPDATE whatsapp_connections
        SET token = $2, token_at = now(), token_expires_at = $3, token_state = 'valid',
            token_user_id = coalesce($4, token_user_id), token_checked_at = now()
        WHERE waba_id = $1
        """,
        waba_id,
        ring.seal(token.encode(), token_binding(waba_id)),
        expires_at,
        user_id,
    )


async def read(conn: Conn, ring: KeyRing, waba_id: str) -> StoredToken | None:
    """Return the connection's token; None if it has none. May raise Undecryptable."""
    record = await conn.fetchrow(
        "SELECT token, token_at FROM whatsapp_connections WHERE waba_id = $1 AND token IS NOT NULL",
        waba_id,
    )
    if record is None:
        return None
    return StoredToken(
        ring.open(record["token"], token_binding(waba_id)).decode(), record["token_at"]
    )


async def set_state(conn: Conn, waba_id: str, state: TokenState, token: StoredToken) -> None:
    """Set the state that Meta reported for this token. Do nothing if a newer token is stored."""
    await conn.execute(
        """
        UPDATE whatsapp_connections SET token_state = $3, token_checked_at = now()
        WHERE waba_id = $1 AND token_at = $2
        """,
        waba_id,
        token.at,
        state,
    )


async def mark_unknown(conn: Conn, waba_id: str) -> None:
    """Set the state of a token that cannot be opened to `unknown`."""
    await conn.execute(
        """
        UPDATE whatsapp_connections SET token_state = 'unknown'
        WHERE waba_id = $1 AND token IS NOT NULL
        """,
        waba_id,
    )


async def delete(conn: Conn, waba_id: str) -> None:
    await conn.execute(
        """
        UPDATE whatsapp_connections
        SET token = NULL, token_at = NULL, token_expires_at = NULL, token_state = 'none'
        WHERE waba_id = $1
        """,
        waba_id,
    )


async def ensure_pin(
    conn: Conn, ring: KeyRing, waba_id: str, phone_number_id: str, new: str
) -> str:
    """Return the number's PIN. If it has none, store `new` and return it. Commit before using it.
    May raise Undecryptable."""
    record = await conn.fetchrow(
        """
        SELECT digits, pin FROM phone_numbers WHERE waba_id = $1 AND phone_number_id = $2
        FOR UPDATE
        """,
        waba_id,
        phone_number_id,
    )
    if record is not None and record["pin"] is not None:
        return ring.open(record["pin"], pin_binding(waba_id, record["digits"])).decode()
    await set_pin(conn, ring, waba_id, phone_number_id, new)
    return new


async def set_pin(conn: Conn, ring: KeyRing, waba_id: str, phone_number_id: str, pin: str) -> bool:
    """Store the number's PIN. Return False if the connection has no such number."""
    digits = await conn.fetchval(
        "SELECT digits FROM phone_numbers WHERE waba_id = $1 AND phone_number_id = $2",
        waba_id,
        phone_number_id,
    )
    if digits is None:
        return False
    await conn.execute(
        "UPDATE phone_numbers SET pin = $3 WHERE waba_id = $1 AND digits = $2",
        waba_id,
        digits,
        ring.seal(pin.encode(), pin_binding(waba_id, digits)),
    )
    return True


def token_binding(waba_id: str) -> bytes:
    return associated_data("whatsapp_connections", waba_id.encode(), "token")


def pin_binding(waba_id: str, digits: str) -> bytes:
    return associated_data("phone_numbers", f"{waba_id} {digits}".encode(), "pin")
