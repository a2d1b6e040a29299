"""Compare the events that were told with what each organization is owed."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from deploy.local.oracle.check_changes import Pair
from deploy.local.oracle.event_queue import Told
from deploy.local.oracle.ledger import Ledger
from deploy.local.oracle.stored import Row, Stored

_CONNECTION = "connection."
#: What a row and the event that was told of it have in common.
_COLUMNS = ("type", "organization_id", "waba_id", "revision")
_ENVELOPE = frozenset(
    "version id type occurred_at organization_id waba_id revision webhook_id data".split()
)


@dataclass(frozen=True, slots=True)
class Event:
    """An event as it was told. `content` are the exact bytes of its data."""

    told: Told
    parsed: Mapping[str, Any]
    content: bytes

    def __getitem__(self, name: str) -> Any:
        return self.parsed[name]

    @property
    def is_of_a_connection(self) -> bool:
        return str(self["type"]).startswith(_CONNECTION)


def read_told(told: Sequence[Told]) -> list[Event]:
    return [
        Event(one, json.loads(one.body), one.body.partition(b',"data":')[2].removesuffix(b"}"))
        for one in told
    ]


def check_events(
    ledger: Ledger, pairs: Sequence[Pair], stored: Stored, events: Sequence[Event]
) -> None:
    """Check that each event has its row, and each row its event; and that each processed change was
    told once, byte by byte, to its organization and to no other."""
    by_id: defaultdict[str, list[Event]] = defaultdict(list)
    for event in events:
        by_id[event["id"]].append(event)
    ledger.redelivered += len(events) - len(by_id)
    rows = {str(row["id"]): row for row in stored.events}
    owed = {
        str(pair.row.id): pair
        for pair in pairs
        if pair.is_processed and pair.expected.organization_id is not None
    }
    for event_id, row in rows.items():
        _check_row(ledger, row, by_id.get(event_id, []))
    for event_id, copies in by_id.items():
        if any(_envelope_is_wrong(event) for event in copies):
            ledger.find("event told with another envelope")
        elif event_id in owed:
            _check_told(ledger, owed[event_id], copies)
    told_elsewhere = _check_surplus(ledger, owed, rows, by_id)
    for event_id, pair in owed.items():
        is_known = event_id in rows or event_id in by_id
        if not is_known and pair.expected.content not in told_elsewhere:
            ledger.find("event lost")


def _check_row(ledger: Ledger, row: Row, copies: Sequence[Event]) -> None:
    if row["published_at"] is None:
        ledger.find("event not published")
    elif row["is_unrouted"]:
        ledger.find("event told to no queue")
    elif not copies:
        ledger.find("event never told")
    for event in copies:
        is_same = all(row[name] == event[name] for name in _COLUMNS)
        if not is_same or (row["data"] and json.loads(row["data"]) != event["data"]):
            ledger.find("row of an event changed")


def _envelope_is_wrong(event: Event) -> bool:
    """Return whether it breaks the contract, whatever it tells."""
    addressed = (event.told.routing_key, event.told.message_id)
    is_well_formed = event.parsed.keys() == _ENVELOPE and event["version"] == 1
    return not is_well_formed or addressed != (event["type"], event["id"])


def _check_told(ledger: Ledger, pair: Pair, copies: Sequence[Event]) -> None:
    expected = pair.expected
    for event in copies:
        envelope = (event["type"], event["waba_id"], event["revision"], event["webhook_id"])
        owed = (f"change.{expected.field}", expected.waba_id, None, str(pair.row.webhook_id))
        occurred_at = datetime.fromisoformat(event["occurred_at"])
        if event["organization_id"] != expected.organization_id:
            ledger.find("event told to another organization")
        elif pair.is_certain and event.content != expected.content:
            ledger.find("event told with other content")
        elif envelope != owed or occurred_at != pair.row.received_at:
            ledger.find("event told with another envelope")


def _check_surplus(
    ledger: Ledger,
    owed: Mapping[str, Pair],
    rows: Mapping[str, Row],
    by_id: Mapping[str, Sequence[Event]],
) -> set[bytes]:
    """Find events of changes that nobody is owed. Return the contents of those that are the only
    event of their change."""
    ids = {pair.expected.content: event_id for event_id, pair in owed.items()}
    told_elsewhere: set[bytes] = set()
    of_connections = {i for i, row in rows.items() if row["type"].startswith(_CONNECTION)}
    of_connections |= {i for i, copies in by_id.items() if copies[0].is_of_a_connection}
    for event_id in (rows.keys() | by_id.keys()) - owed.keys() - of_connections:
        content = by_id[event_id][0].content if by_id.get(event_id) else b""
        if (own_id := ids.get(content)) is None:
            ledger.find("event nobody is owed")
        elif own_id in by_id:
            ledger.find("event told under two ids")
        else:
            ledger.find("event told under another id")
            told_elsewhere.add(content)
    for event_id in by_id.keys() - rows.keys():
        is_explained = event_id not in owed and event_id not in of_connections
        if not is_explained:
            ledger.find("event told without a row")
    return told_elsewhere
