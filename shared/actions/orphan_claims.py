"""Claiming an orphan for an organization: an operator's word stands for the token's proof."""

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
    """A WABA that no organization has proven is this one's from now on, with all that came
    meanwhile; audited.

    Its token is fetched from Meta if that is possible; else the organization must reconnect.
    Idempotent. None: claimed.
    """
    held = next(iter(await connections.lock(conn, [waba_id])), None)
    if held is None:
        return "no_such_waba"
    if held.owner is not None and held.owner.is_proven:
        return None if held.owner.organization_id == organization_id else "owned_by_another"
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
    await connection_state.record_claim(conn, tracking_code, waba_id, now)
    await follow_ups.close(conn, ["disconnect"], waba_id)
    await follow_ups.add(conn, "provision", [waba_id])
    return None
