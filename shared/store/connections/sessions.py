"""What the browser reported of an onboarding's login. It is a claim until a token proves it."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from shared.domain.dialog import NO_RESULT
from shared.store.connections.onboardings import Onboarding
from shared.store.pool import Conn, affected


@dataclass(frozen=True, slots=True)
class SessionResult:
    """The result of a message from the browser.

    `is_new_failure` is true if the message newly reports that the customer got no further, and no
    code or token of the onboarding is in use. `is_changed`: it says something new.
    """

    has_token: bool
    is_changed: bool
    is_new_failure: bool


async def save(
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


async def forget_named(conn: Conn, onboarding: Onboarding) -> None:
    """Forget which WABAs the browser named: the login was not for them, and the next one may come
    without a message."""
    await conn.execute(
        """
        UPDATE whatsapp_onboarding SET session_waba_id = NULL, session_waba_ids = NULL
        WHERE id = $1 AND code_hash IS NOT DISTINCT FROM $2
        """,
        onboarding.id,
        onboarding.code_hash,
    )


async def naming(conn: Conn, waba_ids: Collection[str]) -> dict[str, set[str]]:
    """Return, by WABA id, the organizations with an open onboarding whose browser named the WABA,
    alone or among others.

    At most 100 onboardings of each WABA count: one of another organization decides.
    """
    organizations: dict[str, set[str]] = {}
    for record in await conn.fetch(
        f"""
        SELECT waba_id, organization_id FROM unnest($1::text[]) AS row (waba_id), LATERAL (
            SELECT organization_id FROM whatsapp_onboarding
            WHERE {_names("row.waba_id")} LIMIT 100
        ) AS named
        """,
        list(waba_ids),
    ):
        organizations.setdefault(record["waba_id"], set()).add(record["organization_id"])
    return organizations


async def time_to_expiry(conn: Conn, waba_id: str) -> timedelta | None:
    """Return the time until the first open onboarding expires whose browser named the WABA."""
    left: timedelta | None = await conn.fetchval(
        f"SELECT min(expires_at) - now() FROM whatsapp_onboarding WHERE {_names('$1')}",
        waba_id,
    )
    return left


def _names(waba_id: str) -> str:
    """Return the condition that an open onboarding's browser named this WABA."""
    return f"""
        (session_waba_id = {waba_id} OR session_waba_ids @> ARRAY[{waba_id}])
        AND state = 'open' AND expires_at > now()
    """
