"""Onboardings: attempts of an organization to connect, and what the browser and the token said."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID

from uuid_utils.compat import uuid7

from shared.crypto import KeyRing
from shared.domain.dialog import NO_RESULT
from shared.domain.remedies import Reason
from shared.store.connections import tracking_codes
from shared.store.pool import Conn

#: How long an exchange takes at most. After it, the process that began it is presumed dead.
EXCHANGE = timedelta(seconds=60)

Flow = Literal["popup", "redirect", "claim"]


@dataclass(frozen=True, slots=True)
class NewOnboarding:
    """A new onboarding, as its organization requests it."""

    organization_id: str
    tracking_code: str = field(repr=False)
    expires_at: datetime
    flow: Flow = "popup"
    is_coexistence: bool = False
    redirect_uri: str | None = None
    return_url: str | None = None
    idempotency_key: str | None = None


@dataclass(frozen=True, slots=True)
class Onboarding:
    """An onboarding. `stored_code` is its tracking code (see tracking_codes).

    `session_event` and `session_waba_id` are what the browser reported (unproven);
    `session_waba_ids` if it named several WABAs. `reason` is why
    its code or its proof failed. `waits_for` is why its proof is put off, and `next_attempt_at` is
    until when.
    """

    id: UUID
    organization_id: str
    stored_code: bytes = field(repr=False)
    flow: Flow
    is_coexistence: bool
    redirect_uri: str | None
    return_url: str | None
    state: str
    reason: str | None
    session_event: str | None
    session_waba_id: str | None
    session_phone_number_id: str | None
    session_waba_ids: Sequence[str] | None
    waba_id: str | None
    code_hash: bytes | None
    code_at: datetime | None
    has_token: bool
    created_at: datetime
    expires_at: datetime
    proven_at: datetime | None
    waits_for: str | None
    next_attempt_at: datetime | None

    def why(self, now: datetime) -> str | None:
        """Return why it is not completed yet; None if it is, or if the customer acts next."""
        if self.state == "expired":
            return "expired"
        if self.reason is not None or self.proven_at is not None:
            return self.reason
        if self.has_token:
            return self.waits_for or "proving"
        if self.code_hash is not None and self.code_at is not None:
            return "exchanging" if now < self.code_at + EXCHANGE else "code_lost"
        return NO_RESULT.get(self.session_event or "")


_SELECT = """
    SELECT id, organization_id, flow, is_coexistence, redirect_uri, return_url,
           coalesce(sealed_tracking_code, convert_to(tracking_code, 'UTF8')) AS stored_code,
           CASE WHEN state = 'open' AND expires_at <= now() THEN 'expired' ELSE state::text END
               AS state,
           reason, session_event, session_waba_id, session_waba_ids, session_phone_number_id,
           waba_id, code_hash, code_at,
           token IS NOT NULL AS has_token, created_at, expires_at, proven_at, waits_for,
           next_attempt_at
    FROM whatsapp_onboarding LEFT JOIN LATERAL (
        SELECT follow_ups.reason AS waits_for,
               CASE WHEN follow_ups.reason IS NOT NULL THEN due_at END AS next_attempt_at
        FROM follow_ups
        WHERE subject IN (whatsapp_onboarding.id::text, tracking_code) AND kind = 'prove'
            AND follow_ups.state = 'pending'
        LIMIT 1
    ) AS waiting ON true
