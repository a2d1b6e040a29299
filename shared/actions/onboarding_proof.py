"""Request that an onboarding be proven again."""

from shared.store.connections import follow_ups, onboardings
from shared.store.connections.onboardings import Onboarding
from shared.store.pool import Conn


async def request_proof(conn: Conn, onboarding: Onboarding) -> None:
    """Request a new proof with the stored token. Clear the reason why the onboarding was stuck."""
    await onboardings.set_reason(conn, onboarding, None)
    await follow_ups.add(conn, "prove", [onboarding.tracking_code])
