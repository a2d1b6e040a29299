"""Customers' tokens and the PINs of their numbers. Each is sealed and bound to its row."""

from dataclasses import dataclass
from datetime import datetime

from shared.crypto import KeyRing, associated_data
from shared.domain.proof import TokenReport
from shared.domain.token_health import TokenState
from shared.store.pool import Conn


@dataclass(frozen=True, slots=True, repr=False)
class StoredToken:
    """A connection's token and when we stored it. `repr` does not show it."""

    text: str
    at: datetime


async def save(conn: Conn, ring: KeyRing, waba_id: str, token: str, report: TokenReport) -> None:
    """Store a token that Meta has just reported on, as the locked connection's only token. It is
    checked in a day."""
    await conn.execute(
        """
        UPDATE whatsapp_connections
        SET token = $2, token_at = clock_timestamp(), token_expires_at = $3, token_state = 'valid',
            token_user_id = coalesce($4, token_user_id), token_checked_at = now(),
            token_debugged_at = now(), token_reason = NULL, token_doubt = NULL,
            token_bad_since = NULL, data_access_expires_at = $5,
            token_told = CASE WHEN token_told IN ('expired', 'revoked') THEN token_told END,
            next_check_at = now() + CASE
                WHEN token_told IN ('expired', 'revoked') THEN interval '0' ELSE interval '1 day'
            END
        WHERE waba_id = $1
        """,
        waba_id,
        ring.seal(token.encode(), token_binding(waba_id)),
        report.expires_at,
        report.user_id,
        report.data_access_ends_at,
    )


async def read(conn: Conn, ring: KeyRing, waba_id: str) -> StoredToken | None:
    """Return the connection's token; None if it has none. May raise Undecryptable."""
    record = await conn.fetchrow(
        "SELECT token, token_at FROM whatsapp_connections WHERE waba_id = $1 AND token IS NOT NULL",
        waba_id,
    )
    if record is None:
        return None
    return StoredToken(open_token(ring, waba_id, record["token"]), record["token_at"])


def open_token(ring: KeyRing, waba_id: str, sealed: bytes) -> str:
    """Return the text of a WABA's token. May raise Undecryptable."""
    return ring.open(sealed, token_binding(waba_id)).decode()


async def set_state(conn: Conn, waba_id: str, state: TokenState, token: StoredToken) -> None:
    """Set the state that Meta reported for this token. Do nothing if a newer token is stored.

    A dead one is checked at once: the check tells the company.
    """
    await conn.execute(
        """
        UPDATE whatsapp_connections SET token_state = $3, token_checked_at = now(),
            next_check_at = CASE
                WHEN $3::token_state IN ('expired', 'revoked') THEN now() ELSE next_check_at
            END
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


async def count_by_check(conn: Conn) -> dict[str, int]:
    """Return how many connections have a token, by its state and the age of its last check."""
    records = await conn.fetch(
        """
        SELECT CASE WHEN token_state IN ('valid', 'expiring') AND token_expires_at <= now()
                   THEN 'expired' ELSE token_state::text END
               || CASE
                   WHEN token_checked_at IS NULL THEN ', never checked'
                   WHEN token_checked_at > now() - interval '1 day' THEN ', checked within a day'
                   WHEN token_checked_at > now() - interval '7 days' THEN ', checked within 7 days'
                   ELSE ', checked longer ago' END AS name,
               count(*)
        FROM whatsapp_connections WHERE token IS NOT NULL GROUP BY name ORDER BY name
        """
    )
    return {record["name"]: record["count"] for record in records}


async def delete(conn: Conn, waba_id: str) -> None:
    await conn.execute(
        """
        UPDATE whatsapp_connections
        SET token = NULL, token_at = NULL, token_expires_at = NULL, token_state = 'none',
            token_reason = NULL, token_doubt = NULL, token_bad_since = NULL, token_told = NULL,
            data_access_expires_at = NULL, token_debugged_at = NULL, next_check_at = NULL
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
    await set_pin(conn, ring, waba_id, phone_number_id, new, is_given=False)
    return new


async def set_pin(
    conn: Conn,
    ring: KeyRing,
    waba_id: str,
    phone_number_id: str,
    pin: str,
    *,
    is_given: bool = True,
) -> bool:
    """Store the number's PIN. `is_given`: by a person. Return False if the connection has no such
    number."""
    digits = await conn.fetchval(
        "SELECT digits FROM phone_numbers WHERE waba_id = $1 AND phone_number_id = $2",
        waba_id,
        phone_number_id,
    )
    if digits is None:
        return False
    await conn.execute(
        "UPDATE phone_numbers SET pin = $3, is_pin_given = $4 WHERE waba_id = $1 AND digits = $2",
        waba_id,
        digits,
        ring.seal(pin.encode(), pin_binding(waba_id, digits)),
        is_given,
    )
    return True


def token_binding(waba_id: str) -> bytes:
    return associated_data("whatsapp_connections", waba_id.encode(), "token")


def pin_binding(waba_id: str, digits: str) -> bytes:
    return associated_data("phone_numbers", f"{waba_id} {digits}".encode(), "pin")
