"""Onboardings that expired: they are marked, and their unproven tokens are deleted."""

from collections.abc import Mapping

from shared.store.pool import Conn, affected
from shared.store.retention import MAX_BATCH, Batch, Position

#: A proof that Meta only delays is still awaited: it completes the onboarding.
_AWAITS_NO_PROOF = """
    NOT EXISTS (
        SELECT FROM follow_ups
        WHERE kind = 'prove' AND subject = whatsapp_onboarding.id::text
            AND follow_ups.state = 'pending'
    )
"""
_HAS_EXPIRED = f"state = 'open' AND expires_at <= now() AND {_AWAITS_NO_PROOF}"


async def expire(conn: Conn) -> Batch:
    """Mark onboardings as expired, delete their tokens and close their blocked proofs: the customer
    can do nothing more for them."""
    [record] = await conn.fetch(
        f"""
        WITH locked AS (
            SELECT id, token IS NOT NULL AS has_token FROM whatsapp_onboarding
            WHERE {_HAS_EXPIRED} ORDER BY expires_at LIMIT {MAX_BATCH} FOR UPDATE SKIP LOCKED
        ), expired AS (
            UPDATE whatsapp_onboarding
            SET state = 'expired', token = NULL, token_expires_at = NULL
            FROM locked WHERE whatsapp_onboarding.id = locked.id
        ), closed AS (
            UPDATE follow_ups SET state = 'done', ended_at = now()
            FROM locked
            WHERE kind = 'prove' AND subject = locked.id::text AND follow_ups.state = 'blocked'
        )
        SELECT count(*) AS onboardings, count(*) FILTER (WHERE has_token) AS unproven_tokens,
               max(id::text)::uuid AS last, now() AS at
        FROM locked
        """
    )
    counts = {name: record[name] for name in ("onboardings", "unproven_tokens")}
    is_full = counts["onboardings"] == MAX_BATCH
    return Batch(counts, Position(record["at"], record["last"]) if is_full else None)


async def delete_tokens(conn: Conn) -> int:
    """Delete the tokens of onboardings that ended, but for one whose proof is still awaited. Return
    how many."""
    status = await conn.execute(
        f"""
        UPDATE whatsapp_onboarding SET token = NULL, token_expires_at = NULL
        WHERE token IS NOT NULL AND state <> 'open' AND {_AWAITS_NO_PROOF}
        """
    )
    return affected(status)


async def count(conn: Conn) -> Mapping[str, int]:
    """Return what `expire` would mark."""
    record = await conn.fetchrow(
        f"""
        SELECT count(*) AS onboardings, count(token) AS unproven_tokens
        FROM whatsapp_onboarding WHERE {_HAS_EXPIRED}
        """
    )
    return dict(record) if record else {}
