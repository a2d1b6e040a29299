"""Run `read` follow-ups: ask Meta whether a connection that was taken down is still alive."""

from services.processor.follow_ups.context import FollowUpContext, StepDone, StepOutcome
from services.processor.follow_ups.fence import ending
from shared.actions.connection_reads import read_connection
from shared.store.connections.follow_ups import FollowUp


async def read(context: FollowUpContext, follow_up: FollowUp) -> StepOutcome:
    """Read the connection at Meta and record what it reaches: see read_connection."""
    outcome = await read_connection(context.pool, context.ring, context.graph, follow_up.subject)
    async with ending(context.pool, follow_up):
        pass
    return StepDone(outcome)
