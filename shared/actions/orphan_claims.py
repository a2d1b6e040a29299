"""Claim an orphan for an organization. The claim takes the place of a token's proof."""

import secrets
from datetime import UTC, datetime, timedelta

from shared.actions import connection_state
from shared.actions.errors import Missing, WrongState
from shared.store import audit
from shared.store.connections import connections, follow_ups, onboardings, organizations
from shared.store.connections.onboardings import NewOnboarding
from shared.store.pool import Conn


async def claim(conn: Conn, waba_id: str, organization_id: str, *, actor: str, reason: str) -> None:
    """Make the organization the owner of a WABA that no organization has proven, and of its changes
    received until now. Write an audit record. Raise Missing or WrongState. Idempotent.

    Its token is fetched from Meta if possible; otherwise the organization must reconnect.
    """
    row = next(iter(await connections.lock(conn, [waba_id])), None)
    if row is None:
        raise Missing("no_such_waba", "Nothing is known of this WABA.")
    if row.owner is not None and row.owner.is_proven:
        if row.owner.organization_id == organization_id:
            return
        raise WrongState(
            "owned_by_another", "It is another organization's: only a proof changes that."
        )
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
