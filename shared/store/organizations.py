"""Organizations, the businesses they own, and their onboardings."""

from collections.abc import Collection
from datetime import datetime
from uuid import UUID

from uuid_utils.compat import uuid7

from shared.store.pool import Connection


async def add(connection: Connection, organization_id: str) -> None:
    """Idempotent: an organization is created when it is first named."""
    await connection.execute(
        "INSERT INTO organizations (id) VALUES ($1) ON CONFLICT DO NOTHING", organization_id
    )


async def add_business(connection: Connection, organization_id: str, business_id: str) -> None:
    """Only what a token proved, or an operator knows; idempotent."""
    await connection.execute(
        """
        INSERT INTO organization_businesses (organization_id, business_id) VALUES ($1, $2)
        ON CONFLICT DO NOTHING
        """,
        organization_id,
        business_id,
    )


async def owners(connection: Connection, business_ids: Collection[str]) -> dict[str, set[str]]:
    """By business id the organizations that own it."""
    found: dict[str, set[str]] = {}
    for record in await connection.fetch(
        """
        SELECT business_id, organization_id FROM organization_businesses
        WHERE business_id = ANY($1)
        """,
        list(business_ids),
    ):
        found.setdefault(record["business_id"], set()).add(record["organization_id"])
    return found


async def start_onboarding(
    connection: Connection, organization_id: str, tracking_code: str, expires_at: datetime
) -> UUID | None:
    """A new onboarding's id; None if its tracking code is taken."""
    onboarding_id: UUID | None = await connection.fetchval(
        """
        INSERT INTO whatsapp_onboarding (id, organization_id, tracking_code, expires_at)
        VALUES ($1, $2, $3, $4) ON CONFLICT (tracking_code) DO NOTHING RETURNING id
        """,
        uuid7(),
        organization_id,
        tracking_code,
        expires_at,
    )
    return onboarding_id


async def prove(
    connection: Connection, tracking_code: str, waba_id: str, at: datetime
) -> str | None:
    """This onboarding's session is proven to be of that WABA; its organization.

    Idempotent; the earliest proof is kept. None if there is no such onboarding, or it was proven
    to be another WABA's, or was cancelled.
    """
    organization_id: str | None = await connection.fetchval(
        """
        UPDATE whatsapp_onboarding
        SET waba_id = $2, proven_at = least(proven_at, $3), state = 'completed'
        WHERE tracking_code = $1 AND state <> 'cancelled'
            AND (proven_at IS NULL OR waba_id = $2)
        RETURNING organization_id
        """,
        tracking_code,
        waba_id,
        at,
    )
    return organization_id


async def proofs(connection: Connection, waba_ids: Collection[str]) -> dict[str, str]:
    """By WABA id the organization that proved it first."""
    records = await connection.fetch(
        """
        SELECT DISTINCT ON (waba_id) waba_id, organization_id FROM whatsapp_onboarding
        WHERE waba_id = ANY($1) AND proven_at IS NOT NULL
        ORDER BY waba_id, proven_at, id
        """,
        list(waba_ids),
    )
    return {record["waba_id"]: record["organization_id"] for record in records}


async def onboarding(connection: Connection, waba_ids: Collection[str]) -> set[str]:
    """Organizations with an open onboarding that may yet name one of these WABAs.

    At most two: more would change no decision, which asks for one that is not the owner.
    """
    records = await connection.fetch(
        """
        SELECT DISTINCT organization_id FROM whatsapp_onboarding
        WHERE state = 'open' AND expires_at > now() AND (waba_id IS NULL OR waba_id = ANY($1))
        LIMIT 2
        """,
        list(waba_ids),
    )
    return {record["organization_id"] for record in records}
