"""Tracking codes of onboardings. A code gives access to its onboarding, so it is a secret.

It is stored as a hash, to be found by, and sealed, to be shown again.
"""

import secrets
from hashlib import sha256
from uuid import UUID

from shared.crypto import ENVELOPE_VERSION, KeyRing, associated_data
from shared.store.pool import Conn


def new_code() -> str:
    """Return a secret of 144 random bits. It starts with a letter: a command line would take a dash
    for an option."""
    return "o" + secrets.token_urlsafe(18)


def hash_code(tracking_code: str) -> bytes:
    """Return the hash by which an onboarding is found. A code is random, so SHA-256 is enough."""
    return sha256(tracking_code.encode()).digest()


def seal_code(ring: KeyRing, onboarding_id: UUID, tracking_code: str) -> bytes:
    return ring.seal(tracking_code.encode(), _binding(onboarding_id))


def open_code(ring: KeyRing, onboarding_id: UUID, stored_code: bytes) -> str:
    """Return the tracking code. May raise Undecryptable."""
    if stored_code[:1] != ENVELOPE_VERSION:  # the version before stored it as it is
        return stored_code.decode()
    return ring.open(stored_code, _binding(onboarding_id)).decode()


async def seal_clear_codes(conn: Conn, ring: KeyRing, *, limit: int) -> int:
    """Seal codes that the version before stored as they are. Return how many.

    That version does not find an onboarding by a sealed code, nor the follow-up of its proof.
    """
    records = await conn.fetch(
        """
        SELECT id, tracking_code FROM whatsapp_onboarding WHERE tracking_code IS NOT NULL
        ORDER BY id LIMIT $1 FOR UPDATE
        """,
        limit,
    )
    ids = [record["id"] for record in records]
    codes = [record["tracking_code"] for record in records]
    await conn.execute(
        """
        WITH code AS (
            SELECT id::text AS id, text FROM unnest($1::uuid[], $2::text[]) AS code (id, text)
        ), asked_again AS (  -- by this version: one open follow-up is enough
            SELECT subject FROM follow_ups JOIN code ON subject = code.id
            WHERE kind = 'prove' AND state <> 'done'
        )
        UPDATE follow_ups SET subject = code.id,
            state = CASE WHEN code.id IN (SELECT subject FROM asked_again) THEN 'done'
                         ELSE follow_ups.state END,
            ended_at = CASE WHEN code.id IN (SELECT subject FROM asked_again)
                            THEN coalesce(ended_at, now()) ELSE ended_at END
        FROM code WHERE kind = 'prove' AND follow_ups.subject = code.text
        """,
        ids,
        codes,
    )
    await conn.executemany(
        """
        UPDATE whatsapp_onboarding SET sealed_tracking_code = $2, tracking_code = NULL WHERE id = $1
        """,
        [(id_, seal_code(ring, id_, code)) for id_, code in zip(ids, codes, strict=True)],
    )
    return len(records)


def _binding(onboarding_id: UUID) -> bytes:
    return associated_data("whatsapp_onboarding", onboarding_id.bytes, "sealed_tracking_code")
