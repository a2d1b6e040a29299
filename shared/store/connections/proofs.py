"""Proofs: which WABA the session of an onboarding belongs to, and since when."""

from collections.abc import Collection
from datetime import datetime

from shared.store.pool import Conn


async def prove(conn: Conn, tracking_code: str, waba_id: str, at: datetime) -> str | None:
    """Record the proof that this onboarding's session belongs to that WABA.

    Return the onboarding's organization; None if there is no such onboarding, if it was cancelled,
    or if it is proven for another WABA. Idempotent: the earliest time is stored.
    """
    organization_id: str | None = await conn.fetchval(
        """
        UPDATE whatsapp_onboarding
        SET waba_id = $2, proven_at = least(proven_at, $3), state = 'completed', reason = NULL
        WHERE tracking_code = $1 AND state <> 'cancelled'
            AND (proven_at IS NULL OR waba_id = $2)
        RETURNING organization_id
        """,
        tracking_code,
        waba_id,
        at,
    )
    return organization_id


async def valid(conn: Conn, waba_ids: Collection[str]) -> dict[str, list[str]]:
    """Return the organizations with a proof of each WABA that is not withdrawn, by WABA id, in the
    order of the proofs."""
    organizations: dict[str, list[str]] = {}
    for record in await conn.fetch(
        """
        SELECT waba_id, organization_id FROM whatsapp_onboarding
        WHERE waba_id = ANY($1) AND proven_at IS NOT NULL AND withdrawn_at IS NULL
        ORDER BY waba_id, proven_at, id
        """,
        list(waba_ids),
    ):
        organizations.setdefault(record["waba_id"], []).append(record["organization_id"])
    return organizations


async def latest(conn: Conn, waba_id: str) -> datetime | None:
    """Return the time of the WABA's latest proof that is not withdrawn: when a customer completed
    Meta's dialog, or an operator claimed the WABA."""
    at: datetime | None = await conn.fetchval(
        """
        SELECT max(proven_at) FROM whatsapp_onboarding
        WHERE waba_id = $1 AND proven_at IS NOT NULL AND withdrawn_at IS NULL
        """,
        waba_id,
    )
    return at


async def withdraw(conn: Conn, waba_id: str, organization_id: str) -> None:
    """Withdraw the organization's proofs of this WABA: the organization disconnected it."""
    await conn.execute(
        """
        UPDATE whatsapp_onboarding SET withdrawn_at = now()
        WHERE waba_id = $1 AND organization_id = $2 AND proven_at IS NOT NULL
            AND withdrawn_at IS NULL
        """,
        waba_id,
        organization_id,
    )


async def wabas_of(conn: Conn, organization_id: str) -> set[str]:
    """Return the WABAs of which this organization has a proof that is not withdrawn."""
    records = await conn.fetch(
        """
        SELECT DISTINCT waba_id FROM whatsapp_onboarding
        WHERE organization_id = $1 AND proven_at IS NOT NULL AND withdrawn_at IS NULL
        """,
        organization_id,
    )
    return {record["waba_id"] for record in records}
