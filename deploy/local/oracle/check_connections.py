"""Compare the connections, their facts, numbers and eras with what was sent."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise, zip_longest

from deploy.local.oracle.check_changes import Pair
from deploy.local.oracle.check_events import Event
from deploy.local.oracle.check_transitions import check_transitions
from deploy.local.oracle.expected import ExpectedConnection, ExpectedEra, ExpectedFact
from deploy.local.oracle.ledger import Ledger
from deploy.local.oracle.stored import Row, Stored

#: Facts that webhooks report. Others follow from these, or from our own work.
_REPORTED = ("phone_link", "ban", "restriction", "quality")

#: The facts that hold, by their name and digits.
_Facts = Mapping[tuple[str, str], ExpectedFact]


def check_connections(
    ledger: Ledger,
    expected: Collection[ExpectedConnection],
    pairs: Sequence[Pair],
    stored: Stored,
    events: Sequence[Event],
) -> None:
    """Check each WABA against what the processed changes say of it."""
    said: defaultdict[str, list[Pair]] = defaultdict(list)
    for pair in pairs:
        if pair.is_processed and pair.expected.waba_id and pair.expected.facts:
            said[pair.expected.waba_id].append(pair)
    transitions = [event for event in events if event.is_of_a_connection]
    rows = {row["waba_id"]: row for row in stored.connections}
    for connection in expected:
        changes = said[connection.waba_id]
        facts = _latest(connection, changes)
        row = rows.pop(connection.waba_id, None)
        is_named = any(pair.expected.field == "account_update" for pair in changes)
        if row is None:
            ledger.find("connection lost", int(connection.told is not None or is_named))
        else:
            _check_row(ledger, connection, row, facts)
            told = [event for event in transitions if event["waba_id"] == connection.waba_id]
            check_transitions(ledger, connection, row, told)
        _check_facts(ledger, connection, facts, stored)
        _check_eras(ledger, connection, stored)
    ledger.find("connection of no webhook", len(rows))
    known = {connection.waba_id for connection in expected}
    for finding, things in (
        ("transition that never was", transitions),
        ("fact wrong", stored.facts),
        ("number of no webhook", stored.numbers),
    ):
        ledger.find(finding, sum(thing["waba_id"] not in known for thing in things))
    waiting = (row["kind"] == "attribute" and row["state"] != "done" for row in stored.follow_ups)
    ledger.find("follow-up not done", sum(waiting))


def _latest(connection: ExpectedConnection, changes: Sequence[Pair]) -> _Facts:
    """Return the facts that hold: the latest; of the same second, the takedown."""
    latest: dict[tuple[str, str], ExpectedFact] = {}
    said = [fact for pair in changes for fact in pair.expected.facts]
    if connection.proven_at is not None:
        said.append(ExpectedFact("phone_link", "linked", connection.proven_at))
    for fact in said:
        other = latest.setdefault((fact.name, fact.digits), fact)
        if (fact.at, fact.is_takedown, fact.value) > (other.at, other.is_takedown, other.value):
            latest[fact.name, fact.digits] = fact
    return latest


def _status(connection: ExpectedConnection, facts: _Facts) -> tuple[str, str | None]:
    values = {name: fact.value for (name, _), fact in facts.items()}
    if values.get("ban") == "disabled":
        return "disabled", "banned"
    if values.get("phone_link") == "offboarded":
        return "offboarded", "offboarded"
    return ("orphan" if connection.told is None else "provisioning"), None


def _check_row(ledger: Ledger, connection: ExpectedConnection, row: Row, facts: _Facts) -> None:
    if (row["organization_id"], row["attribution"]) != (connection.told, connection.attribution):
        ledger.find("connection's owner wrong")
    if (row["state"], row["reason"]) != _status(connection, facts):
        ledger.find("connection's state wrong")


def _check_facts(
    ledger: Ledger, connection: ExpectedConnection, facts: _Facts, stored: Stored
) -> None:
    found = {
        (row["name"], row["digits"]): (row["value"], row["at"])
        for row in stored.facts
        if row["waba_id"] == connection.waba_id and row["name"] in _REPORTED
    }
    for key, fact in facts.items():
        value = found.pop(key, None)
        if value is None:
            ledger.find("fact lost")
        elif value != (fact.value, fact.at):
            ledger.find("fact wrong")
    ledger.find("fact wrong", len(found))
    numbers = {row["digits"] for row in stored.numbers if row["waba_id"] == connection.waba_id}
    named = {digits for _, digits in facts if digits}
    ledger.find("number lost", len(named - numbers))
    ledger.find("number of no webhook", len(numbers - named))


def _check_eras(ledger: Ledger, connection: ExpectedConnection, stored: Stored) -> None:
    eras = [row for row in stored.eras if row["waba_id"] == connection.waba_id]
    for expected, row in zip_longest(connection.eras, eras):
        if row is None:
            ledger.find("era lost")
        elif expected is None:
            ledger.find("era that nobody began")
        elif (
            expected != ExpectedEra(row["organization_id"], row["ended_at"] is None)
            or row["suspended_at"] is not None
            or row["basis"] != "tracking_code"
        ):
            ledger.find("era wrong")
    overlaps = (a["ended_at"] is None or a["ended_at"] > b["began_at"] for a, b in pairwise(eras))
    ledger.find("eras overlap", sum(overlaps))
