"""Run `read` follow-ups: ask Meta whether a connection that was taken down is still alive."""

from services.processor.follow_ups.context import (
    FollowUpContext,
    PutOff,
    StepDone,
    StepOutcome,
)
from services.processor.follow_ups.fence import ending
from shared.actions.connection_reads import read_connection
from shared.domain.graph_errors import MetaThrottled, MetaUnavailable
from shared.domain.remedies import Reason
from shared.store.connections import eras
from shared.store.connections.follow_ups import FollowUp
from shared.store.pool import Conn, transaction

#: While an era is suspended, Meta is asked at this interval.
HELD_SECONDS = 30.0
#: And at this one while Meta is away.
AWAY_SECONDS = 300.0


async def read(context: FollowUpContext, follow_up: FollowUp) -> StepOutcome:
    """Read the connection at Meta and record what it reaches, until no era of it is suspended."""
    waba_id = follow_up.subject
    async with transaction(context.pool) as conn:
        is_held = await is_awaited(conn, waba_id)
    try:
        reach = await read_connection(
            context.pool,
            context.ring,
            context.graph,
            waba_id,
            is_settled=True,
            can_wait=not is_held,  # its changes are held so long
        )
    except (MetaUnavailable, MetaThrottled) as error:
        seconds = error.seconds if isinstance(error, MetaThrottled) else AWAY_SECONDS
        reason: Reason = "owner_doubted" if is_held else error.reason
        return PutOff(seconds, reason, is_counted=False)
    async with transaction(context.pool) as conn:
        is_held = await is_awaited(conn, waba_id)
    if is_held:
        return PutOff(HELD_SECONDS, "owner_doubted", is_counted=False)
    async with ending(context.pool, follow_up):
        return StepDone(reach)


async def is_awaited(conn: Conn, waba_id: str) -> bool:
    """Return whether an era is suspended: its changes are held until Meta was read."""
    era = await eras.open_era(conn, waba_id)
    return era is not None and era.is_suspended
