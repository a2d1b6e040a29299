"""The steps of provisioning: which began, and which had their effect at Meta."""

from datetime import datetime

from shared.domain.provisioning import SYNCS, Step
from shared.store.connections.follow_ups import FollowUp
from shared.store.pool import Conn


async def begin(conn: Conn, follow_up: FollowUp, step: Step) -> None:
    """Record that a step begins. Provisioning commits this before the step's call. Idempotent."""
    await conn.execute(
        """
        INSERT INTO provision_steps (follow_up_id, waba_id, step, phone_number_id)
        VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING
        """,
        follow_up.id,
        follow_up.subject,
        step.name,
        step.phone_number_id,
    )


async def end(conn: Conn, follow_up: FollowUp, step: Step) -> None:
    """Record that a step has had its effect."""
    await conn.execute(
        """
        UPDATE provision_steps SET done_at = clock_timestamp()
        WHERE follow_up_id = $1 AND step = $2 AND phone_number_id = $3
        """,
        follow_up.id,
        step.name,
        step.phone_number_id,
    )


async def half_registered(conn: Conn, waba_id: str) -> set[str]:
    """Return ids of numbers whose registration began but has no outcome. Meta may have registered
    them."""
    records = await conn.fetch(
        """
        SELECT phone_number_id FROM provision_steps
        WHERE waba_id = $1 AND step = 'register' AND done_at IS NULL
        """,
        waba_id,
    )
    return {record["phone_number_id"] for record in records}


async def done(conn: Conn, follow_up: FollowUp, *, proven_at: datetime) -> set[Step]:
    """Return the steps done since the follow-up was requested, and the syncs done since the proof.

    Meta accepts each sync only once for each onboarding.
    """
    records = await conn.fetch(
        """
        SELECT step AS name, phone_number_id FROM provision_steps
        WHERE follow_up_id = $1 AND done_at >= $2
        """,
        follow_up.id,
        follow_up.asked_at,
    )
    since_asked = {Step(**record) for record in records}
    return since_asked | await syncs_done(conn, follow_up.subject, proven_at)


async def syncs_done(conn: Conn, waba_id: str, proven_at: datetime) -> set[Step]:
    records = await conn.fetch(
        """
        SELECT step AS name, phone_number_id FROM provision_steps
        WHERE waba_id = $1 AND done_at >= $2 AND step = ANY($3)
        """,
        waba_id,
        proven_at,
        list(SYNCS),
    )
    return {Step(**record) for record in records}
