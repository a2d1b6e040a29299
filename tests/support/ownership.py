"""Ownership as a token's proof gives it, and messages that belong to an owner."""

from datetime import datetime

from shared.actions.ownership import record_proof
from shared.actions.reported_changes import apply_effects, lock_connections
from shared.crypto import KeyRing
from shared.domain.account_changes import ChangeEffects
from shared.store.connections import connections, onboardings, sessions
from shared.store.intake import changes, webhooks
from shared.store.intake.changes import NewChange
from shared.store.pool import Conn
from tests.support.samples import changes_of, make_change, make_webhook, make_webhook_row


async def prove(
    conn: Conn, tracking_code: str, waba_id: str, business_id: str | None, at: datetime
) -> str | None:
    """Record a proof of the onboarding's WABA. Return the organization that proved it."""
    row = await connections.ensure_locked(conn, waba_id)
    onboarding = await onboardings.find(conn, tracking_code, organization_id=None)
    return await record_proof(conn, row, onboarding, business_id, at)


async def name_waba(conn: Conn, tracking_code: str, *waba_ids: str) -> None:
    """Let the browser of this onboarding name WABAs, as Meta's dialog does when it ends."""
    onboarding = await onboardings.find(conn, tracking_code, organization_id=None)
    assert onboarding is not None
    assert await sessions.save(conn, onboarding.id, event="FINISH", waba_ids=waba_ids)


async def report(conn: Conn, *effects: ChangeEffects) -> None:
    """Apply the effects of changes, as the processor does."""
    await apply_effects(conn, effects, await lock_connections(conn, effects))


async def store_message(
    conn: Conn, ring: KeyRing, waba_id: str, *, at: datetime, number: int = 1
) -> NewChange:
    """Store the message of this number, as if it was received then. It must be new."""
    webhook = make_webhook(at=at)
    async with conn.transaction():
        await webhooks.insert(conn, ring, [make_webhook_row(webhook, state="split")])
        change = make_change(number)._replace(waba_id=waba_id)
        [new] = await changes.insert(conn, ring, changes_of(webhook, change))
    return new
