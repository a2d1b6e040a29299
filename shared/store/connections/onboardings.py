"""Onboardings: attempts of an organization to connect, and what the browser and the token said."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID

from uuid_utils.compat import uuid7

from shared.crypto import KeyRing
from shared.domain.remedies import Reason
from shared.store.connections import tracking_codes
from shared.store.pool import Conn, affected

#: How long an exchange takes at most. After it, the process that began it is presumed dead.
EXCHANGE = timedelta(seconds=60)

Flow = Literal["popup", "redirect", "claim"]

#: Messages of Meta's dialog that say it ended without a result.
CANCEL, ERROR = "CANCEL", "ERROR"
NO_RESULT: Mapping[str, Reason] = {CANCEL: "cancelled", ERROR: "error_reported"}


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


@dataclass(frozen=True, slots=True)
class SessionResult:
    """The result of a message from the browser.

    `is_new_failure` is true if the message newly reports that the customer got no further, and no
    code or token of the onboarding is in use. `is_changed`: it says something new.
    """

    has_token: bool
    is_changed: bool
    is_new_failure: bool


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


async def save_session(
    conn: Conn,
    onboarding_id: UUID,
    *,
    event: str,
    waba_ids: Sequence[str] = (),
    phone_number_id: str | None = None,
) -> SessionResult | None:
    """Record what the browser reported. Return None, and record nothing, if it was proven or ended.

    `waba_ids` are the WABAs that it named: none, one or several. A message without a WABA keeps
    what an earlier message named. CANCEL and ERROR do not replace an earlier FINISH, whose code may
    still come. The browser never changes `reason`, the result of a code or a proof; but before the
    first code the message of a dialog counts more than `code_missing`, whichever arrives first.
    """
    record = await conn.fetchrow(
        """
        WITH before AS (
            SELECT id, session_event, session_waba_id, session_waba_ids,
                $4 OR session_event IS NULL OR session_event !~ '^FINISH' AS is_replaced
            FROM whatsapp_onboarding
            WHERE id = $1 AND state = 'open' AND proven_at IS NULL AND expires_at > now()
            FOR UPDATE
        )
        UPDATE whatsapp_onboarding AS stored SET
            session_event = CASE WHEN is_replaced THEN $2 ELSE stored.session_event END,
            reason = CASE WHEN is_replaced AND code_hash IS NULL
                THEN nullif(reason, 'code_missing') ELSE reason END,
            session_waba_id = CASE cardinality($3::text[])
                WHEN 0 THEN stored.session_waba_id WHEN 1 THEN $3[1] END,
            session_waba_ids = CASE cardinality($3)
                WHEN 0 THEN stored.session_waba_ids WHEN 1 THEN NULL ELSE $3 END,
            sealed_waba_choices = CASE WHEN cardinality($3) = 0 THEN sealed_waba_choices END,
            session_phone_number_id = CASE WHEN $4 THEN $5
                ELSE stored.session_phone_number_id END
        FROM before WHERE stored.id = before.id
        RETURNING token IS NOT NULL AS has_token,
            (stored.session_event, stored.session_waba_id, stored.session_waba_ids)
                IS DISTINCT FROM
                (before.session_event, before.session_waba_id, before.session_waba_ids)
                AS is_changed,
            NOT $4 AND token IS NULL AND (code_hash IS NULL OR reason IS NOT NULL)
                AND stored.session_event IS DISTINCT FROM before.session_event AS is_new_failure
        """,
        onboarding_id,
        event,
        list(waba_ids),
        event not in NO_RESULT,
        phone_number_id,
    )
    return None if record is None else SessionResult(**record)


async def miss_code(conn: Conn, onboarding_id: UUID) -> bool:
    """Record that Meta's script gave no code, as the reason. Return whether that is news.

    It is none of an onboarding that ended or has a code in use, nor after Meta's dialog said why it
    ended without a result.
    """
    status = await conn.execute(
        """
        UPDATE whatsapp_onboarding SET reason = 'code_missing'
        WHERE id = $1 AND state = 'open' AND proven_at IS NULL AND expires_at > now()
            AND token IS NULL AND (code_hash IS NULL OR reason IS NOT NULL)
            AND (session_event IS NULL OR session_event ~ '^FINISH')
            AND reason IS DISTINCT FROM 'code_missing'
        """,
        onboarding_id,
    )
    return affected(status) > 0


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


async def naming(conn: Conn, waba_ids: Collection[str]) -> dict[str, set[str]]:
    """Return, by WABA id, the organizations with an open onboarding whose browser named the WABA,
    alone or among others.

    At most 100 onboardings of each WABA count: one of another organization decides.
    """
    organizations: dict[str, set[str]] = {}
    for record in await conn.fetch(
        """
        SELECT waba_id, organization_id FROM unnest($1::text[]) AS row (waba_id), LATERAL (
            SELECT organization_id FROM whatsapp_onboarding
            WHERE (session_waba_id = row.waba_id OR session_waba_ids @> ARRAY[row.waba_id])
                AND state = 'open' AND expires_at > now()
            LIMIT 100
        ) AS named
        """,
        list(waba_ids),
    ):
        organizations.setdefault(record["waba_id"], set()).add(record["organization_id"])
    return organizations


async def time_to_expiry(conn: Conn, waba_id: str) -> timedelta | None:
    """Return the time until the first open onboarding expires whose browser named the WABA."""
    left: timedelta | None = await conn.fetchval(
        """
        SELECT min(expires_at) - now() FROM whatsapp_onboarding
        WHERE (session_waba_id = $1 OR session_waba_ids @> ARRAY[$1])
            AND state = 'open' AND expires_at > now()
        """,
        waba_id,
    )
    return left