"""


async def start(conn: Conn, ring: KeyRing, new: NewOnboarding) -> Onboarding | None:
    """Store and return a new onboarding. Return None if its tracking code or idempotency key exists
    already.
    """
    id_: UUID = uuid7()
    status = await conn.execute(
        """
        INSERT INTO whatsapp_onboarding
            (id, organization_id, tracking_code_hash, sealed_tracking_code, expires_at, flow,
             is_coexistence, redirect_uri, return_url, idempotency_key)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT DO NOTHING
        """,
        id_,
        new.organization_id,
        tracking_codes.hash_code(new.tracking_code),
        tracking_codes.seal_code(ring, id_, new.tracking_code),
        new.expires_at,
        new.flow,
        new.is_coexistence,
        new.redirect_uri,
        new.return_url,
        new.idempotency_key,
    )
    return await by_id(conn, id_) if status == "INSERT 0 1" else None


async def find(conn: Conn, tracking_code: str, *, organization_id: str | None) -> Onboarding | None:
    """Return the onboarding if it belongs to the organization, else None. If `organization_id` is
    None, return the onboarding of any organization."""
    record = await conn.fetchrow(
        f"{_SELECT} WHERE tracking_code_hash = $1 AND ($2::text IS NULL OR organization_id = $2)",
        tracking_codes.hash_code(tracking_code),
        organization_id,
    )
    return None if record is None else Onboarding(**record)


async def by_id(conn: Conn, onboarding_id: UUID) -> Onboarding | None:
    record = await conn.fetchrow(f"{_SELECT} WHERE id = $1", onboarding_id)
    return None if record is None else Onboarding(**record)


async def by_subject(conn: Conn, subject: str) -> Onboarding | None:
    """Return the onboarding of a follow-up: its subject is the onboarding's id.

    The version before wrote its tracking code there.
    """
    try:
        return await by_id(conn, UUID(subject))
    except ValueError:
        return await find(conn, subject, organization_id=None)


async def find_by_idempotency_key(
    conn: Conn, organization_id: str, idempotency_key: str
) -> Onboarding | None:
    """Return the organization's onboarding that was started with this idempotency key."""
    record = await conn.fetchrow(
        f"{_SELECT} WHERE organization_id = $1 AND idempotency_key = $2",
        organization_id,
        idempotency_key,
    )
    return None if record is None else Onboarding(**record)


async def unfinished(conn: Conn, *, limit: int) -> list[Onboarding]:
    """Return open onboardings that have a message, a code or a reason, the last to expire first."""
    records = await conn.fetch(
        f"""
        {_SELECT}
        WHERE state = 'open' AND expires_at > now()
            AND (session_event IS NOT NULL OR code_at IS NOT NULL OR reason IS NOT NULL)
        ORDER BY expires_at DESC LIMIT $1
        """,
        limit,
    )
    return [Onboarding(**record) for record in records]


async def set_reason(conn: Conn, onboarding: Onboarding, reason: Reason | None) -> None:
    """Record why the onboarding is blocked; None: it is not."""
    await conn.execute(
        "UPDATE whatsapp_onboarding SET reason = $2 WHERE id = $1", onboarding.id, reason
    )


async def cancel(conn: Conn, onboarding_id: UUID) -> bool:
    """Cancel an open, unproven onboarding for ever and delete its token. Return False if it is
    not open, or proven."""
    status = await conn.execute(
        """
        UPDATE whatsapp_onboarding
        SET state = 'cancelled', reason = 'link_closed', token = NULL, token_expires_at = NULL
        WHERE id = $1 AND state = 'open' AND proven_at IS NULL
        """,
        onboarding_id,
    )
    return status == "UPDATE 1"


async def complete(conn: Conn, onboarding_id: UUID, waba_id: str, at: datetime) -> str | None:
    """Record the proof that this onboarding's session belongs to that WABA.

    Return the onboarding's organization; None if there is no such onboarding, if it was cancelled,
    or if it is proven for another WABA. Idempotent: the earliest time is stored.
    """
    organization_id: str | None = await conn.fetchval(
        """
        UPDATE whatsapp_onboarding
        SET waba_id = $2, proven_at = least(proven_at, $3), state = 'completed', reason = NULL
        WHERE id = $1 AND state <> 'cancelled' AND (proven_at IS NULL OR waba_id = $2)
        RETURNING organization_id
        """,
        onboarding_id,
        waba_id,
        at,
    )
    return organization_id
