"""Run `attribute` follow-ups: decide again whose a WABA is, and give its owner what waits."""

import asyncio
from datetime import timedelta

from services.processor.follow_ups.context import PutOff, StepDone, StepOutcome
from services.processor.follow_ups.fence import fenced
from shared.actions.connection_state import recompute
from shared.store.connections import follow_ups, sessions
from shared.store.connections.follow_ups import FollowUp
from shared.store.intake import changes
from shared.store.pool import Pool, have_ended, horizon, transaction

#: Changes that are given to their organization in one transaction.
MAX_ASSIGNED = 1000
PAUSE_SECONDS = 0.05
MAX_PAUSES = 20
LATER = 1.0


async def attribute(pool: Pool, follow_up: FollowUp) -> StepOutcome:
    """Recompute the connection and assign its changes, some at a time, until nothing is owed.

    A transaction that stores a change at the same moment may not have seen the era: the last look
    waits until all those have ended.
    """
    async with transaction(pool) as conn:
        mark = await horizon(conn)
    if await _assign(pool, follow_up) == MAX_ASSIGNED:
        return StepDone("assigned")
    if not await _ended(pool, mark):
        return PutOff(LATER, "assigning", is_counted=False)
    async with fenced(pool, follow_up) as (conn, row):
        [decided] = await recompute(conn, [row])
        await changes.assign(conn, row.waba_id, limit=MAX_ASSIGNED)
        if await changes.is_any_owed(conn, row.waba_id):  # more, or another transaction holds it
            later = timedelta(seconds=LATER)
            await follow_ups.put_off(conn, follow_up, later, "assigning", is_counted=False)
            return StepDone("assigned")
        expiry = None
        if decided.attribution == "another_onboarding":
            expiry = await sessions.time_to_expiry(conn, row.waba_id)
        if expiry is None:
            await follow_ups.end(conn, follow_up)
            return StepDone("attributed")
        await follow_ups.put_off(conn, follow_up, expiry, "another_onboarding", is_counted=False)
    return StepDone("attributed")


async def _assign(pool: Pool, follow_up: FollowUp) -> int:
    async with fenced(pool, follow_up) as (conn, row):
        await recompute(conn, [row])
        count = await changes.assign(conn, row.waba_id, limit=MAX_ASSIGNED)
        if count == MAX_ASSIGNED:
            await follow_ups.advance(conn, follow_up)
    return count


async def _ended(pool: Pool, mark: str) -> bool:
    for _ in range(MAX_PAUSES):
        async with transaction(pool) as conn:
            if await have_ended(conn, mark):
                return True
        await asyncio.sleep(PAUSE_SECONDS)
    return False
