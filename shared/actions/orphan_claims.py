"""Claim an orphan for an organization. The claim takes the place of a token's proof."""

import secrets
from datetime import UTC, datetime, timedelta
from typing import Literal

from shared.actions import connection_state
from shared.store import audit
from shared.store.connections import connections, follow_ups, onboardings, organizations
from shared.store.connections.onboardings import NewOnboarding
from shared.store.pool import Conn

ClaimRefusal = Literal["no_such_waba", "owned_by_another"]


async def claim(
    conn: Conn, waba_id: str, organization_id: str, *, actor: str, reason: str
) -> ClaimRefusal | None:
    """Make the organization the owner of a WABA that no organization has proven, and of its changes
    received until now. Write an audit record. Return None, or why it is refused. Idempotent.

    Its token is fetched from Meta if possible; otherwise the organization must reconnect.
    """
    row = next(iter(await connections.lock(conn, [waba_id])), None)
    if row is None:
        return "no_such_waba"
    if row.owner is not None and row.owner.is_proven:
        return None if row.owner.organization_id == organization_id else "owned_by_another"
    now = datetime.now(UTC)
    tracking_code = f"claim-{secrets.token_urlsafe(18)}"
    await organizations.add(conn, organization_id)
    await onboardings.start(
        conn, NewOnboarding(organization_id, tracking_code, now + timedelta(hours=1), flow="claim")
    )
    await audit.add(
        conn,
        actor=actor,
        action="orphan.claim",
        subject=f"{waba_id} for {organization_id}",
        reason=reason,
    )
    await connection_state.record_claim(conn, row, tracking_code, now)
    await follow_ups.close(conn, ["disconnect"], waba_id)
    await follow_ups.add(conn, "provision", [waba_id])
    return None
