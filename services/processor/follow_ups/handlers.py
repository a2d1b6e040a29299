"""Which handler each kind of follow-up has: those that call Meta, and the one that does not."""

from collections.abc import Mapping
from functools import partial

from services.processor.follow_ups.attribute import attribute
from services.processor.follow_ups.context import FollowUpContext, FollowUpHandler
from services.processor.follow_ups.disconnect import disconnect
from services.processor.follow_ups.prove import prove, record_blocked_proof
from services.processor.follow_ups.provision import provision, record_blocked_setup
from services.processor.follow_ups.read import is_awaited, read
from shared.store.connections.follow_ups import FollowUpKind
from shared.store.pool import Pool

#: The kinds that each loop works on, the most urgent first: several loops, because each waits for
#: Meta's answers most of the time. Reads never have the first loop: however slow Meta is and
#: however many they are, a new customer's proof waits for one step at most. Each kind comes early
#: in some loop, so that none starves.
GRAPH_LOOPS: tuple[tuple[FollowUpKind, ...], ...] = (
    ("prove", "provision", "disconnect"),
    ("prove", "provision", "disconnect", "read"),
    ("disconnect", "prove", "provision", "read"),
    ("read", "disconnect", "provision", "prove"),
)


def graph_handlers(context: FollowUpContext) -> Mapping[FollowUpKind, FollowUpHandler]:
    return {
        "prove": FollowUpHandler(partial(prove, context), record_blocked_proof),
        "provision": FollowUpHandler(partial(provision, context), record_blocked_setup),
        "read": FollowUpHandler(partial(read, context), is_awaited=is_awaited),
        "disconnect": FollowUpHandler(partial(disconnect, context), is_awaited=is_always_awaited),
    }


def attribution_handlers(pool: Pool) -> Mapping[FollowUpKind, FollowUpHandler]:
    """Their worker is another: Meta's slowness must not hold up what only PostgreSQL decides."""
    return {"attribute": FollowUpHandler(partial(attribute, pool), is_awaited=is_always_awaited)}


async def is_always_awaited(*_: object) -> bool:
    """Owed changes wait for `attribute`, and the end of a token for `disconnect`."""
    return True
