"""Proofs: which onboarding is of which WABA, and since when."""

from collections.abc import Collection
from datetime import datetime

from shared.store.pool import Conn


async def prove(conn: Conn, tracking_code: str, waba_id: str, at: datetime) -> str | None:
    """This onboarding's session is proven to be of that WABA; its organization.

    Idempotent; the earliest proof is kept. None if there is no such onboarding, or it was proven
    to be another WABA's, or was cancelled.
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
    """By WABA id the organizations whose proof of it stands, the first first."""
    found: dict[str, list[str]] = {}
    for record in await conn.fetch(
        """
        SELECT waba_id, organization_id FROM whatsapp_onboarding
        WHERE waba_id = ANY($1) AND proven_at IS NOT NULL AND withdrawn_at IS NULL
        ORDER BY waba_id, proven_at, id
        """,
        list(waba_ids),
    ):
        found.setdefault(record["waba_id"], []).append(record["organization_id"])
    return found


async def latest(conn: Conn, waba_id: str) -> datetime | None:
    """When its owner last went through Meta's dialog, or an operator claimed it."""
    at: datetime | None = await conn.fetchval(
        """
        SELECT max(proven_at) FROM whatsapp_onboarding
        WHERE waba_id = $1 AND proven_at IS NOT NULL AND withdrawn_at IS NULL
        """,
        waba_id,
    )
    return at


async def withdraw(conn: Conn, waba_id: str, organization_id: str) -> None:
    """The organization disconnected this WABA: what it proved stands no more."""
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
    """The WABAs whose proof by this organization stands."""
    records = await conn.fetch(
        """
        SELECT DISTINCT waba_id FROM whatsapp_onboarding
        WHERE organization_id = $1 AND proven_at IS NOT NULL AND withdrawn_at IS NULL
        """,
        organization_id,
    )
    return {record["waba_id"] for record in records}
