"""Compare the transitions that the owners of a connection were told with those there were."""

from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise

from deploy.local.oracle.check_events import Event
from deploy.local.oracle.expected import ExpectedConnection
from deploy.local.oracle.ledger import Ledger
from deploy.local.oracle.stored import Row

#: The states and reasons that a connection with an owner has in a storm.
_STATES = {("provisioning", None), ("offboarded", "offboarded"), ("disabled", "banned")}


def check_transitions(
    ledger: Ledger, connection: ExpectedConnection, row: Row, told: Sequence[Event]
) -> None:
    """Check that each revision was told once, from the second on, to whoever owned the WABA then;
    and that each is a transition, the last one to the state there is now.

    A connection that nobody owns has no transitions.
    """
    by_revision: defaultdict[int, dict[str, Event]] = defaultdict(dict)
    for event in told:
        by_revision[event["revision"]][event["id"]] = event
    revisions = set(range(2, row["revision"] + 1)) if connection.told is not None else set()
    ledger.find("transition lost", len(revisions - by_revision.keys()))
    ledger.find("transition that never was", len(by_revision.keys() - revisions))
    ledger.find("transition told twice", sum(len(ids) - 1 for ids in by_revision.values()))
    path = [next(iter(by_revision[n].values())) for n in sorted(revisions & by_revision.keys())]
    for event in path:
        _check_event(ledger, connection, event)
    later = [event for event in path if not _is_history(connection, event)]
    ledger.find("transition wrong", sum(a["data"] == b["data"] for a, b in pairwise(later)))
    is_last_told = bool(path) and path[-1]["revision"] == row["revision"]
    if is_last_told and _status(path[-1]) != (row["state"], row["reason"]):
        ledger.find("transition wrong")


def _check_event(ledger: Ledger, connection: ExpectedConnection, event: Event) -> None:
    is_history, data = _is_history(connection, event), event["data"]
    organization_id, kind = (
        connection.history[event["revision"] - 2]
        if is_history
        else (connection.told, f"connection.{data['state']}")
    )
    if event["organization_id"] != organization_id:
        ledger.find("event told to another organization")
    elif (
        event["type"] != kind
        or _status(event) not in _STATES
        or (data["attribution"] != connection.attribution and not is_history)
    ):
        ledger.find("transition wrong")


def _is_history(connection: ExpectedConnection, event: Event) -> bool:
    """Return whether it was before the first webhook."""
    return bool(event["revision"] - 2 < len(connection.history))


def _status(event: Event) -> tuple[str, str | None]:
    return event["data"]["state"], event["data"]["reason"]
