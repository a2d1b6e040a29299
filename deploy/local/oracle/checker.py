"""Compare what a run stored and told with what its sender wrote down: find every difference."""

from collections.abc import Collection, Sequence

from deploy.local.oracle.check_changes import check_changes
from deploy.local.oracle.check_connections import check_connections
from deploy.local.oracle.check_events import check_events, read_told
from deploy.local.oracle.check_letters import check_letters
from deploy.local.oracle.check_webhooks import check_webhooks
from deploy.local.oracle.event_queue import Told
from deploy.local.oracle.expected import ExpectedConnection, Posted
from deploy.local.oracle.ledger import Ledger
from deploy.local.oracle.stored import Stored


def check(
    posted: Sequence[Posted],
    connections: Collection[ExpectedConnection],
    stored: Stored,
    told: Sequence[Told],
) -> Ledger:
    """Return the ledger of a run. `told` is all that reached a queue bound to every event."""
    ledger = Ledger(
        attempted=sum(entry.posts for entry in posted),
        acknowledged=sum(entry.accepted for entry in posted),
    )
    bodies = check_webhooks(ledger, posted, stored)
    pairs = check_changes(ledger, posted, bodies, stored)
    check_letters(ledger, stored)
    events = read_told(told)
    check_events(ledger, pairs, stored, events)
    check_connections(ledger, connections, pairs, stored, events)
    return ledger
