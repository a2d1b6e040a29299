"""The code that Meta's dialog returned for an onboarding, and the unproven token it gave."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import asyncpg

from shared.crypto import KeyRing, associated_data
from shared.domain.remedies import Reason
from shared.store.connections import follow_ups, onboardings
from shared.store.connections.onboardings import EXCHANGE, Onboarding
from shared.store.pool import Conn, affected


async def start_exchange(conn: Conn, onboarding_id: UUID, code_hash: bytes) -> bool:
    """Return True if the code is new and the caller must exchange it now.

    A code gives True only once, and only while no other exchange of the onboarding is under way. It
    replaces the token of an earlier login whose proof is under way or needs the customer, but not
    one whose proof waits for something else. Commit before the exchange.
    """
    try:
        status = await conn.execute(
            """
            UPDATE whatsapp_onboarding
            SET code_hash = $2, code_at = now(), reason = NULL, token = NULL,
                session_waba_id = CASE WHEN sealed_waba_choices IS NULL THEN session_waba_id END,
                sealed_waba_choices = NULL  -- what was chosen, was chosen of the login before
            WHERE id = $1 AND state = 'open' AND expires_at > now()
                AND proven_at IS NULL AND code_hash IS DISTINCT FROM $2
                AND (token IS NULL OR reason IS NULL
                    OR reason IN ('session_needed', 'waba_choice_needed'))
                AND (token IS NOT NULL OR code_at IS NULL OR reason IS NOT NULL
                    OR code_at < now() - $3::interval)
            """,
            onboarding_id,
            code_hash,
            EXCHANGE,
        )
    except asyncpg.UniqueViolationError:  # another onboarding has this code
        return False
    return status == "UPDATE 1"


async def save_token(
    conn: Conn,
    ring: KeyRing,
    onboarding: Onboarding,
    token: str,
    *,
    code_hash: bytes,
    expires_at: datetime | None,
) -> bool:
    """Store the unproven token. It belongs to no connection yet. Return False if the onboarding
    ended, was proven or began another exchange meanwhile."""
    status = await conn.execute(
        """
        UPDATE whatsapp_onboarding SET token = $3, token_expires_at = $4
        WHERE id = $1 AND code_hash = $2 AND state = 'open' AND proven_at IS NULL
        """,
        onboarding.id,
        code_hash,
        ring.seal(token.encode(), _binding(onboarding.id)),
        expires_at,
    )
    return status == "UPDATE 1"


async def fail_exchange(
    conn: Conn, onboarding: Onboarding, code_hash: bytes, reason: Reason
) -> bool:
    """Record why the exchange of this code failed. Return False if that is of no interest any
    more."""
    status = await conn.execute(
        """
        UPDATE whatsapp_onboarding SET reason = $3
        WHERE id = $1 AND code_hash = $2 AND token IS NULL AND proven_at IS NULL
        """,
        onboarding.id,
        code_hash,
        reason,
    )
    return affected(status) > 0


@dataclass(frozen=True, slots=True, repr=False)
class UnprovenToken:
    """`expires_at` None: never, or Meta did not say. Never shown."""

    text: str
    expires_at: datetime | None


async def read_token(conn: Conn, ring: KeyRing, onboarding: Onboarding) -> UnprovenToken | None:
    """Return the onboarding's token; None if there is none.

    May raise Undecryptable.
    """
    record = await conn.fetchrow(
        "SELECT token, token_expires_at FROM whatsapp_onboarding WHERE id = $1", onboarding.id
    )
    if record is None or record["token"] is None:
        return None
    text = ring.open(record["token"], _binding(onboarding.id)).decode()
    return UnprovenToken(text, record["token_expires_at"])


async def request_proof(conn: Conn, onboarding: Onboarding) -> None:
    """Request a new proof with the stored token. Clear the reason why the onboarding was stuck."""
    await onboardings.set_reason(conn, onboarding, None)
    await follow_ups.add(conn, "prove", [str(onboarding.id)])


async def delete_token(conn: Conn, onboarding: Onboarding, *, reason: Reason | None) -> None:
    """Delete the token: it was proven and copied to the connection, or it proved nothing. In the
    second case `reason` says why. Do nothing if a later login's code is in use."""
    await conn.execute(
        """
        UPDATE whatsapp_onboarding
        SET token = NULL, token_expires_at = NULL, reason = $2
        WHERE id = $1 AND code_hash IS NOT DISTINCT FROM $3
        """,
        onboarding.id,
        reason,
        onboarding.code_hash,
    )


def _binding(onboarding_id: UUID) -> bytes:
    return associated_data("whatsapp_onboarding", onboarding_id.bytes, "token")
